"""What lies behind the error rates of the headline's part and method: speakers, intervals over them, confused words."""

from __future__ import annotations

import collections
from pathlib import Path

from spin import artifacts
from spin.report import metrics, story, tables
from spin.report.alignment import GAP
from spin.report.metrics import WER
from spin.report.tables import Cell, Table
from spin.runtime.files import read_jsonl

SPEAKERS_SHOWN = 60
CONFUSIONS_SHOWN = 20
NOTHING = "\u2205"

Counts = dict[str, list[int]]  # speaker -> utterances, words, errors


def detail_tables(exp: Path, report: dict, texts) -> list[Table]:
    """The tables that this report has material for.

    Args:
        exp: the experiment's folder.
        report: the content of report.json.
        texts: reads a file of hypotheses: path -> {utterance: (words of the reference, words of the hypothesis)}.
    """
    where = story.primary(report)
    if where is None:
        return []
    names = [name for name in tables.systems(report) if name in report["asr"]]
    made = [over_speakers(report, names), per_speaker(exp, report, names, where), confusions(exp, report, names, where, texts)]
    return [table for table in made if table is not None]


def over_speakers(report: dict, names: list[str]) -> Table | None:
    """Intervals and test over speakers instead of utterances; None where no result has them."""
    rows = []
    for part, methods in report["asr"]["baseline"].items():
        for method in methods:
            spans = [report["asr"][name].get(part, {}).get(method, {}).get("ci95_speakers") for name in names]
            if any(span is None for span in spans):
                continue
            p = report["gain"].get(part, {}).get(method, {}).get("p_value_speakers")
            texts = [f"{span[0]:.1f} to {span[1]:.1f}{metrics.SPACE}%" for span in spans]
            rows.append(tuple(map(Cell, (part, metrics.method_title(method), *texts, metrics.p_value(p)))))
    if not rows:
        return None
    header = ("part", "decoding", *map(metrics.system_title, names), "test")
    note = (
        "95\u00a0% intervals of the error rate over speakers (bootstrap; Student's t below 20 speakers), and paired test of Spin "
        "against the baseline by flipping the signs of the speakers' differences: what another choice of speakers could have "
        "given, with these trainings. Utterances of one speaker share a voice, so the intervals tend to be wider."
    )
    return Table("Recognition errors, intervals over speakers", header, tuple(rows), tuple(range(2, len(header))), note)


def per_speaker(exp: Path, report: dict, names: list[str], where: tuple[str, str]) -> Table | None:
    """Error rate of every speaker by every system, over all seeds; the speakers with most words where there are too many."""
    counts = {name: speaker_counts(exp, report, name, where) for name in names}
    speakers = sorted(counts["baseline"], key=lambda speaker: (-counts["baseline"][speaker][1], speaker))
    if len(speakers) < 2:
        return None
    rows = []
    for speaker in sorted(speakers[:SPEAKERS_SHOWN]):
        rates = [_rate(counts[name].get(speaker)) for name in names]
        change = tables.change_cell(WER, rates[names.index("baseline")], rates[names.index("spin")])
        utterances, words, _ = counts["baseline"][speaker]
        numbers = map(str, (utterances, words))
        rows.append((Cell(speaker), *map(Cell, numbers), *(Cell(WER.show(rate)) for rate in rates), change))
    better = sum(_rate(counts["spin"].get(speaker), 1e9) < _rate(counts["baseline"][speaker]) for speaker in speakers)
    worse = sum(_rate(counts["spin"].get(speaker), 0.0) > _rate(counts["baseline"][speaker]) for speaker in speakers)
    note = f"{_place(where)}. Spin is better for {better} and worse for {worse} of {len(speakers)} speakers."
    if len(speakers) > SPEAKERS_SHOWN:
        note += f" Shown: the {SPEAKERS_SHOWN} with most words."
    header = ("speaker", "utterances", "words", *map(metrics.system_title, names), "change")
    return Table("Errors by speaker", header, tuple(rows), tuple(range(1, len(header))), note)


def speaker_counts(exp: Path, report: dict, system: str, where: tuple[str, str]) -> Counts:
    """Speaker -> utterances, words and errors, summed over seeds; empty where the decoding left no counts."""
    sums: Counts = {}
    for seed in report["seeds"]:
        path = artifacts.utterance_counts(artifacts.decode_folder(exp, system, seed, *where))
        for record in read_jsonl(path) if path.exists() else ():
            found, words = sums.setdefault(record["speaker"], [0, 0, 0]), record["words"]
            found[0] += 1
            found[1] += words["reference"]
            found[2] += words["insertions"] + words["deletions"] + words["substitutions"]
    return sums


def _rate(counts: list[int] | None, missing: float | None = None) -> float | None:
    if counts is None or counts[1] == 0:
        return missing
    return 100.0 * counts[2] / counts[1]


def confusions(exp: Path, report: dict, names: list[str], where: tuple[str, str], texts) -> Table | None:
    """The commonest errors of all systems together, and how often each system makes them."""
    found = {name: confused(exp, report, name, where, texts) for name in names}
    together = sum(found.values(), collections.Counter())
    if not together:
        return None
    rows = []
    for pair, _ in sorted(together.items(), key=lambda entry: (-entry[1], entry[0]))[:CONFUSIONS_SHOWN]:
        said, heard = (word if word != GAP else NOTHING for word in pair)
        rows.append(tuple(map(Cell, (said, heard, *(f"{found[name][pair]:,}" for name in names)))))
    header = ("said", "recognised", *map(metrics.system_title, names))
    note = f"{_place(where)}, all seeds. {NOTHING}: a word that was added or is missing."
    return Table("Most frequent errors", header, tuple(rows), tuple(range(2, len(header))), note)


def confused(exp: Path, report: dict, system: str, where: tuple[str, str], texts) -> collections.Counter:
    """(said, recognised) -> how often, for the errors of one system over all seeds."""
    from kaldialign import align

    pairs: collections.Counter = collections.Counter()
    for seed in report["seeds"]:
        for reference, hypothesis in texts(artifacts.hypotheses(exp, system, seed, *where)).values():
            pairs.update(pair for pair in align(reference, hypothesis, GAP) if pair[0] != pair[1])
    return pairs


def _place(where: tuple[str, str]) -> str:
    return f"{where[0]}, {metrics.method_title(where[1])}"
