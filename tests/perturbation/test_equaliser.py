"""The equaliser: scipy as oracle, gains where they should be, low rates, silence."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
from hypothesis import given
from hypothesis import strategies as st

from spin.perturbation.equaliser import BANDS, centre_frequencies, design, equalise

FLAT = (1.0,) * BANDS
gains = st.lists(st.floats(-12, 12), min_size=BANDS, max_size=BANDS)
qualities = st.lists(st.floats(2, 5), min_size=BANDS, max_size=BANDS)


@given(gains=gains, qualities=qualities, rate=st.sampled_from([8000, 16000, 22050, 48000]), seed=st.integers(0, 99))
def test_equals_sosfilt(gains, qualities, rate, seed):
    wave = np.random.default_rng(seed).normal(0, 0.1, 3000).astype(np.float32)
    sections = design(rate, gains, qualities)
    expected = scipy.signal.sosfilt(sections, wave.astype(np.float64))
    assert np.abs(equalise(wave, sections) - expected).max() <= 1e-4 * np.abs(expected).max()


def test_without_gain_nothing_changes():
    wave = np.random.default_rng(0).normal(0, 0.1, 1000).astype(np.float32)
    assert np.allclose(equalise(wave, design(16000, (0.0,) * BANDS, FLAT)), wave, atol=1e-7)


@pytest.mark.parametrize("band", range(BANDS))
def test_each_band_lifts_its_own_frequency(band):
    gain = np.zeros(BANDS)
    gain[band] = 6.0
    centres = centre_frequencies(16000)
    _, response = scipy.signal.freqz_sos(design(16000, gain, FLAT), worN=centres, fs=16000)
    level = 20 * np.log10(np.abs(response))
    if band in (0, BANDS - 1):  # shelves: half the gain at the corner, all of it beyond
        assert level[band] == pytest.approx(3.0, abs=0.3)
        _, ends = scipy.signal.freqz_sos(design(16000, gain, FLAT), worN=[1.0, 7999.0], fs=16000)
        assert 20 * np.log10(np.abs(ends[0 if band == 0 else 1])) == pytest.approx(6.0, abs=0.1)
    else:
        assert level[band] == pytest.approx(6.0, abs=1e-6)
        assert abs(level[(band + 5) % BANDS]) < 1.0


def test_filters_are_stable_at_any_rate():
    for rate in (200, 4000, 8000, 16000, 44100, 48000, 192000):
        for gain in (-12.0, 12.0):
            sections = design(rate, (gain,) * BANDS, (5.0,) * BANDS)
            assert all(np.abs(np.roots(section[3:])).max() < 1.0 for section in sections)


def test_centres_are_log_spaced_and_below_nyquist():
    centres = centre_frequencies(16000)
    assert centres[0] == pytest.approx(60.0) and centres[-1] == pytest.approx(7600.0)
    assert np.allclose(np.diff(np.log(centres)), np.log(7600 / 60) / (BANDS - 1))
    assert centre_frequencies(8000)[-1] < 4000


def test_silence_after_speech_stays_fast_and_quiet():
    wave = np.zeros(100_000, dtype=np.float32)
    wave[:100] = 0.5
    result = equalise(wave, design(16000, (12.0,) * BANDS, (5.0,) * BANDS))
    assert np.isfinite(result).all() and np.abs(result[-1000:]).max() < 1e-20
