"""Error rates, and the files of a decoding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spin import artifacts
from spin.asr.scores import relative_reduction
from spin.asr.scoring import ErrorCounts, Hypothesis, count_characters, count_words, read_counts, total, write_decoding
from spin.runtime.files import read_json

texts = st.lists(st.sampled_from(["A", "B", "CC", "D'S"]), max_size=8).map(" ".join)


def slow_distance(first: list[str], second: list[str]) -> int:
    """Levenshtein distance by the full table."""
    table = np.zeros((len(first) + 1, len(second) + 1), dtype=int)
    table[:, 0], table[0, :] = np.arange(len(first) + 1), np.arange(len(second) + 1)
    for row, one in enumerate(first, start=1):
        for column, other in enumerate(second, start=1):
            steps = (table[row - 1, column] + 1, table[row, column - 1] + 1, table[row - 1, column - 1] + (one != other))
            table[row, column] = min(steps)
    return int(table[-1, -1])


@given(texts, texts)
def test_counts_equal_the_slow_oracle(reference, hypothesis):
    words, characters = count_words(reference, hypothesis), count_characters(reference, hypothesis)
    assert words.errors == slow_distance(reference.split(), hypothesis.split())
    assert characters.errors == slow_distance(list(reference), list(hypothesis))
    assert words.reference == len(reference.split()) and characters.reference == len(reference)
    assert words.reference - words.deletions + words.insertions == len(hypothesis.split())


def test_rates_by_hand():
    counts = count_words("THE CAT SAT ON IT", "THE BAT SAT IT TOO")
    assert counts.errors == 3 and counts.rate == pytest.approx(60.0)
    assert count_characters("AB C", "AB D").rate == pytest.approx(25.0)  # of three letters and a space
    assert [count_words(*pair).rate for pair in (("A", "A B C"), ("", ""), ("", "A"))] == pytest.approx([200.0, 0.0, 100.0])
    assert total([]) == ErrorCounts()
    assert [relative_reduction(*pair) for pair in ((30.0, 33.0), (0.0, 0.0))] == pytest.approx([-10.0, 0.0])


def test_files_of_a_decoding(tmp_path):
    texts = [
        Hypothesis("u2", "s1", "THE CAT SAT", "THE CAT SAT"),
        Hypothesis("u1", "s1", "A CAT SAT ON IT", "CAT BAT ON IT TOO"),
        Hypothesis("u3", "s2", "HELLO", ""),
    ]
    summary = write_decoding(tmp_path, texts, {"lm_scale": 0.5})
    assert summary == read_json(artifacts.decode_summary(tmp_path))
    assert summary["utterances"] == 3 and summary["lm_scale"] == 0.5
    assert summary["words"] == {"reference": 9, "insertions": 1, "deletions": 2, "substitutions": 1}
    assert summary["wer"] == pytest.approx(100 * 4 / 9)
    counts = read_counts(tmp_path)
    assert list(counts) == ["u1", "u2", "u3"]
    assert counts["u3"].words.deletions == 1 and counts["u3"].characters.deletions == 5 and counts["u3"].speaker == "s2"
    lines = artifacts.hypotheses(tmp_path).read_text(encoding="utf-8").splitlines()
    assert lines == ["u1\tA CAT SAT ON IT\tCAT BAT ON IT TOO", "u2\tTHE CAT SAT\tTHE CAT SAT", "u3\tHELLO\t"]
    lines = artifacts.word_alignments(tmp_path).read_text(encoding="utf-8").splitlines()
    assert lines[:4] == [
        "u1 ref A   CAT SAT ON IT ***",
        "u1 hyp *** CAT BAT ON IT TOO",
        "u1 op  D   C   S   C  C  I",
        "u1 #csid 3 1 1 1",
    ]
    assert len(lines) == 12
    assert artifacts.word_errors(tmp_path).read_text(encoding="utf-8") == (
        "%WER 44.44 [4 / 9, 1 ins, 2 del, 1 sub]\n\nSUBSTITUTIONS: count reference -> hypothesis\n1 SAT -> BAT\n"
        "\nDELETIONS: count reference\n1 A\n1 HELLO\n\nINSERTIONS: count hypothesis\n1 TOO\n"
    )


def test_phone_rates(tmp_path):
    texts = [Hypothesis("u", "s", "AH R EH D", "AH R IY D"), Hypothesis("v", "s", "", "")]
    summary = write_decoding(tmp_path, texts, {}, "phones")
    assert summary["symbols"] == "phones" and summary["per"] == summary["wer"] == summary["cer"] == 25.0
    assert artifacts.word_alignments(tmp_path).read_text(encoding="utf-8").endswith("v ref\nv hyp\nv op\nv #csid 0 0 0 0\n")
