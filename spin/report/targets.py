"""The targets on unseen speakers: what Spin has to gain, whether it does, and by how much."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from spin.report import metrics
from spin.report.metrics import CER, UNIT_METRICS, WER
from spin.report.runs import Pair, quality_pair, recognition_pairs

ERRORS_LOWER = 5.0  # per cent, relative, mean of the seeds; each seed must be better too
ABX_LOWER = 20.0  # per cent, relative
PNMI_HIGHER = 0.01
PERPLEXITY_SHARE = 0.85  # of K
MET, MISSED, OPEN = "met", "missed", "not measured"


@dataclass(frozen=True)
class Verdict:
    """One target: what is asked, what was measured, and met, missed or not measured."""

    target: str
    measured: str
    outcome: str


def verdicts(runs: list[dict]) -> list[Verdict]:
    """All targets for the runs of one setting, for each part that was decoded."""
    return [*_errors(runs), _abx(runs), _pnmi(runs), _perplexity(runs)]


def _errors(runs: list[dict]) -> list[Verdict]:
    """CER by any method, or WER by HLG: one that is met is enough for its part. A phone error rate answers neither."""
    made = []
    for part in runs[0]["asr"]["baseline"]:
        pairs = [pair for pair in recognition_pairs([_only(run, part) for run in runs]) if pair.metric is CER]
        pairs += [pair for pair in recognition_pairs([_only(run, part, "hlg") for run in runs], WER)]
        enough = [pair for pair in pairs if _enough(pair)]
        target = (
            f"CER, or WER by HLG, on {part} at least {ERRORS_LOWER:g}{metrics.SPACE}% lower (relative), and lower for each seed"
        )
        if not pairs:
            made.append(Verdict(target, metrics.NOT_MEASURED, OPEN))
            continue
        best = min(enough or pairs, key=lambda pair: pair.change if pair.change is not None else float("inf"))
        measured = f"{best.name}: {metrics.signed(best.change)}, better for {best.better} of {len(best.spin)} seeds"
        made.append(Verdict(target, measured, MET if enough else MISSED))
    return made


def _only(run: dict, part: str, method: str | None = None) -> dict:
    """The run with one part (and one method) in its results."""
    kept = {
        system: {part: {name: result for name, result in parts[part].items() if method in (None, name)}}
        for system, parts in run["asr"].items()
    }
    return {**run, "asr": kept}


def _enough(pair: Pair) -> bool:
    return pair.change is not None and pair.change <= -ERRORS_LOWER and pair.better == len(pair.spin)


def _quality(runs: list[dict], key: str) -> Pair | None:
    return quality_pair(runs, next(metric for metric in UNIT_METRICS if metric.key == key))


def _abx(runs: list[dict]) -> Verdict:
    target = f"ABX error across speakers at least {ABX_LOWER:g}{metrics.SPACE}% lower (relative)"
    pair = _quality(runs, "abx_across")
    if pair is None or pair.change is None:
        return Verdict(target, metrics.NOT_MEASURED, OPEN)
    return Verdict(target, metrics.signed(pair.change), MET if pair.change <= -ABX_LOWER else MISSED)


def _pnmi(runs: list[dict]) -> Verdict:
    target = f"PNMI at least {PNMI_HIGHER:g} higher"
    pair = _quality(runs, "pnmi")
    if pair is None:
        return Verdict(target, metrics.NOT_MEASURED, OPEN)
    # Rounded to nine digits, because .42 - .41 is a little less than .01 in binary.
    gain = round(statistics.fmean(pair.spin) - statistics.fmean(pair.baseline), 9)
    return Verdict(target, metrics.signed(gain, 3, ""), MET if gain >= PNMI_HIGHER else MISSED)


def _perplexity(runs: list[dict]) -> Verdict:
    target = f"perplexity of Spin's units at least {PERPLEXITY_SHARE:g} K"
    values = [run["units"]["spin"].get("perplexity") for run in runs]
    if any(value is None for value in values):
        return Verdict(target, metrics.NOT_MEASURED, OPEN)
    share = statistics.fmean(value / run["units"]["spin"]["K"] for value, run in zip(values, runs))
    return Verdict(target, f"{share:.3f} K", MET if share >= PERPLEXITY_SHARE else MISSED)
