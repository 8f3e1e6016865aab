"""The steps one by one: made-up signals whose answer is known, and scipy's filters as the equaliser's oracle."""

import numpy as np
import pytest
import scipy.signal
from hypothesis import given
from hypothesis import strategies as st

from spin.perturbation.analysis import analyse, range_of
from spin.perturbation.equaliser import BANDS, centre_frequencies, design, equalise
from spin.perturbation.pitch import track_pitch
from spin.perturbation.pulses import find_pulses
from spin.perturbation.synthesis import low_pass, overlap_add, resample

RATE = 16_000


def buzz(frequency: float, samples: int = RATE, rate: int = RATE) -> np.ndarray:
    """Up to ten harmonics in phase, below 0.4 of the rate."""
    time = np.arange(samples) / rate
    return sum(np.cos(2 * np.pi * frequency * number * time) for number in range(1, 11) if number * frequency < 0.4 * rate) / 10


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("frequency", [82.4, 123.45, 240.0, 437.0])
def test_pitch_of_a_buzz(frequency, rate):
    pitch = track_pitch(buzz(frequency, rate, rate), rate, 75.0, 600.0).pitch
    assert len(pitch) > 80 and np.abs(pitch / frequency - 1.0).max() < 1e-3


@given(seed=st.integers(0, 1000), scale=st.sampled_from([1e-20, 1e-6, 1.0, 1e6]))
def test_pitch_does_not_depend_on_loudness(seed, scale):
    random = np.random.default_rng(seed)
    wave = buzz(random.uniform(80, 400), 4000) + 0.01 * random.normal(size=4000)
    here, there = (analyse(one, RATE, (75.0, 600.0)) for one in (0.1 * wave, np.clip(0.1 * wave * scale, -1e6, 1e6)))
    assert np.allclose(here.pitch, there.pitch, rtol=1e-5) and np.allclose(here.pulses, there.pulses, atol=1e-2)


def test_too_short_has_no_frames_and_unvoiced_no_pulses():
    assert not any(len(track_pitch(np.ones(samples), RATE, 75.0, 600.0).pitch) for samples in (0, 1, 2, 100, 639))
    assert len(find_pulses(np.random.default_rng(0).normal(size=1000), np.zeros(10), 0.0, 0.01, RATE)) == 0


def test_pulses_of_an_impulse_train():
    wave = np.zeros(8000)
    wave[100::80] = 1.0  # sample 100 stands at 100.5
    contour = np.full(100, 200.0)
    pulses = find_pulses(wave - wave.mean(), contour, 0.0025, 0.005, RATE)
    assert np.allclose(np.diff(pulses), 80.0, atol=1e-6)
    assert np.allclose((pulses - 100.5) % 80.0, 0.0, atol=1e-6) or np.allclose((pulses - 20.5) % 80, 0, atol=1e-6)


def test_overlap_add_lays_the_target_pitch():
    """Grains one period apart, each two periods long, under ramps that add to one: with the same pitch nothing changes."""
    wave, pulses = buzz(200.0).astype(np.float32), np.arange(40.5, RATE, 80.0)
    same, lower = (
        overlap_add(wave, pulses, (np.zeros(1), np.array([pitch])), rate=RATE, stretch=1.0, max_gap=100.0, noise_seed=1)
        for pitch in (200.0, 150.0)
    )
    assert len(same) == len(wave) + 1 and np.abs(same[:-1] - wave)[200:-200].max() < 1e-5
    pitch = track_pitch(lower[400:-400], RATE, 75.0, 600.0).pitch
    assert np.abs(pitch / 150.0 - 1.0).max() < 5e-3  # grains move by whole samples


@given(ratio=st.floats(0.7, 1.4), samples=st.integers(1, 5000), wanted=st.integers(1, 6000), seed=st.integers(0, 9))
def test_resampling_keeps_its_promises(ratio, samples, wanted, seed):
    wave = np.random.default_rng(seed).uniform(-1, 1, samples).astype(np.float32)
    result = resample(wave, ratio, wanted)
    assert len(result) == wanted and np.isfinite(result).all() and np.abs(result).max() < 10.0


@pytest.mark.parametrize("ratio", [0.72, 0.999, 1.0, 1.003, 1.39])
def test_resampled_tone_is_that_tone(ratio):
    frequency = 440.0
    wave = np.sin(2 * np.pi * frequency * (np.arange(int(RATE * ratio)) + 0.5) / (RATE * ratio)).astype(np.float32)
    expected = np.sin(2 * np.pi * frequency * (np.arange(RATE) + 0.5) / RATE)
    assert np.abs(resample(wave, ratio, RATE) - expected)[100:-100].max() < 2e-3


def test_low_pass_equals_one_transform_of_all():
    wave = np.random.default_rng(0).normal(size=50_000).astype(np.float32)
    padded = np.concatenate([np.zeros(4096), wave, np.zeros(4096)])
    spectrum = np.fft.rfft(padded)
    spectrum[int(0.8 * len(padded) / 2) :] = 0
    expected = np.fft.irfft(spectrum, len(padded))[4096:-4096]
    error = low_pass(wave, 0.8) - expected
    assert np.sqrt(np.mean(error**2)) < 0.02 * np.sqrt(np.mean(wave**2))


def test_pitch_range_by_hand():
    assert range_of(np.array([100.0, 200.0])) == range_of(np.zeros(0)) == (75.0, 600.0, 0.0)
    assert range_of(np.full(50, 590.0)) == (442.5, 600.0, 590.0)


def per_band(low: float, high: float):
    return st.lists(st.floats(low, high), min_size=BANDS, max_size=BANDS)


@given(
    gains=per_band(-12, 12), qualities=per_band(2, 5), rate=st.sampled_from([8000, 16000, 22050, 48000]), seed=st.integers(0, 99)
)
def test_the_equaliser_equals_sosfilt(gains, qualities, rate, seed):
    wave = np.random.default_rng(seed).normal(0, 0.1, 3000).astype(np.float32)
    sections = design(rate, gains, qualities)
    expected = scipy.signal.sosfilt(sections, wave.astype(np.float64))
    assert np.abs(equalise(wave, sections) - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("band", range(BANDS))
def test_each_band_lifts_its_own_frequency(band):
    gain = np.zeros(BANDS)
    gain[band] = 6.0
    centres = centre_frequencies(16000)
    _, response = scipy.signal.freqz_sos(design(16000, gain, (1.0,) * BANDS), worN=centres, fs=16000)
    level = 20 * np.log10(np.abs(response))
    if band in (0, BANDS - 1):  # shelves: half the gain at the corner, all of it beyond
        assert level[band] == pytest.approx(3.0, abs=0.3)
        _, ends = scipy.signal.freqz_sos(design(16000, gain, (1.0,) * BANDS), worN=[1.0, 7999.0], fs=16000)
        assert 20 * np.log10(np.abs(ends[0 if band == 0 else 1])) == pytest.approx(6.0, abs=0.1)
    else:
        assert level[band] == pytest.approx(6.0, abs=1e-6)
        assert abs(level[(band + 5) % BANDS]) < 1.0


def test_filters_are_stable_at_any_rate_and_quiet_after_speech():
    for rate in (200, 4000, 8000, 16000, 44100, 48000, 192000):
        for gain in (-12.0, 12.0):
            sections = design(rate, (gain,) * BANDS, (5.0,) * BANDS)
            assert all(np.abs(np.roots(section[3:])).max() < 1.0 for section in sections)
    wave = np.zeros(100_000, dtype=np.float32)
    wave[:100] = 0.5
    result = equalise(wave, design(16000, (12.0,) * BANDS, (5.0,) * BANDS))
    assert np.isfinite(result).all() and np.abs(result[-1000:]).max() < 1e-20


def test_centres_are_log_spaced_and_below_nyquist():
    centres = centre_frequencies(16000)
    assert centres[0] == pytest.approx(60.0) and centres[-1] == pytest.approx(7600.0)
    assert np.allclose(np.diff(np.log(centres)), np.log(7600 / 60) / (BANDS - 1))
    assert centre_frequencies(8000)[-1] < 4000
