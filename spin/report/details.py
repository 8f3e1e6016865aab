"""Tables behind the error rates of the headline's decoding: intervals over speakers, errors by speaker, confused words."""

from __future__ import annotations

import collections
from pathlib import Path

from spin import artifacts
from spin.report import lookup, measures
from spin.report.alignment import GAP
from spin.report.tables import Table, cells, system_cells
from spin.runtime.files import read_jsonl

SPEAKERS_SHOWN = 60
CONFUSIONS_SHOWN = 20
NOTHING = "\u2205"


def detail_tables(exp: Path, report: dict) -> list[Table]:
    """The tables that this report has material for."""
    where = lookup.primary(report)
    if where is None:
        return []
    found = [over_speakers(report), per_speaker(exp, report, where), confusions(exp, report, where)]
    return [table for table in found if table is not None]


def over_speakers(report: dict) -> Table | None:
    """Intervals and tests over speakers instead of utterances; None where no result has them."""
    rows = []
    for decoding in lookup.decodings(report):
        results = [lookup.result(report, decoding, system) for system in report["systems"]]
        if all(result.get("ci95_speakers") for result in results):
            spans = [measures.interval(result["ci95_speakers"]) for result in results]
            gains = [lookup.gain(report, decoding, system) for system in report["systems"][1:]]
            tests = ["", *(f" ({measures.p_value(gain.get('p_value_speakers'))})" for gain in gains)]
            row = [span + test for span, test in zip(spans, tests)]
            rows.append(cells(decoding.part, decoding.source, measures.method_title(decoding.method), *row))
    note = (
        "95\u00a0% intervals of the error rate over speakers (bootstrap; Student's t below 20 speakers), and paired tests "
        "against the first system by flipping the signs of the speakers' differences: what another choice of speakers could have "
        "given, with these trainings. Utterances of one speaker share a voice, so the intervals tend to be wider."
    )
    header = ("part", "input", "decoding", *measures.system_titles(report).values())
    return Table("Recognition errors, intervals over speakers", header, tuple(rows), 3, note) if rows else None


def per_speaker(exp: Path, report: dict, where: lookup.Decoding) -> Table | None:
    """Error rate of every speaker by every system, over all seeds; of many speakers, those with the most words."""
    systems, titles = report["systems"], measures.system_titles(report)
    counts = {system: speaker_counts(exp, report, system, where) for system in systems}
    baseline = counts[systems[0]]
    shown = sorted(baseline, key=lambda speaker: (-baseline[speaker]["words"], speaker))[:SPEAKERS_SHOWN]
    if len(shown) < 2:
        return None
    measure = measures.error_measures(lookup.result(report, where, systems[0]))[0]
    rates = {speaker: [error_rate(counts[system][speaker]) for system in systems] for speaker in baseline}
    rows = []
    for speaker in sorted(shown):
        sizes = (str(baseline[speaker][name]) for name in ("utterances", "words"))
        rows.append(cells(speaker, *sizes, *system_cells(measure, rates[speaker])))
    sentences = [f"{_place(where)}."]
    for column, system in enumerate(systems[1:], start=1):
        tones = [measures.tone(measure, of_speaker[0], of_speaker[column]) for of_speaker in rates.values()]
        better, worse = tones.count("better"), tones.count("worse")
        sentences.append(f"{titles[system]} is better for {better} and worse for {worse} of {len(baseline)} speakers.")
    if len(baseline) > SPEAKERS_SHOWN:
        sentences.append(f"Shown: the {SPEAKERS_SHOWN} with the most words.")
    header = ("speaker", "utterances", "words", *titles.values())
    return Table("Errors by speaker", header, tuple(rows), note=" ".join(sentences))


def speaker_counts(exp: Path, report: dict, system: str, where: lookup.Decoding) -> dict[str, collections.Counter]:
    """Speaker -> utterances, words and errors, summed over seeds."""
    sums: dict[str, collections.Counter] = {}
    for seed in report["seeds"]:
        for record in read_jsonl(artifacts.utterance_counts(_folder(exp, system, seed, where))):
            words = record["words"]
            errors = words["insertions"] + words["deletions"] + words["substitutions"]
            entry = sums.setdefault(record["speaker"], collections.Counter())
            entry.update(utterances=1, words=words["reference"], errors=errors)
    return sums


def error_rate(counts: collections.Counter) -> float | None:
    """Errors in percent of the reference's words; None for a speaker that has none."""
    return 100.0 * counts["errors"] / counts["words"] if counts["words"] else None


def confusions(exp: Path, report: dict, where: lookup.Decoding) -> Table | None:
    """The commonest errors of all systems together, and how often each system makes them."""
    counts = {system: confused(exp, report, system, where) for system in report["systems"]}
    total = sum(counts.values(), collections.Counter())
    rows = []
    for pair, _ in sorted(total.items(), key=lambda entry: (-entry[1], entry[0]))[:CONFUSIONS_SHOWN]:
        words = (NOTHING if word == GAP else word for word in pair)
        rows.append(cells(*words, *(f"{of_system[pair]:,}" for of_system in counts.values())))
    header = ("spoken", "recognised", *measures.system_titles(report).values())
    note = f"{_place(where)}, all seeds. {NOTHING}: a word that was added or is missing."
    return Table("Most frequent errors", header, tuple(rows), 2, note) if rows else None


def confused(exp: Path, report: dict, system: str, where: lookup.Decoding) -> collections.Counter:
    """(spoken, recognised) -> how often, for the errors of one system over all seeds."""
    from kaldialign import align

    pairs: collections.Counter = collections.Counter()
    for seed in report["seeds"]:
        for reference, hypothesis in read_hypotheses(exp, system, seed, where).values():
            pairs.update(pair for pair in align(reference, hypothesis, GAP) if pair[0] != pair[1])
    return pairs


def read_hypotheses(exp: Path, system: str, seed: int, where: lookup.Decoding) -> dict[str, tuple[list[str], list[str]]]:
    """Utterance -> words of the reference, words of the hypothesis."""
    path = artifacts.hypotheses(_folder(exp, system, seed, where))
    lines = (line.split("\t") for line in path.read_text(encoding="utf-8").split("\n") if line)
    return {name: (reference.split(), hypothesis.split()) for name, reference, hypothesis in lines}


def _folder(exp: Path, system: str, seed: int, where: lookup.Decoding) -> Path:
    return artifacts.decoding_folder(exp, system, where.source, seed, where.part, where.method)


def _place(where: lookup.Decoding) -> str:
    return f"{where.part}, {measures.method_title(where.method)}"
