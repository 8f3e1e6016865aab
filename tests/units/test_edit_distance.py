"""Unit edit distance: by hand, an oracle, properties, degenerate input."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spin.units.edit_distance import EditDistance, edit_distance
from spin.units.sample import Sample, Utterance

UNITS = st.lists(st.integers(0, 3), max_size=8)


def slow_distance(one: list[int], other: list[int]) -> int:
    """Recursion from the definition."""

    @functools.cache
    def best(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        return min(best(i - 1, j) + 1, best(i, j - 1) + 1, best(i - 1, j - 1) + (one[i - 1] != other[j - 1]))

    return best(len(one), len(other))


@given(UNITS, UNITS)
def test_equals_slow_oracle(one, other):
    assert edit_distance(np.array(one, int), np.array(other, int)) == slow_distance(one, other)


@given(UNITS, UNITS, UNITS)
def test_is_a_distance(a, b, c):
    a, b, c = (np.array(units, int) for units in (a, b, c))
    assert edit_distance(a, b) == edit_distance(b, a) and edit_distance(a, a) == 0
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)


def test_by_hand():
    """0 1 2 against 0 2 2: after deduplication 0 1 2 against 0 2, one deletion; and 5 units without any edit."""
    clean = {"a": np.array([0, 0, 1, 2]), "b": np.array([0, 1, 0, 1, 0])}
    family = EditDistance(Sample(4, clean_units=lambda: clean))
    family.add(Utterance("a", "s", np.array([0, 0, 2, 2]), 0.08))
    family.add(Utterance("b", "s", np.array([0, 1, 0, 1, 0]), 0.1))
    family.add(Utterance("not in the clean part", "s", np.array([1]), 0.02))
    assert family.figures()["unit_edit_distance"] == pytest.approx(100 / 8)


def test_degenerate():
    clean_part = EditDistance(Sample(4))
    clean_part.add(Utterance("a", "s", np.array([0]), 0.02))
    assert math.isnan(clean_part.figures()["unit_edit_distance"])
