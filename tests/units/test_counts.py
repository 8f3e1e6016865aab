"""Counts of labels and units, and their NMI: by hand, scikit-learn as oracle, properties, degenerate input."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lhotse.supervision import AlignmentItem
from sklearn.metrics import normalized_mutual_info_score

from spin.errors import DataError
from spin.units.characters import CharacterNmi, character_labels
from spin.units.counts import LabelCounts
from spin.units.counts import normalized_mutual_information as nmi
from spin.units.sample import Sample, Utterance
from spin.units.speakers import SpeakerNmi

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
    assert math.isnan(nmi(LabelCounts(4).matrix()))
    assert nmi(np.array([[3, 2, 1]])) == 0 and nmi(np.array([[3, 0], [5, 0]])) == 0


def test_counted_utterance_by_utterance():
    counts = LabelCounts(3)
    counts.add("b", np.array([0, 0, 2]))
    counts.add("a", np.zeros(0, int))
    counts.add(["a", "b", "a"], np.array([1, 2, 1]))
    assert counts.labels == ["a", "b"] and counts.matrix().tolist() == [[0, 2, 0], [2, 0, 2]]
    assert counts.matrix(["c", "b"]).tolist() == [[0, 0, 0], [2, 0, 2]]
    with pytest.raises(DataError, match="0 to 2"):
        counts.add("a", np.array([3]))


@given(st.lists(st.tuples(st.sampled_from(["x", "yy", "é"]), st.integers(0, 3)), max_size=40))
def test_counts_equal_a_counter(pairs):
    counts = LabelCounts(4)
    counts.add([label for label, _ in pairs], np.array([unit for _, unit in pairs], dtype=int))
    expected = Counter(pairs)
    assert all(counts.matrix([label])[0, unit] == expected[label, unit] for label in ("x", "yy", "é") for unit in range(4))


def test_speakers():
    family = SpeakerNmi(Sample(2))
    assert math.isnan(family.figures()["speaker_nmi"])
    for speaker, unit in (("a", 0), ("b", 1), (None, 0)):
        family.add(Utterance(f"{speaker}", speaker, np.full(5, unit), 0.1))
    assert family.figures()["speaker_nmi"] == pytest.approx(1)


def test_characters_share_the_time_of_their_word():
    """AB from 0.02 to 0.10 s, with frames at 30, 50, 70 and 90 ms, and C from 0.12 to 0.14 s, with one at 130 ms."""
    words = [AlignmentItem("AB", 0.02, 0.08), AlignmentItem("C", 0.12, 0.02), AlignmentItem("", 0.14, 0.02)]
    assert character_labels(words, 8) == ["", "A", "A", "B", "B", "", "C", ""]
    assert character_labels(words, 2) == ["", "A"] and character_labels([], 3) == [""] * 3
    family = CharacterNmi(Sample(4))
    family.add(Utterance("none", "s", np.array([1, 2]), 0.04))
    assert math.isnan(family.figures()["character_nmi"])
    family.add(Utterance("u", "s", np.array([3, 0, 0, 1, 1, 3, 2, 3]), 0.16, words=words))
    assert family.figures()["character_nmi"] == pytest.approx(1)  # 3 lies outside all words
