"""Tables of speakers, confused words and recognised text, by hand."""

import copy

import pytest

from spin.report import tables
from spin.report.measures import Decoding
from spin.report.tables import confusions, examples, over_speakers, per_speaker
from tests.report.made_up_run import shown, write_decodings

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
SENTENCES = (
    ("u1", "ann", "A CAT SAT", ("A BAT SAT", "A CAT SAT", "A BAT SAT")),
    ("u2", "bob", "A DOG", ("DOG", "THE DOG TOO", "A DOG")),
    ("u3", "eve", "", ("",)),  # nothing said: a phone recogniser may have no pronunciation for any word of a speaker
)


@pytest.fixture
def exp(tmp_path):
    """Two seeds whose decodings agree."""
    write_decodings(tmp_path, SPANS, WHERE, SENTENCES, REPORT["seeds"])
    return tmp_path


def test_speakers_by_hand(exp):
    table = per_speaker(exp, REPORT, WHERE)
    assert list(map(shown, table.rows)) == [
        ["ann", "2", "6", "33.3 %", "0.0 % | −100.0 %, better", "33.3 % | 0.0 %"],
        ["bob", "2", "4", "50.0 %", "100.0 % | +100.0 %, worse", "0.0 % | −100.0 %, better"],
        ["eve", "2", "0", "not measured", "not measured | —", "not measured | —"],
    ]
    assert "Spin is better for 1 and worse for 1 of 3 speakers. filterbank is better for 1 and worse for 0" in table.note


def test_confusions_by_hand(exp):
    rows = list(map(shown, confusions(exp, REPORT, WHERE).rows))
    assert rows[0] == ["CAT", "BAT", "2", "0", "2"]
    assert sorted(rows[1:]) == sorted([["A", "∅", "2", "0", "0"], ["A", "THE", "0", "2", "0"], ["∅", "TOO", "0", "2", "0"]])


def test_recognised_text_by_hand(exp, monkeypatch):
    monkeypatch.setattr(tables, "EXAMPLES_SHOWN", 1)
    assert list(map(shown, examples(exp, REPORT, WHERE).rows)) == [
        ["u1", "reference", "A CAT SAT", ""],
        ["", "baseline", "A [BAT] SAT", "1"],
        ["", "Spin", "A CAT SAT", "0"],
        ["", "filterbank", "A [BAT] SAT", "1"],
        ["u2", "reference", "A DOG", ""],
        ["", "baseline", "[∅] DOG", "1"],
        ["", "Spin", "[THE] DOG [+TOO]", "2"],
        ["", "filterbank", "A DOG", "0"],
    ]


def test_intervals_over_speakers(exp):
    row = shown(over_speakers(REPORT).rows[0])
    assert row[3] == "30.0 to 70.0 %" and row[4] == "31.0 to 69.0 % (p = 0.200)"
    bare = copy.deepcopy(REPORT)
    del bare["asr"]["spin"]["test"]["hlg"]["ci95_speakers"]
    assert over_speakers(bare).rows == []
