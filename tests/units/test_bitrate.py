"""Entropy, bitrate and perplexity: by hand, an oracle, properties, degenerate input."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spin.errors import DataError
from spin.units.bitrate import UnitUse, bitrate, deduplicated, entropy


def test_by_hand():
    """aabbbbab in 2 s: segments a b a b, entropy 1 bit, 4 segments in 2 s: 2 bits a second; frames 3 a, 5 b."""
    use = UnitUse(4)
    use.add(np.array([0, 0, 1, 1, 1, 1, 0, 1]), 2.0)
    assert use.bitrate() == 2.0
    expected = -(3 / 8 * math.log2(3 / 8) + 5 / 8 * math.log2(5 / 8))
    assert use.entropy() == pytest.approx(expected) and use.perplexity() == pytest.approx(2**expected)
    assert use.used() == 2
    assert use.segment_rate() == 2.0 and use.deduplicated_share() == 0.5


def test_degenerate():
    use = UnitUse(3)
    assert math.isnan(use.segment_rate()) and math.isnan(use.deduplicated_share())
    assert math.isnan(use.bitrate()) and use.entropy() == 0 and use.perplexity() == 1 and use.used() == 0
    use.add(np.zeros(50, int), 1.0)
    assert use.bitrate() == 0 and use.perplexity() == 1 and use.used() == 1
    use.add(np.zeros(0, int), 0.5)
    assert use.seconds == 1.5
    assert math.isnan(bitrate(np.array([1, 2]), 0.0))


def test_equal_use_has_perplexity_k():
    use = UnitUse(8)
    use.add(np.arange(80) % 8, 1.6)
    assert use.perplexity() == pytest.approx(8) and use.entropy() == pytest.approx(3)
    assert use.bitrate() == pytest.approx(50 * 3)


@given(st.lists(st.integers(0, 5), max_size=50))
def test_deduplicated_equals_groupby(units):
    assert deduplicated(np.array(units, dtype=np.int64)).tolist() == [unit for unit, _ in itertools.groupby(units)]


@given(st.lists(st.integers(0, 100), min_size=1, max_size=20))
def test_entropy_bounds_and_scale(counts):
    counts = np.array(counts)
    value = entropy(counts)
    assert 0 <= value <= math.log2(len(counts)) + 1e-9
    assert entropy(counts * 3) == pytest.approx(value, abs=1e-9)
    assert entropy(np.append(counts, 0)) == value


@given(st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=20), min_size=2, max_size=5))
def test_merge_equals_one_stream(utterances):
    whole, parts = UnitUse(5), [UnitUse(5), UnitUse(5)]
    for index, units in enumerate(utterances):
        whole.add(np.array(units), 1.0)
        parts[index % 2].add(np.array(units), 1.0)
    parts[0].merge(parts[1])
    assert parts[0].bitrate() == whole.bitrate() and parts[0].entropy() == whole.entropy()


def test_unknown_units_are_an_error():
    with pytest.raises(DataError, match="integers from 0 to 1"):
        UnitUse(2).add(np.array([2]), 1.0)
