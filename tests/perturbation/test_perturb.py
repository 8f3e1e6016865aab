"""The whole perturbation: draws, crops, threads, and whatever comes in: never an exception, a hang, a NaN or another length."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import spin
from spin.config import PerturbationConfig
from spin.perturbation import analysis as notes
from spin.perturbation.analysis import analyse
from spin.perturbation.perturb import PerturbationParameters, draw_parameters, synthesise, target_pitch
from spin.perturbation.synthesis import MIN_TARGET_IN_HZ
from spin.tools.benchmark_perturb import vowels

RATE = 16_000
SPEECH = vowels(0, 4.0)
ANALYSIS = analyse(SPEECH, RATE)
PINNED = 0.8022506365564627  # the ratio that (1, 2, "x") gives on every machine


def check(copy: np.ndarray, samples: int) -> None:
    assert copy.dtype == np.float32 and copy.shape == (samples,)
    assert np.isfinite(copy).all() and np.abs(copy).max(initial=0.0) <= 1.0


HOLE = np.arange(len(SPEECH)) // 10 == 10
CASES = {
    "silence": (np.zeros(RATE), notes.SILENT),
    "constant": (np.full(RATE, 0.3), notes.SILENT),
    "noise": (0.1 * np.random.default_rng(0).normal(size=RATE), notes.UNVOICED),
    "NaN": (np.where(HOLE, np.nan, SPEECH), notes.NOT_FINITE),
    "infinity": (np.where(HOLE, np.inf, SPEECH), notes.NOT_FINITE),
    "all NaN": (np.full(RATE, np.nan), notes.NOT_FINITE),
    "empty": (np.zeros(0), notes.EMPTY),
    "one sample": (np.array([0.5]), notes.SILENT),
    "two samples": (np.array([0.5, -0.5]), notes.TOO_SHORT),
    "below three periods": (SPEECH[1000:1600], notes.TOO_SHORT),
    "clipping": (np.clip(SPEECH * 20, -1, 1), ""),
    "far too loud": (SPEECH * 1e30, ""),
    "far too quiet": (SPEECH * 1e-30, ""),
    "speech": (SPEECH, ""),
}


@pytest.mark.parametrize("name", CASES)
def test_degenerate_recordings(name):
    wave, note = CASES[name]
    analysis = analyse(wave, RATE)
    assert analysis.note == note
    for seed in range(4):
        check(synthesise(wave, RATE, analysis, draw_parameters(seed, 0, name)), len(wave))
        check(spin.perturb(wave, RATE, seed=seed), len(wave))


def voiced_in(frame: int, pulses: slice) -> notes.Analysis:
    """SPEECH with one voiced frame, and some of its pulses."""
    pitch = np.zeros_like(ANALYSIS.pitch)
    pitch[frame] = 120.0
    return dataclasses.replace(ANALYSIS, pitch=pitch, pulses=ANALYSIS.pulses[pulses])


NEAR_ZERO, AT_CEILING = PerturbationParameters(1.2, 0.5, 20.0), analyse(SPEECH, RATE, (75.0, 150.0))
ODD = [
    (ANALYSIS, NEAR_ZERO),
    *((AT_CEILING, PerturbationParameters(ratio, 2.0, 1.5)) for ratio in (1.4, 1 / 1.4)),
    *((voiced_in(frame, part), draw_parameters(0, 0, "one")) for frame in (0, 40, -1) for part in np.s_[40:41, :0, :]),
]


@pytest.mark.parametrize(("analysis", "parameters"), ODD)
def test_odd_analyses_and_targets(analysis, parameters):
    check(synthesise(SPEECH, RATE, analysis, parameters), len(SPEECH))
    assert target_pitch(ANALYSIS, NEAR_ZERO)[1].min() < MIN_TARGET_IN_HZ  # synthesise clamps it


def test_thirty_minutes():
    wave = np.tile(vowels(2, 10.0, 8000), 180)
    check(spin.perturb(wave, 8000, seed=1, pitch_range=(75.0, 400.0)), len(wave))


@settings(max_examples=40)
@given(
    samples=st.integers(0, 4000),
    seed=st.integers(0, 2**31),
    rate=st.sampled_from([50, 8000, 11025, 16000, 22050, 44100, 48000]),
    kind=st.sampled_from(["noise", "steps", "tone", "speech"]),
)
def test_any_waveform(samples, seed, rate, kind):
    random = np.random.default_rng(seed)
    wave = {
        "noise": random.normal(size=samples),
        "steps": np.repeat(random.uniform(-1, 1, samples // 50 + 1), 50)[:samples],
        "tone": np.sin(np.arange(samples) * random.uniform(0.001, 3.0)),
        "speech": SPEECH[:samples] * random.uniform(0.01, 3.0),
    }[kind]
    copy = spin.perturb(wave, rate, seed=seed)
    check(copy, samples)
    assert np.array_equal(copy, spin.perturb(wave, rate, seed=seed))


def test_shapes_types_and_the_input_itself():
    wave = SPEECH.copy()
    copy = spin.perturb(wave, RATE, seed=1)
    assert np.array_equal(wave, SPEECH)
    assert np.array_equal(spin.perturb(SPEECH[None], RATE, seed=1), copy[None])
    assert np.array_equal(spin.perturb(torch.from_numpy(SPEECH), RATE, seed=1).numpy(), copy)
    integers = np.round(SPEECH * 32768).astype(np.int16)
    assert np.abs(spin.perturb(integers, RATE, seed=1, pitch_range=(75, 400))).max() > 0.05
    with pytest.raises(ValueError, match="one channel"):
        spin.perturb(np.zeros((2, 100)), RATE, seed=1)
    with pytest.raises(ValueError, match="pitch_range"):
        spin.perturb(SPEECH, RATE, seed=1, pitch_range=(300.0, 100.0))
    with pytest.raises(ValueError, match="analysed"):
        synthesise(SPEECH[:-1], RATE, ANALYSIS, PerturbationParameters())


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


def test_draws_depend_on_seed_epoch_utterance_and_configuration_only():
    base = draw_parameters(1, 2, "x")
    assert base == draw_parameters(1, 2, "x")
    assert all(draw_parameters(*key) != base for key in ((2, 2, "x"), (1, 3, "x"), (1, 2, "y")))
    assert base.formant_ratio == pytest.approx(PINNED, abs=1e-12)
    still = draw_parameters(0, 0, "a", config=PerturbationConfig(1.0, 1.0, 1.0, equaliser=False))
    assert (still.formant_ratio, still.pitch_median_ratio, still.pitch_range_ratio, still.gains_in_db) == (1.0, 1.0, 1.0, ())


def test_without_change_a_steady_voice_stays():
    time = (np.arange(RATE) + 0.3) / RATE  # crests between samples: on one, rounding would move grains to either side
    steady = sum(np.cos(2 * np.pi * 125.0 * number * time) for number in range(1, 20)).astype(np.float32) / 40
    copy = synthesise(steady, RATE, analyse(steady, RATE, (75.0, 400.0)), PerturbationParameters())
    assert np.corrcoef(copy[2000:-2000], steady[2000:-2000])[0, 1] > 0.999


def test_pitch_and_formants_move_as_told():
    for median in (0.6, 1.7):
        copy = analyse(synthesise(SPEECH, RATE, ANALYSIS, PerturbationParameters(1.0, median, 1.0)), RATE)
        assert copy.median() == pytest.approx(median * ANALYSIS.median(), rel=0.03)
    centroids = []
    for ratio in (0.75, 1.0, 1.3):
        power = np.abs(np.fft.rfft(synthesise(SPEECH, RATE, ANALYSIS, PerturbationParameters(ratio)))) ** 2
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
    check(synthesise(SPEECH[start : start + length], RATE, crop, draw_parameters(0, 0, "crop")), length)


def test_crops_of_crops_of_everything_and_of_nothing():
    twice, once = ANALYSIS.crop(1000, 40_000).crop(500, 20_000), ANALYSIS.crop(1500, 20_000)
    assert np.allclose(twice.pulses, once.pulses) and np.array_equal(twice.pitch, once.pitch)
    assert twice.contour_start == pytest.approx(once.contour_start)
    copies = [synthesise(SPEECH, RATE, one, draw_parameters(0, 0, "x")) for one in (ANALYSIS, ANALYSIS.crop(0, len(SPEECH)))]
    assert np.array_equal(*copies)
    gap, left = max(zip(np.diff(ANALYSIS.pulses), ANALYSIS.pulses))
    assert ANALYSIS.crop(int(left) + 10, int(gap) - 20).note == notes.UNVOICED
    with pytest.raises(ValueError, match="crop"):
        ANALYSIS.crop(len(SPEECH) - 10, 11)
