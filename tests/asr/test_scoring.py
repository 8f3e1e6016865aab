"""Error rates, bootstrap and paired comparison."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spin.asr.scoring import (
    ErrorCounts,
    count_characters,
    count_words,
    relative_reduction,
    total,
)

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


def test_counts_by_hand():
    counts = count_words("THE CAT SAT ON IT", "THE BAT SAT IT TOO")
    assert counts.errors == 3 and counts.rate == pytest.approx(60.0)
    assert count_characters("AB C", "AB D").rate == pytest.approx(25.0)  # of three letters and a space
    assert count_words("A", "A B C").rate == pytest.approx(200.0)


def test_degenerate_rates():
    assert count_words("", "").rate == 0.0
    assert count_words("", "A").rate == 100.0
    assert total([]) == ErrorCounts()


def test_relative_reduction():
    assert relative_reduction(40.0, 30.0) == pytest.approx(25.0)
    assert relative_reduction(30.0, 33.0) == pytest.approx(-10.0)
    assert relative_reduction(0.0, 0.0) == 0.0
