"""Tables behind the error rates of the headline's decoding: intervals over speakers, errors by speaker, confused words."""

from __future__ import annotations

import collections
from pathlib import Path

from spin import artifacts
from spin.errors import DataError
from spin.report import formatting, lookup, measures, tables
from spin.report.alignment import GAP
from spin.report.tables import Table, cells
from spin.runtime.files import read_jsonl

SPEAKERS_SHOWN = 60
CONFUSIONS_SHOWN = 20
NOTHING = "\u2205"

Counts = dict[str, list[int]]  # speaker -> utterances, words, errors
Texts = dict[str, tuple[list[str], list[str]]]  # utterance -> words of the reference, words of the hypothesis


def detail_tables(exp: Path, report: dict) -> list[Table]:
    """The tables that this report has material for."""
    where = lookup.primary(report)
    if where is None:
        return []
    found = [over_speakers(report), per_speaker(exp, report, where), confusions(exp, report, where)]
    return [table for table in found if table is not None]


def over_speakers(report: dict) -> Table | None:
    """Intervals and tests over speakers instead of utterances; None where no result has them."""
    systems, titles = report["systems"], formatting.system_titles(report)
    rows = []
    for decoding in lookup.decodings(report):
        spans = [(lookup.result(report, decoding, system) or {}).get("ci95_speakers") for system in systems]
        if any(span is None for span in spans):
            continue
        row = [_speaker_cell(report, decoding, system, span) for system, span in zip(systems, spans)]
        rows.append(cells(decoding.part, decoding.source, measures.method_title(decoding.method), *row))
    header = ("part", "input", "decoding", *titles.values())
    note = (
        "95\u00a0% intervals of the error rate over speakers (bootstrap; Student's t below 20 speakers), and paired tests "
        "against the first system by flipping the signs of the speakers' differences: what another choice of speakers could have "
        "given, with these trainings. Utterances of one speaker share a voice, so the intervals tend to be wider."
    )
    title = "Recognition errors, intervals over speakers"
    return Table(title, header, tuple(rows), tuple(range(3, len(header))), note=note) if rows else None


def _speaker_cell(report: dict, decoding: lookup.Decoding, system: str, span: list[float]) -> str:
    text = f"{span[0]:.1f} to {span[1]:.1f}{formatting.SPACE}%"
    gain = lookup.gain(report, decoding, system)
    return f"{text} ({formatting.p_value(gain.get('p_value_speakers'))})" if gain else text


def per_speaker(exp: Path, report: dict, where: lookup.Decoding) -> Table | None:
    """Error rate of every speaker by every system, over all seeds; of many speakers, those with the most words."""
    counts = {system: speaker_counts(exp, report, system, where) for system in report["systems"]}
    baseline = counts[report["systems"][0]]
    speakers = sorted(baseline, key=lambda speaker: (-baseline[speaker][1], speaker))
    if len(speakers) < 2:
        return None
    measure = measures.error_measures(lookup.result(report, where, report["systems"][0]))[0]
    rows = []
    for speaker in sorted(speakers[:SPEAKERS_SHOWN]):
        rates = [error_rate(counts[system].get(speaker)) for system in report["systems"]]
        utterances, words, _ = baseline[speaker]
        rows.append(cells(speaker, str(utterances), str(words), *tables.system_cells(measure, rates)))
    header = ("speaker", "utterances", "words", *tables.system_header(report))
    return Table(
        "Errors by speaker", header, tuple(rows), tuple(range(1, len(header))), note=_speaker_note(report, where, counts)
    )


def _speaker_note(report: dict, where: lookup.Decoding, counts: dict[str, Counts]) -> str:
    baseline, titles = counts[report["systems"][0]], formatting.system_titles(report)
    sentences = [f"{_place(where)}."]
    for system in report["systems"][1:]:
        pairs = [(error_rate(counts[system].get(speaker)), error_rate(baseline[speaker])) for speaker in baseline]
        pairs = [(after, before) for after, before in pairs if after is not None and before is not None]
        better, worse = sum(after < before for after, before in pairs), sum(after > before for after, before in pairs)
        sentences.append(f"{titles[system]} is better for {better} and worse for {worse} of {len(baseline)} speakers.")
    if len(baseline) > SPEAKERS_SHOWN:
        sentences.append(f"Shown: the {SPEAKERS_SHOWN} with the most words.")
    return " ".join(sentences)


def speaker_counts(exp: Path, report: dict, system: str, where: lookup.Decoding) -> Counts:
    """Speaker -> utterances, words and errors, summed over seeds; empty where the decoding left no counts."""
    sums: Counts = {}
    for seed in report["seeds"]:
        path = artifacts.utterance_counts(_folder(exp, system, seed, where))
        for record in read_jsonl(path) if path.exists() else ():
            entry, words = sums.setdefault(record["speaker"], [0, 0, 0]), record["words"]
            entry[0] += 1
            entry[1] += words["reference"]
            entry[2] += words["insertions"] + words["deletions"] + words["substitutions"]
    return sums


def error_rate(counts: list[int] | None) -> float | None:
    """Errors in percent of the reference's words; None for a speaker that has none."""
    return None if counts is None or counts[1] == 0 else 100.0 * counts[2] / counts[1]


def confusions(exp: Path, report: dict, where: lookup.Decoding) -> Table | None:
    """The commonest errors of all systems together, and how often each system makes them."""
    counts = {system: confused(exp, report, system, where) for system in report["systems"]}
    total = sum(counts.values(), collections.Counter())
    if not total:
        return None
    rows = []
    for pair, _ in sorted(total.items(), key=lambda entry: (-entry[1], entry[0]))[:CONFUSIONS_SHOWN]:
        words = (word if word != GAP else NOTHING for word in pair)
        rows.append(cells(*words, *(f"{counts[system][pair]:,}" for system in report["systems"])))
    header = ("spoken", "recognised", *formatting.system_titles(report).values())
    note = f"{_place(where)}, all seeds. {NOTHING}: a word that was added or is missing."
    return Table("Most frequent errors", header, tuple(rows), tuple(range(2, len(header))), note=note)


def confused(exp: Path, report: dict, system: str, where: lookup.Decoding) -> collections.Counter:
    """(spoken, recognised) -> how often, for the errors of one system over all seeds."""
    from kaldialign import align

    pairs: collections.Counter = collections.Counter()
    for seed in report["seeds"]:
        for reference, hypothesis in read_hypotheses(exp, system, seed, where).values():
            pairs.update(pair for pair in align(reference, hypothesis, GAP) if pair[0] != pair[1])
    return pairs


def read_hypotheses(exp: Path, system: str, seed: int, where: lookup.Decoding) -> Texts:
    """The texts of one decoding; none where the file is missing.

    Raises:
        DataError: names the first line that is not an utterance, a reference and a hypothesis.
    """
    path = artifacts.hypotheses(_folder(exp, system, seed, where))
    if not path.exists():
        return {}
    texts: Texts = {}
    for row, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        fields = line.split("\t")
        if line and len(fields) != 3:
            raise DataError(
                f"{path}, line {row}",
                found=f"{len(fields)} field(s)",
                expected="utterance, tab, reference, tab, hypothesis",
                remedy="./run.sh --stage 5 --stop-stage 5 --force with the same --conf, --set and --exp-dir",
            )
        if line:
            texts[fields[0]] = (fields[1].split(), fields[2].split())
    return texts


def _folder(exp: Path, system: str, seed: int, where: lookup.Decoding) -> Path:
    return artifacts.decoding_folder(exp, system, where.source, seed, where.part, where.method)


def _place(where: lookup.Decoding) -> str:
    return f"{where.part}, {measures.method_title(where.method)}"
