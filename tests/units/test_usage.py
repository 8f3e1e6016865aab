"""Usage of units, runs and the edit distance: by hand, oracles, properties, degenerate input."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spin.units.measure import EvaluationSet, Utterance
from spin.units.units import find_runs
from spin.units.usage import EditDistance, UnitUse, entropy

UNITS = st.lists(st.integers(0, 5), max_size=50)


def use_of(codebook_size: int, *utterances: tuple[list[int], float]) -> UnitUse:
    use = UnitUse(EvaluationSet(codebook_size))
    for number, (units, seconds) in enumerate(utterances):
        use.add(Utterance(str(number), "s", np.array(units, dtype=int), seconds))
    return use


def test_by_hand():
    """aabbbbab in 2 s: segments a b a b, entropy 1 bit, 4 segments in 2 s: 2 bits per second; frames 3 a, 5 b."""
    figures = use_of(4, ([0, 0, 1, 1, 1, 1, 0, 1], 2.0)).figures()
    expected = -(3 / 8 * math.log2(3 / 8) + 5 / 8 * math.log2(5 / 8))
    assert figures["K"] == 4 and figures["bitrate"] == 2.0
    assert figures["unit_entropy"] == pytest.approx(expected) and figures["perplexity"] == pytest.approx(2**expected)
    assert (figures["used_codes"], figures["dead_codes"]) == (2, 2)
    assert figures["segments_per_second"] == 2.0 and figures["deduplicated_share"] == 0.5


def test_degenerate():
    nothing = use_of(3).figures()
    assert all(math.isnan(nothing[name]) for name in ("segments_per_second", "deduplicated_share", "bitrate"))
    assert (nothing["unit_entropy"], nothing["perplexity"], nothing["used_codes"]) == (0, 1, 0)
    use = use_of(3, ([0] * 50, 1.0), ([], 0.5))
    assert use.seconds == 1.5
    assert (use.figures()["bitrate"], use.figures()["perplexity"], use.figures()["used_codes"]) == (0, 1, 1)


def test_equal_use_has_perplexity_k():
    figures = use_of(8, (list(range(8)) * 10, 1.6)).figures()
    assert figures["perplexity"] == pytest.approx(8) and figures["unit_entropy"] == pytest.approx(3)
    assert figures["bitrate"] == pytest.approx(50 * 3)


@given(UNITS)
def test_runs_equal_groupby(units):
    runs, durations = find_runs(units)
    expected = [(unit, len(list(run))) for unit, run in itertools.groupby(units)]
    assert list(zip(runs.tolist(), durations.tolist(), strict=True)) == expected
    assert np.repeat(runs, durations).tolist() == units


@given(st.lists(st.integers(0, 100), min_size=1, max_size=20))
def test_entropy_bounds_and_scale(counts):
    counts = np.array(counts)
    value = entropy(counts)
    assert 0 <= value <= math.log2(len(counts)) + 1e-9
    assert entropy(counts * 3) == pytest.approx(value, abs=1e-9)
    assert entropy(np.append(counts, 0)) == value


def test_edit_distance_by_hand():
    """0 1 2 against 0 2 2: after deduplication 0 1 2 against 0 2, one deletion; and 5 units without any edit."""
    clean = {"a": np.array([0, 0, 1, 2]), "b": np.array([0, 1, 0, 1, 0, 2, 2])}
    family = EditDistance(EvaluationSet(4, clean_units=lambda: clean))
    family.add(Utterance("a", "s", np.array([0, 0, 2, 2]), 0.08))
    family.add(Utterance("b", "s", np.array([0, 1, 0, 1, 0]), 0.1))
    family.add(Utterance("not in the clean part", "s", np.array([1]), 0.02))
    assert family.figures()["unit_edit_distance"] == pytest.approx(100 / 8)
    assert math.isnan(EditDistance(EvaluationSet(4)).figures()["unit_edit_distance"])
