"""Figures that stage 3 and the report share: the spectrogram, the map of units by phones, runs of units."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spin import artifacts
from spin.figures import BANDS, spectrogram
from spin.units.figures import unit_map, unit_spans


def test_a_tone_is_in_its_band():
    tone = np.sin(2 * np.pi * 1000 * np.arange(16_000) / artifacts.SAMPLE_RATE)
    levels = spectrogram(tone)
    assert levels.shape == (BANDS, 98) and set(levels.argmax(0)) <= {7, 8}  # bands are 125 Hz wide
    assert levels.max() == 1 and levels[40:].max() == 0


@pytest.mark.parametrize("samples", [1, 399, 401])
def test_silence_and_very_short_audio_are_finite(samples):
    levels = spectrogram(np.zeros(samples))
    assert levels.shape == (BANDS, 1) and np.isfinite(levels).all()


def test_unit_map_by_hand():
    phones = ["SIL", "S", "AA", "QQ", "M"]
    counts = np.array([[0, 9, 0, 0], [6, 1, 0, 0], [2, 0, 0, 5], [0, 0, 0, 0], [0, 0, 0, 5]])
    content = unit_map(phones, counts)
    shares = {"SIL": [0.0, 0.9, 0.0], "S": [0.75, 0.1, 0.0], "AA": [0.25, 0.0, 0.5], "M": [0.0, 0.0, 0.5]}
    assert content.phones == ("SIL", "AA", "M", "S") and content.unused == 1 and content.clear_share == 1.0
    by_share = {phone: sorted(row) for phone, row in zip(content.phones, content.shares.tolist())}
    assert by_share == {phone: pytest.approx(sorted(row)) for phone, row in shares.items()}
    assert content.shares.argmax(axis=0).tolist() == [0, 1, 3]


@given(arrays(np.int64, (4, 6), elements=st.integers(0, 20)))
def test_columns_are_shares_and_none_is_lost(counts):
    content = unit_map(["AA", "S", "T", "SIL"], counts)
    used = int((counts.sum(axis=0) > 0).sum())
    assert content.shares.shape == (int((counts.sum(axis=1) > 0).sum()), used) and content.unused == 6 - used
    np.testing.assert_allclose(content.shares.sum(axis=0), np.ones(used))
    main = content.shares.argmax(axis=0).tolist() if used else []
    assert main == sorted(main) and 0.0 <= content.clear_share <= 1.0


def test_runs_by_hand():
    assert unit_spans([]) == []
    assert [(round(a, 3), round(b, 3), label) for a, b, label in unit_spans([7, 7, 2])] == [(0, 0.04, "7"), (0.04, 0.06, "2")]
