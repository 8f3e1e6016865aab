"""The picture of units by phones."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spin.report.unit_map import perplexity, phone_class, unit_map, unit_pictures


def test_by_hand():
    phones = ["SIL", "S", "AA", "QQ", "M"]
    counts = np.array([[0, 9, 0, 0], [6, 1, 0, 0], [2, 0, 0, 5], [0, 0, 0, 0], [0, 0, 0, 5]])
    content = unit_map(phones, counts)
    assert content.phones == ("AA", "M", "S", "SIL")
    assert content.classes == ("vowels", "nasals", "fricatives", "silence")
    assert content.unused == 1
    np.testing.assert_allclose(content.shares, [[0.5, 0.25, 0.0], [0.5, 0.0, 0.0], [0.0, 0.75, 0.1], [0.0, 0.0, 0.9]])


def test_phones_outside_the_table_come_last():
    content = unit_map(["ZZZ", "T", "SIL"], np.ones((3, 2), np.int64))
    assert content.phones == ("T", "SIL", "ZZZ")
    assert phone_class("ZZZ") == "other"


@given(arrays(np.int64, (4, 6), elements=st.integers(0, 20)))
def test_columns_are_shares_and_none_is_lost(counts):
    content = unit_map(["AA", "S", "T", "SIL"], counts)
    used = int((counts.sum(axis=0) > 0).sum())
    assert content.shares.shape == (int((counts.sum(axis=1) > 0).sum()), used)
    assert content.unused == 6 - used
    np.testing.assert_allclose(content.shares.sum(axis=0), np.ones(used))
    main = content.shares.argmax(axis=0) if used else np.zeros(0)
    assert list(main) == sorted(main)


def test_perplexity():
    assert perplexity(np.ones((3, 8), np.int64)) == pytest.approx(8.0)
    assert perplexity(np.array([[3, 0], [1, 0]])) == pytest.approx(1.0)
    assert perplexity(np.array([[3, 1]])) == pytest.approx(math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25))))
    assert perplexity(np.zeros((3, 8), np.int64)) is None


def test_a_system_without_frames_has_no_picture(material):
    empty = np.zeros((2, 4), np.int64)
    assert unit_pictures(["AA", "SIL"], {"baseline": empty}, material.report) == []
    full = unit_pictures(material.phones, material.counts, material.report)
    assert [picture.name for picture in full] == ["map_baseline", "map_spin"]
    assert "PNMI 0.426" in full[1].alt
