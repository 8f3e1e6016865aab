"""The steps one by one: made-up signals whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spin.perturbation.overlap_add import overlap_add
from spin.perturbation.pitch import track_pitch
from spin.perturbation.pitch_range import range_of
from spin.perturbation.pulses import find_pulses
from spin.perturbation.resample import low_pass, resample

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
    from spin.perturbation.analysis import analyse

    here, there = (analyse(one, RATE, (75.0, 600.0)) for one in (0.1 * wave, np.clip(0.1 * wave * scale, -1e6, 1e6)))
    assert np.allclose(here.pitch, there.pitch, rtol=1e-5) and np.allclose(here.pulses, there.pulses, atol=1e-2)


@pytest.mark.parametrize("samples", [0, 1, 2, 100, 639])
def test_too_short_has_no_frames(samples):
    assert len(track_pitch(np.ones(samples), RATE, 75.0, 600.0).pitch) == 0


def test_pulses_of_an_impulse_train():
    wave = np.zeros(8000)
    wave[100::80] = 1.0  # sample 100 stands at 100.5
    contour = np.full(100, 200.0)
    pulses = find_pulses(wave - wave.mean(), contour, 0.0025, 0.005, RATE)
    assert np.allclose(np.diff(pulses), 80.0, atol=1e-6)
    assert np.allclose((pulses - 100.5) % 80.0, 0.0, atol=1e-6) or np.allclose((pulses - 20.5) % 80, 0, atol=1e-6)


def test_unvoiced_contour_has_no_pulses():
    assert len(find_pulses(np.random.default_rng(0).normal(size=1000), np.zeros(10), 0.0, 0.01, RATE)) == 0


def test_overlap_add_with_the_same_pitch_is_the_identity():
    """Grains one period apart, each two periods long, under ramps that add to one."""
    wave = buzz(200.0).astype(np.float32)
    pulses = np.arange(40.5, RATE, 80.0)
    target = (np.array([0.0]), np.array([200.0]))
    result = overlap_add(wave, pulses, *target, rate=RATE, stretch=1.0, max_gap=100.0, noise_seed=1)
    assert len(result) == len(wave) + 1
    assert np.abs(result[:-1] - wave)[200:-200].max() < 1e-5


def test_overlap_add_makes_the_target_pitch():
    wave, pulses = buzz(200.0).astype(np.float32), np.arange(40.5, RATE, 80.0)
    target = (np.array([0.0]), np.array([150.0]))
    result = overlap_add(wave, pulses, *target, rate=RATE, stretch=1.0, max_gap=100.0, noise_seed=1)
    pitch = track_pitch(result[400:-400], RATE, 75.0, 600.0).pitch
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
    found = range_of(np.array([100.0, 110, 120, 130, 140] * 3))
    assert (found.floor, found.ceiling, found.median) == (82.5, 247.0, 120.0)
    assert range_of(np.array([100.0, 200.0])).floor == 75.0 and range_of(np.zeros(0)).ceiling == 600.0
    high = range_of(np.full(50, 590.0))
    assert high.ceiling == 600.0 and high.floor < high.ceiling
