"""Error rates, bootstrap and paired comparison."""

from __future__ import annotations

import kaldialign
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spin.asr.scoring import (
    ErrorCounts,
    bootstrap_interval,
    count_characters,
    count_words,
    paired_p_value,
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


def test_interval_against_kaldialign():
    random = np.random.default_rng(1)
    references = [["A"] * int(random.integers(3, 12)) for _ in range(150)]
    hypotheses = [["A" if random.random() > 0.3 else "B" for _ in reference] for reference in references]
    errors = [sum(word == "B" for word in words) for words in hypotheses]
    low, high = bootstrap_interval(errors, [len(words) for words in references], 2000, 0)
    theirs = kaldialign.bootstrap_wer_ci(references, hypotheses, replications=2000, seed=0)
    assert low == pytest.approx(100 * theirs["ci95min"], abs=0.5)
    assert high == pytest.approx(100 * theirs["ci95max"], abs=0.5)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(5, 9)), min_size=1, max_size=20))
def test_interval_holds_the_rate_and_is_repeatable(pairs):
    errors, references = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    low, high = bootstrap_interval(errors, references, 200, 3)
    rates = [100.0 * error / reference for error, reference in pairs]
    assert min(rates) - 1e-9 <= low <= high <= max(rates) + 1e-9
    assert bootstrap_interval(errors, references, 200, 3) == (low, high)


def test_interval_of_equal_utterances_and_of_none():
    assert bootstrap_interval([1] * 5, [4] * 5, 100, 0) == (25.0, 25.0)
    assert bootstrap_interval([], [], 100, 0) == (0.0, 0.0)


def test_p_value():
    random = np.random.default_rng(2)
    before = random.integers(2, 6, size=100)
    better = before - (random.random(100) < 0.5)
    assert paired_p_value(before, better, 999, 0) == pytest.approx(2 / 1000)
    assert paired_p_value(before, before, 999, 0) == 1.0
    assert paired_p_value(before, before + random.integers(-2, 3, size=100), 999, 0) > 0.01
    assert paired_p_value(better, before, 999, 0) == paired_p_value(before, better, 999, 0)
    assert paired_p_value([], [], 999, 0) == 1.0


def test_relative_reduction():
    assert relative_reduction(40.0, 30.0) == pytest.approx(25.0)
    assert relative_reduction(30.0, 33.0) == pytest.approx(-10.0)
    assert relative_reduction(0.0, 0.0) == 0.0
