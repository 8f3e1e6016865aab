"""Tables of speakers and of confused words, by hand."""

from __future__ import annotations

import copy

import pytest

from spin import artifacts
from spin.errors import DataError
from spin.report.details import confusions, detail_tables, over_speakers, per_speaker, read_hypotheses
from spin.report.lookup import Decoding
from spin.runtime.files import write_jsonl, write_text

RESULT = {"wer": 50.0, "cer": 30.0, "ci95": [40.0, 60.0], "words": 10, "errors": 5}
GAIN = {"test": {"hlg": {"relative_wer_reduction": 0.0, "p_value": 1.0, "p_value_speakers": 0.2}}}
REPORT = {
    "seeds": [0, 1],
    "systems": ["baseline", "spin", "fbank"],
    "asr": {
        "baseline": {"test": {"hlg": {**RESULT, "ci95_speakers": [30.0, 70.0]}}},
        "spin": {"test": {"hlg": {**RESULT, "ci95_speakers": [31.0, 69.0]}}},
        "fbank": {"test": {"hlg": {**RESULT, "ci95_speakers": [35.0, 75.0]}}},
    },
    "gain": {"spin": GAIN, "fbank": GAIN},
}
WHERE = Decoding("features", "test", "hlg")
TEXTS = {
    "baseline": [("u1", "ann", "A CAT SAT", "A BAT SAT"), ("u2", "bob", "A DOG", "DOG")],
    "spin": [("u1", "ann", "A CAT SAT", "A CAT SAT"), ("u2", "bob", "A DOG", "THE DOG TOO")],
    "fbank": [("u1", "ann", "A CAT SAT", "A BAT SAT"), ("u2", "bob", "A DOG", "A DOG")],
}
ERRORS = {"baseline": (1, 1), "spin": (0, 2), "fbank": (1, 0)}


@pytest.fixture
def exp(tmp_path):
    """Two seeds whose decodings agree."""
    for system, rows in TEXTS.items():
        for seed in REPORT["seeds"]:
            folder = artifacts.decoding_folder(tmp_path, system, "features", seed, "test", "hlg")
            write_text(
                artifacts.hypotheses(folder), "".join(f"{name}\t{reference}\t{text}\n" for name, _, reference, text in rows)
            )
            records = [
                {"id": name, "speaker": speaker,
                 "words": {"reference": len(reference.split()), "insertions": 0, "deletions": 0, "substitutions": errors}}
                for (name, speaker, reference, _), errors in zip(rows, ERRORS[system])
            ]  # fmt: skip
            write_jsonl(artifacts.utterance_counts(folder), records)
    return tmp_path


def texts(table):
    return [[cell.text.replace("\u00a0", " ") for cell in row] for row in table.rows]


def test_speakers_by_hand(exp):
    table = per_speaker(exp, REPORT, WHERE)
    assert texts(table)[0] == ["ann", "2", "6", "33.3 %", "0.0 %", "−100.0 %, better", "33.3 %", "0.0 %"]
    assert texts(table)[1] == ["bob", "2", "4", "50.0 %", "100.0 %", "+100.0 %, worse", "0.0 %", "−100.0 %, better"]
    assert "Spin is better for 1 and worse for 1 of 2 speakers. filterbank is better for 1 and worse for 0" in table.note


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


def test_a_speaker_without_words_has_no_rate(exp):
    """A phone recogniser may have no pronunciation for any word of a speaker."""
    for system in TEXTS:
        for seed in REPORT["seeds"]:
            folder = artifacts.decoding_folder(exp, system, "features", seed, "test", "hlg")
            words = dict.fromkeys(("reference", "insertions", "deletions", "substitutions"), 0)
            silent = {"id": "u3", "speaker": "eve", "words": words}
            path = artifacts.utterance_counts(folder)
            path.write_text(path.read_text(encoding="utf-8") + str(silent).replace("'", '"') + "\n", encoding="utf-8")
    table = per_speaker(exp, REPORT, WHERE)
    assert texts(table)[2] == ["eve", "2", "0", "not measured", "not measured", "—", "not measured", "—"]
    assert "worse for 1 of 3 speakers" in table.note


def test_all_tables_and_none(exp, tmp_path):
    titles = [table.title for table in detail_tables(exp, REPORT)]
    assert titles == ["Recognition errors, intervals over speakers", "Errors by speaker", "Most frequent errors"]
    assert detail_tables(exp, {**REPORT, "asr": {"baseline": {}, "spin": {}, "fbank": {}}, "gain": {}}) == []
    assert len(detail_tables(tmp_path / "nothing", REPORT)) == 1


def test_hypotheses(tmp_path):
    assert read_hypotheses(tmp_path, "spin", 0, WHERE) == {}
    path = artifacts.hypotheses(artifacts.decoding_folder(tmp_path, "spin", "features", 0, "test", "hlg"))
    write_text(path, "a\tONE TWO\t\nb\tTHREE\tTHREE\n")
    assert read_hypotheses(tmp_path, "spin", 0, WHERE) == {"a": (["ONE", "TWO"], []), "b": (["THREE"], ["THREE"])}
    write_text(path, "a\tONE\tONE\nb THREE\n")
    with pytest.raises(DataError, match=r"(?s)line 2.*1 field\(s\).*--stage 5"):
        read_hypotheses(tmp_path, "spin", 0, WHERE)
