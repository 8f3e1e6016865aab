"""Borders of units against borders of phones: by hand, an oracle, properties, degenerate input."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lhotse.supervision import AlignmentItem

from spin.errors import DataError
from spin.units.segmentation import BorderCounts, hits, phone_borders, scores, unit_borders


def items(*borders: float) -> list[AlignmentItem]:
    return [AlignmentItem("AA", start, round(end - start, 6)) for start, end in itertools.pairwise(borders)]


def test_by_hand():
    """Phones change at 0.10, 0.20 and 0.30 s, units at 0.08 (a hit), 0.24 (too far), 0.32 (a hit) and 0.34 (used up)."""
    units = np.repeat([0, 1, 2, 3, 4], [4, 8, 4, 1, 3])
    counts = BorderCounts()
    counts.add(items(0, 0.1, 0.2, 0.3, 0.4), units)
    assert (counts.phones, counts.units, counts.hits) == (3, 4, 2)
    figures = counts.figures()
    assert figures["precision"] == 0.5 and figures["recall"] == pytest.approx(2 / 3)
    assert figures["f1"] == pytest.approx(2 * 0.5 * (2 / 3) / (0.5 + 2 / 3))
    over = 1 / 3
    assert figures["over_segmentation"] == pytest.approx(over)
    first, second = math.sqrt((1 / 3) ** 2 + over**2), (-over + 2 / 3 - 1) / math.sqrt(2)
    assert figures["r_value"] == pytest.approx(1 - (abs(first) + abs(second)) / 2)


def test_r_value_from_its_formula():
    """Hit rate 80 % without over-segmentation; and twice the borders, all found."""
    assert scores(100, 100, 80)["r_value"] == pytest.approx(1 - (0.2 + 0.2 / math.sqrt(2)) / 2)
    assert scores(100, 200, 100)["r_value"] == pytest.approx(1 - (1 + 1 / math.sqrt(2)) / 2)


def test_degenerate():
    assert all(math.isnan(value) for value in BorderCounts().figures().values())
    none = scores(5, 0, 0)
    assert math.isnan(none["precision"]) and none["recall"] == 0 and none["f1"] == 0 and none["over_segmentation"] == -1
    assert none["r_value"] == pytest.approx(1 - 1 / math.sqrt(2))
    counts = BorderCounts()
    counts.add([], np.zeros(0, int))
    counts.add(items(0, 1.0), np.zeros(50, int))  # one phone, one unit: no border, its end is the utterance's
    assert (counts.phones, counts.units, counts.hits) == (0, 0, 0)
    with pytest.raises(DataError, match="tolerance"):
        BorderCounts(-0.01)


def test_borders():
    assert unit_borders(np.array([3, 3, 1, 1, 1, 2])).tolist() == pytest.approx([0.04, 0.1])
    gap = [AlignmentItem("AA", 0.1, 0.1), AlignmentItem("B", 0.25, 0.1), AlignmentItem("K", 0.35, 0.3)]
    assert phone_borders(reversed(gap), 0.5).tolist() == pytest.approx([0.1, 0.2, 0.25, 0.35])


def most_hits(wanted: list[float], found: list[float], tolerance: float) -> int:
    """Every pairing tried."""
    if not wanted:
        return 0
    best = most_hits(wanted[1:], found, tolerance)
    for index, time in enumerate(found):
        if abs(wanted[0] - time) <= tolerance + 1e-6:
            best = max(best, 1 + most_hits(wanted[1:], found[:index] + found[index + 1 :], tolerance))
    return best


times = st.lists(st.integers(0, 30), max_size=6, unique=True).map(lambda values: [value / 100 for value in sorted(values)])


@given(times, times, st.sampled_from([0.0, 0.01, 0.02, 0.05]))
def test_hits_are_the_most_that_can_be(wanted, found, tolerance):
    assert hits(np.array(wanted), np.array(found), tolerance) == most_hits(wanted, found, tolerance)
    assert hits(np.array(wanted), np.array(wanted), tolerance) == len(wanted)


@given(times, times)
def test_a_wider_tolerance_finds_no_less(wanted, found):
    counts = [hits(np.array(wanted), np.array(found), tolerance) for tolerance in (0.0, 0.01, 0.02, 1.0)]
    assert counts == sorted(counts) and counts[-1] == min(len(wanted), len(found))


def test_merged_is_together():
    random = np.random.default_rng(0)
    parts, whole = [BorderCounts(), BorderCounts()], BorderCounts()
    for part in parts:
        alignment, units = items(*np.sort(random.choice(100, 8, replace=False)) / 100), random.integers(0, 5, 50)
        part.add(alignment, units)
        whole.add(alignment, units)
    parts[0].merge(parts[1])
    assert parts[0].figures() == whole.figures()
