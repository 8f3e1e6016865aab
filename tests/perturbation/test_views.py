"""Draws, crops and threads: the same copy every time, whoever makes it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spin
from spin.config import PerturbationConfig
from spin.perturbation.analysis import UNVOICED, analyse
from spin.perturbation.parameters import PerturbationParameters, draw_parameters
from spin.perturbation.perturb import synthesise
from spin.tools.benchmark_perturb import vowels

RATE = 16_000
SPEECH = vowels(0, 4.0)
PINNED = 0.8022506365564627  # the ratio that (1, 2, "x") gives on every machine


def test_draws_have_the_published_distribution():
    drawn = [draw_parameters(0, epoch, "a") for epoch in range(4000)]
    for name, top in (("formant_ratio", 1.4), ("pitch_median_ratio", 2.0), ("pitch_range_ratio", 1.5)):
        values = np.array([getattr(one, name) for one in drawn])
        assert values.min() >= 1 / top and values.max() <= top
        assert abs(np.mean(values > 1) - 0.5) < 0.03
        up = np.where(values > 1, values, 1 / values)
        assert abs(up.mean() - (1 + top) / 2) < 0.02 * top
    qualities, gains = np.array([one.qualities for one in drawn]), np.array([one.gains_in_db for one in drawn])
    assert qualities.min() >= 2 and qualities.max() <= 5 and abs(np.median(qualities) - 2 * 2.5**0.5) < 0.05
    assert np.abs(gains).max() <= 12 and abs(gains.mean()) < 0.2


def test_draws_depend_on_seed_epoch_and_utterance_only():
    base = draw_parameters(1, 2, "x")
    assert base == draw_parameters(1, 2, "x")
    others = [draw_parameters(*key) for key in ((2, 2, "x"), (1, 3, "x"), (1, 2, "y"))]
    assert all(other != base for other in others)
    assert base.formant_ratio == pytest.approx(PINNED, abs=1e-12)


def test_configuration_bounds_the_draws():
    still = draw_parameters(0, 0, "a", config=PerturbationConfig(1.0, 1.0, 1.0, equaliser=False))
    assert (still.formant_ratio, still.pitch_median_ratio, still.pitch_range_ratio, still.gains_in_db) == (1.0, 1.0, 1.0, ())


def test_without_change_a_steady_voice_stays():
    time = (np.arange(RATE) + 0.3) / RATE  # crests between samples: on one, rounding would move grains to either side
    steady = sum(np.cos(2 * np.pi * 125.0 * number * time) for number in range(1, 20)).astype(np.float32) / 40
    copy = synthesise(steady, RATE, analyse(steady, RATE, (75.0, 400.0)), PerturbationParameters())
    assert np.corrcoef(copy[2000:-2000], steady[2000:-2000])[0, 1] > 0.999


def test_pitch_and_formants_move_as_told():
    analysis = analyse(SPEECH, RATE)
    for median in (0.6, 1.7):
        copy = analyse(synthesise(SPEECH, RATE, analysis, PerturbationParameters(1.0, median, 1.0)), RATE)
        assert copy.median() == pytest.approx(median * analysis.median(), rel=0.03)
    centroids = []
    for ratio in (0.75, 1.0, 1.3):
        power = np.abs(np.fft.rfft(synthesise(SPEECH, RATE, analysis, PerturbationParameters(ratio)))) ** 2
        centroids.append((power * np.arange(len(power))).sum() / power.sum())
    assert centroids[0] < centroids[1] < centroids[2]


def test_same_seed_same_copy_in_threads():
    expected = [spin.perturb(SPEECH, RATE, seed=seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        copies = list(pool.map(lambda seed: spin.perturb(SPEECH, RATE, seed=seed), list(range(4)) * 4))
    assert all(np.array_equal(copy, expected[index % 4]) for index, copy in enumerate(copies))
    assert not np.array_equal(expected[0], expected[1])


@given(start=st.integers(0, len(SPEECH)), length=st.integers(0, len(SPEECH)))
def test_crops_slice_the_analysis(start, length):
    length = min(length, len(SPEECH) - start)
    crop = ANALYSIS.crop(start, length)
    assert crop.num_samples == length and ((crop.pulses >= 0) & (crop.pulses < max(length, 1))).all()
    inside = (ANALYSIS.pulses >= start) & (ANALYSIS.pulses < start + length)
    assert np.array_equal(crop.pulses + start, ANALYSIS.pulses[inside])
    times = crop.contour_start + np.arange(len(crop.pitch)) * crop.step
    assert ((times > -1e-9) & (times < length / RATE + 1e-9)).all()
    assert crop.start - crop.contour_start == pytest.approx(ANALYSIS.start - ANALYSIS.contour_start)
    copy = synthesise(SPEECH[start : start + length], RATE, crop, draw_parameters(0, 0, "crop"))
    assert copy.shape == (length,) and np.isfinite(copy).all()


ANALYSIS = analyse(SPEECH, RATE)


def test_crop_of_a_crop_is_a_crop():
    twice, once = ANALYSIS.crop(1000, 40_000).crop(500, 20_000), ANALYSIS.crop(1500, 20_000)
    assert np.allclose(twice.pulses, once.pulses) and np.array_equal(twice.pitch, once.pitch)
    assert twice.contour_start == pytest.approx(once.contour_start)


def test_whole_crop_changes_nothing():
    parameters = draw_parameters(0, 0, "whole")
    whole = synthesise(SPEECH, RATE, ANALYSIS.crop(0, len(SPEECH)), parameters)
    assert np.array_equal(whole, synthesise(SPEECH, RATE, ANALYSIS, parameters))


def test_crop_without_voice_is_named_and_outside_refused():
    gap = max(zip(np.diff(ANALYSIS.pulses), ANALYSIS.pulses))
    crop = ANALYSIS.crop(int(gap[1]) + 10, int(gap[0]) - 20)
    assert crop.note == UNVOICED
    with pytest.raises(ValueError, match="crop"):
        ANALYSIS.crop(len(SPEECH) - 10, 11)
