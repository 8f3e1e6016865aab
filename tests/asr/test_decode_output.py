"""The files of a decoding."""

from __future__ import annotations

import pytest

from spin import artifacts
from spin.asr.decode_output import Hypothesis, read_counts, read_summary, write_decoding
from spin.errors import DataError

TEXTS = [
    Hypothesis("u2", "s1", "THE CAT SAT", "THE CAT SAT"),
    Hypothesis("u1", "s1", "A CAT SAT ON IT", "CAT BAT ON IT TOO"),
    Hypothesis("u3", "s2", "HELLO", ""),
]


@pytest.fixture
def decoded(tmp_path):
    write_decoding(tmp_path, TEXTS, {"lm_scale": 0.5})
    return tmp_path


def test_summary_and_counts(decoded):
    summary = read_summary(decoded)
    assert summary["utterances"] == 3 and summary["lm_scale"] == 0.5
    assert summary["words"] == {"reference": 9, "insertions": 1, "deletions": 2, "substitutions": 1}
    assert summary["wer"] == pytest.approx(100 * 4 / 9)
    counts = read_counts(decoded)
    assert list(counts) == ["u1", "u2", "u3"]
    assert counts["u3"].words.deletions == 1 and counts["u3"].characters.deletions == 5 and counts["u3"].speaker == "s2"


def test_recognised_text(decoded):
    lines = (decoded / "hypotheses.txt").read_text(encoding="utf-8").splitlines()
    assert lines == ["u1\tA CAT SAT ON IT\tCAT BAT ON IT TOO", "u2\tTHE CAT SAT\tTHE CAT SAT", "u3\tHELLO\t"]


def test_alignments(decoded):
    lines = artifacts.word_alignments(decoded).read_text(encoding="utf-8").splitlines()
    assert lines[:4] == [
        "u1 ref A   CAT SAT ON IT ***",
        "u1 hyp *** CAT BAT ON IT TOO",
        "u1 op  D   C   S   C  C  I",
        "u1 #csid 3 1 1 1",
    ]
    assert len(lines) == 12


def test_word_errors(decoded):
    text = artifacts.word_errors(decoded).read_text(encoding="utf-8")
    assert text.startswith("%WER 44.44 [4 / 9, 1 ins, 2 del, 1 sub]\n")
    assert "\n1 SAT -> BAT\n" in text


def test_a_missing_summary_is_an_error(decoded):
    artifacts.decode_summary(decoded).unlink()
    with pytest.raises(DataError, match="summary.json"):
        read_summary(decoded)


def test_phone_rates(tmp_path):
    summary = write_decoding(tmp_path, [Hypothesis("u", "s", "AH R EH D", "AH R IY D")], {}, "phones")
    assert summary["symbols"] == "phones" and summary["per"] == summary["wer"] == summary["cer"] == 25.0
