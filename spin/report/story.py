"""The answer in a sentence: does Spin lower the error on the test part, by how much, and could it be luck?"""

from __future__ import annotations

from dataclasses import dataclass

from spin.report import metrics
from spin.report.metrics import SIGNIFICANT

BETTER, WORSE, UNCLEAR, OPEN = "better", "worse", "unclear", "open"


@dataclass(frozen=True)
class Headline:
    """What stands on top of the report.

    Args:
        verdict: better, worse, unclear (may be chance) or open (nothing was measured).
        figure: the relative change in large type, '' where there is none.
        title: the answer in one sentence.
        detail: interval, test and what they mean.
    """

    verdict: str
    figure: str
    title: str
    detail: str


def primary(report: dict) -> tuple[str, str] | None:
    """The (part, method) that the headline is about: the first test part, decoded with the language model where that was done.

    None when the report has no recognition result of both systems.
    """
    baseline, spin = report["asr"].get("baseline", {}), report["asr"].get("spin", {})
    parts = [part for part in spin if part in baseline]
    wanted = (report.get("config") or {}).get("corpus", {}).get("test", [])
    for part in [*[name for name in wanted if name in parts], *parts]:
        methods = [method for method in spin[part] if method in baseline[part]]
        if methods:
            return part, "hlg" if "hlg" in methods else methods[-1]
    return None


def headline(report: dict) -> Headline:
    """The headline of a report.json; says plainly when there is no gain, or none that chance would not explain."""
    where = primary(report)
    if where is None:
        return Headline(OPEN, "", "No speech recognition was measured", "The report has no test part that both systems decoded.")
    part, method = where
    scores = {system: report["asr"][system][part][method] for system in ("baseline", "spin")}
    before, after = scores["baseline"]["wer"], scores["spin"]["wer"]
    change = metrics.relative_change(before, after)
    p = report["gain"].get(part, {}).get(method, {}).get("p_value")
    verdict = _verdict(before, after, p)
    rate = "phone error rate" if "per" in scores["spin"] else "word error rate"
    title = _title(verdict, part, before, after, change).replace("word error rate", rate, 1)
    return Headline(verdict, metrics.signed(change), title, _detail(scores, method, p, report))


def _verdict(before: float, after: float, p: float | None) -> str:
    if before == after or p is None or p >= SIGNIFICANT:
        return UNCLEAR
    return BETTER if after < before else WORSE


def _title(verdict: str, part: str, before: float, after: float, change: float | None) -> str:
    numbers = f"{metrics.WER.show(before)} \u2192 {metrics.WER.show(after)}"
    by = "" if change is None else f" by {metrics.number(abs(change), 1, '%')} relative"
    if verdict == BETTER:
        return f"Spin lowers the word error rate on {part}{by}: {numbers}"
    if verdict == WORSE:
        return f"Spin raises the word error rate on {part}{by}: {numbers}"
    if before == after:
        return f"No gain: the word error rate on {part} is {metrics.WER.show(before)} with and without Spin"
    return f"No reliable gain: the word error rate on {part} goes {numbers}, which may be chance"


def _detail(scores: dict, method: str, p: float | None, report: dict) -> str:
    spans = []
    for system in ("baseline", "spin"):
        low, high = scores[system]["ci95"]
        spans.append(f"{metrics.system_title(system)} {metrics.number(low, 1)} to {metrics.number(high, 1, '%')}")
    seeds = len(report["seeds"])
    words = scores["spin"]["words"] // seeds  # errors and words are sums over the seeds
    test = f"paired test {metrics.p_value(p)}" if p is not None else "no test of significance was made"
    if p is not None and p >= SIGNIFICANT:
        test += f", not below {SIGNIFICANT:g}"
    trained = "one recogniser" if seeds == 1 else f"{seeds} recognisers"
    return (
        f"{metrics.method_title(method)}; 95{metrics.SPACE}% intervals: {', '.join(spans)}; {test}; "
        f"{words:,} {'phones' if 'per' in scores['spin'] else 'words'}, {trained} trained for each system."
    )
