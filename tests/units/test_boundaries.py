"""Unit boundaries against phone boundaries: by hand, an oracle, properties, degenerate input."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lhotse.supervision import AlignmentItem

from spin.units.boundaries import Boundaries, count_hits, phone_boundaries, scores, unit_boundaries
from spin.units.measure import EvaluationSet, Utterance


def items(*times: float) -> list[AlignmentItem]:
    return [AlignmentItem("AA", start, round(end - start, 6)) for start, end in itertools.pairwise(times)]


def count(*utterances: tuple[list[AlignmentItem], np.ndarray]) -> Boundaries:
    counts = Boundaries(EvaluationSet(50))
    for number, (alignment, units) in enumerate(utterances):
        counts.add(Utterance(str(number), "s", units, 0.02 * len(units), alignment))
    return counts


def test_by_hand():
    """Phones change at 0.10, 0.20 and 0.30 s, units at 0.08 (a hit), 0.24 (too far), 0.32 (a hit) and 0.34 (used up)."""
    counts = count((items(0, 0.1, 0.2, 0.3, 0.4), np.repeat([0, 1, 2, 3, 4], [4, 8, 4, 1, 3])))
    assert (counts.phones, counts.units, counts.hits) == (3, 4, 2)
    first, second = math.sqrt((1 / 3) ** 2 + (1 / 3) ** 2), (-1 / 3 + 2 / 3 - 1) / math.sqrt(2)
    assert counts.figures() == {
        "boundary_precision": 0.5,
        "boundary_recall": pytest.approx(2 / 3),
        "boundary_f1": pytest.approx(2 * 0.5 * (2 / 3) / (0.5 + 2 / 3)),
        "boundary_over_segmentation": pytest.approx(1 / 3),
        "boundary_r_value": pytest.approx(1 - (abs(first) + abs(second)) / 2),
    }


def test_r_value_from_its_formula():
    """Hit rate 80 % without over-segmentation; and twice as many unit as phone boundaries, all found."""
    assert scores(100, 100, 80)["r_value"] == pytest.approx(1 - (0.2 + 0.2 / math.sqrt(2)) / 2)
    assert scores(100, 200, 100)["r_value"] == pytest.approx(1 - (1 + 1 / math.sqrt(2)) / 2)
    assert scores(100, 217, 100)["r_value"] > 0 > scores(100, 218, 100)["r_value"]  # the most that a positive one allows


def test_degenerate():
    assert all(math.isnan(value) for value in count().figures().values())
    none = scores(5, 0, 0)
    assert math.isnan(none["precision"]) and none["recall"] == 0 and none["f1"] == 0 and none["over_segmentation"] == -1
    assert none["r_value"] == pytest.approx(1 - 1 / math.sqrt(2))
    # No alignment; then one phone and one unit, whose end is the utterance's.
    counts = count(([], np.arange(5)), (items(0, 1.0), np.zeros(50, int)))
    assert (counts.phones, counts.units, counts.hits) == (0, 0, 0)


def test_boundaries():
    assert unit_boundaries(np.array([3, 3, 1, 1, 1, 2])).tolist() == pytest.approx([0.04, 0.1])
    gap = [AlignmentItem("AA", 0.1, 0.1), AlignmentItem("B", 0.25, 0.1), AlignmentItem("K", 0.35, 0.3)]
    assert phone_boundaries(reversed(gap), 0.5).tolist() == pytest.approx([0.1, 0.2, 0.25, 0.35])


def most_hits(phones: list[float], units: list[float], tolerance: float) -> int:
    """Tries every pairing."""
    if not phones:
        return 0
    best = most_hits(phones[1:], units, tolerance)
    for index, time in enumerate(units):
        if abs(phones[0] - time) <= tolerance + 1e-6:
            best = max(best, 1 + most_hits(phones[1:], units[:index] + units[index + 1 :], tolerance))
    return best


times = st.lists(st.integers(0, 30), max_size=6, unique=True).map(lambda values: [value / 100 for value in sorted(values)])


@given(times, times, st.sampled_from([0.0, 0.01, 0.02, 0.05, 1.0]))
def test_hits_are_the_most_possible(phones, units, tolerance):
    assert count_hits(np.array(phones), np.array(units), tolerance) == most_hits(phones, units, tolerance)
    assert count_hits(np.array(phones), np.array(phones), tolerance) == len(phones)
