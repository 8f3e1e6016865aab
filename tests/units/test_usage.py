"""Use of units: by hand, an oracle, properties, degenerate input."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spin.errors import DataError
from spin.units.counts import entropy
from spin.units.sample import Sample, Utterance, deduplicate
from spin.units.usage import UnitUse, bitrate


def use_of(codebook_size: int, *utterances: tuple[list[int], float]) -> UnitUse:
    use = UnitUse(Sample(codebook_size))
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
    assert math.isnan(bitrate(np.array([1, 2]), 0.0))


def test_equal_use_has_perplexity_k():
    figures = use_of(8, (list(range(8)) * 10, 1.6)).figures()
    assert figures["perplexity"] == pytest.approx(8) and figures["unit_entropy"] == pytest.approx(3)
    assert figures["bitrate"] == pytest.approx(50 * 3)


@given(st.lists(st.integers(0, 5), max_size=50))
def test_deduplicate_equals_groupby(units):
    assert deduplicate(np.array(units, dtype=np.int64)).tolist() == [unit for unit, _ in itertools.groupby(units)]


@given(st.lists(st.integers(0, 100), min_size=1, max_size=20))
def test_entropy_bounds_and_scale(counts):
    counts = np.array(counts)
    value = entropy(counts)
    assert 0 <= value <= math.log2(len(counts)) + 1e-9
    assert entropy(counts * 3) == pytest.approx(value, abs=1e-9)
    assert entropy(np.append(counts, 0)) == value


@pytest.mark.parametrize("units", [[2], [-1]])
def test_unknown_units_are_an_error(units):
    with pytest.raises(DataError, match="integers from 0 to 1"):
        use_of(2, (units, 1.0))
