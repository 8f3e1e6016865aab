"""Tables of speakers and of confused words, by hand."""

from __future__ import annotations

import copy

import pytest

from spin import artifacts
from spin.report.lookup import Decoding
from spin.report.tables import confusions, detail_tables, over_speakers, per_speaker, read_hypotheses
from spin.runtime.files import append_jsonl, write_jsonl, write_text

RESULT = {"wer": 50.0, "cer": 30.0, "ci95": [40.0, 60.0], "words": 10, "errors": 5}
SPANS = {"baseline": [30.0, 70.0], "spin": [31.0, 69.0], "fbank": [35.0, 75.0]}
GAIN = {"test": {"hlg": {"relative_wer_reduction": 0.0, "p_value": 1.0, "p_value_speakers": 0.2}}}
REPORT = {
    "seeds": [0, 1],
    "systems": list(SPANS),
    "asr": {system: {"test": {"hlg": {**RESULT, "ci95_speakers": span}}} for system, span in SPANS.items()},
    "gain": {"spin": GAIN, "fbank": GAIN},
}
WHERE = Decoding("features", "test", "hlg")
TEXTS = {
    "baseline": [("u1", "ann", "A CAT SAT", "A BAT SAT"), ("u2", "bob", "A DOG", "DOG")],
    "spin": [("u1", "ann", "A CAT SAT", "A CAT SAT"), ("u2", "bob", "A DOG", "THE DOG TOO")],
    "fbank": [("u1", "ann", "A CAT SAT", "A BAT SAT"), ("u2", "bob", "A DOG", "A DOG")],
}
ERRORS = {"baseline": (1, 1), "spin": (0, 2), "fbank": (1, 0)}


def folders(exp, system):
    return [artifacts.decoding_folder(exp, system, "features", seed, "test", "hlg") for seed in REPORT["seeds"]]


def counts(name, speaker, words, errors):
    return {
        "id": name,
        "speaker": speaker,
        "words": {"reference": words, "insertions": 0, "deletions": 0, "substitutions": errors},
    }


@pytest.fixture
def exp(tmp_path):
    """Two seeds whose decodings agree."""
    for system, rows in TEXTS.items():
        for folder in folders(tmp_path, system):
            lines = (f"{name}\t{reference}\t{text}\n" for name, _, reference, text in rows)
            write_text(artifacts.hypotheses(folder), "".join(lines))
            records = [counts(*row[:2], len(row[2].split()), errors) for row, errors in zip(rows, ERRORS[system])]
            write_jsonl(artifacts.utterance_counts(folder), records)
    return tmp_path


def texts(table):
    return [[f"{cell.text} | {cell.below}".replace("\u00a0", " ").removesuffix(" | ") for cell in row] for row in table.rows]


def test_speakers_by_hand(exp):
    for system in TEXTS:  # a phone recogniser may have no pronunciation for any word of a speaker
        for folder in folders(exp, system):
            append_jsonl(artifacts.utterance_counts(folder), counts("u3", "eve", 0, 0))
    table = per_speaker(exp, REPORT, WHERE)
    assert texts(table) == [
        ["ann", "2", "6", "33.3 %", "0.0 % | −100.0 %, better", "33.3 % | 0.0 %"],
        ["bob", "2", "4", "50.0 %", "100.0 % | +100.0 %, worse", "0.0 % | −100.0 %, better"],
        ["eve", "2", "0", "not measured", "not measured | —", "not measured | —"],
    ]
    assert "Spin is better for 1 and worse for 1 of 3 speakers. filterbank is better for 1 and worse for 0" in table.note


def test_confusions_by_hand(exp):
    rows = texts(confusions(exp, REPORT, WHERE))
    assert rows[0] == ["CAT", "BAT", "2", "0", "2"]
    assert sorted(rows[1:]) == sorted([["A", "∅", "2", "0", "0"], ["A", "THE", "0", "2", "0"], ["∅", "TOO", "0", "2", "0"]])


def test_intervals_over_speakers():
    row = texts(over_speakers(REPORT))[0]
    assert row[3] == "30.0 to 70.0 %" and row[4] == "31.0 to 69.0 % (p = 0.200)"
    bare = copy.deepcopy(REPORT)
    del bare["asr"]["spin"]["test"]["hlg"]["ci95_speakers"]
    assert over_speakers(bare) is None


def test_all_tables_and_none(exp):
    titles = [table.title for table in detail_tables(exp, REPORT)]
    assert titles == ["Recognition errors, intervals over speakers", "Errors by speaker", "Most frequent errors"]
    assert detail_tables(exp, {**REPORT, "asr": {"baseline": {}, "spin": {}, "fbank": {}}, "gain": {}}) == []


def test_hypotheses(exp):
    path = artifacts.hypotheses(folders(exp, "spin")[0])
    write_text(path, "a\tONE TWO\t\nb\tTHREE\tTHREE\n")
    assert read_hypotheses(exp, "spin", 0, WHERE) == {"a": (["ONE", "TWO"], []), "b": (["THREE"], ["THREE"])}
