"""NMI of units and speakers: by hand, scikit-learn as oracle, properties, degenerate input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import normalized_mutual_info_score

from spin.errors import DataError
from spin.units.speaker_nmi import SpeakerCounts, nmi

tables = st.lists(st.lists(st.integers(0, 9), min_size=4, max_size=4), min_size=2, max_size=5).map(np.array)


def test_by_hand():
    assert nmi(np.array([[5, 0], [0, 5]])) == pytest.approx(1)
    assert nmi(np.array([[4, 4], [4, 4]])) == pytest.approx(0, abs=1e-12)
    information = 0.5 * math.log(4 / 3) + 0.25 * math.log(2 / 3) + 0.25 * math.log(2)  # of [[2, 0], [1, 1]] / 4, rows 1/2
    entropies = math.log(2) - (0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert nmi(np.array([[2, 0], [1, 1]])) == pytest.approx(2 * information / entropies)


@given(tables)
def test_agrees_with_scikit_learn(table):
    rows, columns = np.indices(table.shape).reshape(2, -1).repeat(table.ravel(), axis=1)
    if len(rows) and len(set(rows)) > 1 and len(set(columns)) > 1:
        assert nmi(table) == pytest.approx(normalized_mutual_info_score(rows, columns), abs=1e-9)
        assert nmi(table.T) == pytest.approx(nmi(table))


def test_degenerate():
    assert math.isnan(nmi(SpeakerCounts(4).matrix()))
    assert nmi(np.array([[3, 2, 1]])) == 0 and nmi(np.array([[3, 0], [5, 0]])) == 0


def test_counted_utterance_by_utterance():
    counts, other = SpeakerCounts(3), SpeakerCounts(3)
    counts.add("b", np.array([0, 0, 2]))
    counts.add("a", np.zeros(0, int))
    other.add("a", np.array([1, 1]))
    other.add("b", np.array([2]))
    counts.merge(other)
    assert counts.matrix().tolist() == [[0, 2, 0], [2, 0, 2]]
    assert counts.matrix(["c", "b"]).tolist() == [[0, 0, 0], [2, 0, 2]]
    with pytest.raises(DataError, match="0 to 2"):
        counts.add("a", np.array([3]))
