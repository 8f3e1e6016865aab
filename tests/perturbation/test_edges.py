"""Whatever comes in: never an exception, a hang, a NaN or another length; the case is named."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import spin
from spin.perturbation import analysis as notes
from spin.perturbation.analysis import analyse
from spin.perturbation.parameters import PerturbationParameters, draw_parameters
from spin.perturbation.perturb import TARGET_TOO_LOW, degenerate_case, synthesise
from spin.tools.benchmark_perturb import vowels

RATE = 16_000
SPEECH = vowels(0, 3.0)


def check(copy: np.ndarray, samples: int) -> None:
    assert copy.dtype == np.float32 and copy.shape == (samples,)
    assert np.isfinite(copy).all() and np.abs(copy).max(initial=0.0) <= 1.0


def with_hole(value: float) -> np.ndarray:
    wave = SPEECH.copy()
    wave[100:110] = value
    return wave


CASES = {
    "silence": (np.zeros(RATE), notes.SILENT),
    "constant": (np.full(RATE, 0.3), notes.SILENT),
    "noise": (0.1 * np.random.default_rng(0).normal(size=RATE), notes.UNVOICED),
    "NaN": (with_hole(np.nan), notes.NOT_FINITE),
    "infinity": (with_hole(np.inf), notes.NOT_FINITE),
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


@pytest.mark.parametrize("rate", [50, 8000, 11025, 16000, 22050, 44100, 48000])
def test_any_rate(rate):
    wave = vowels(1, 2.0, rate) if rate >= 8000 else np.random.default_rng(0).normal(size=4 * rate)
    check(spin.perturb(wave, rate, seed=3), len(wave))


def test_target_near_zero_is_clamped_and_named():
    analysis = analyse(SPEECH, RATE)
    parameters = PerturbationParameters(1.2, 0.5, 20.0)
    assert degenerate_case(analysis, parameters) == TARGET_TOO_LOW
    assert degenerate_case(analysis) == "" == degenerate_case(analysis, PerturbationParameters(1.1, 1.2, 1.0))
    check(synthesise(SPEECH, RATE, analysis, parameters), len(SPEECH))


def test_pitch_at_the_ceiling():
    analysis = analyse(SPEECH, RATE, (75.0, 150.0))
    for ratio in (1.4, 1 / 1.4):
        check(synthesise(SPEECH, RATE, analysis, PerturbationParameters(ratio, 2.0, 1.5)), len(SPEECH))


@pytest.mark.parametrize("frame", [0, 40, -1])
def test_single_voiced_frame(frame):
    analysis = analyse(SPEECH, RATE)
    pitch = np.zeros_like(analysis.pitch)
    pitch[frame] = 120.0
    for pulses in (analysis.pulses[40:41], analysis.pulses[:0], analysis.pulses):
        one = dataclasses.replace(analysis, pitch=pitch, pulses=pulses)
        check(synthesise(SPEECH, RATE, one, draw_parameters(0, 0, "one")), len(SPEECH))


def test_thirty_minutes():
    wave = np.tile(vowels(2, 10.0, 8000), 180)
    check(spin.perturb(wave, 8000, seed=1, pitch_range=(75.0, 400.0)), len(wave))


@settings(max_examples=40)
@given(
    samples=st.integers(0, 4000),
    seed=st.integers(0, 2**31),
    rate=st.sampled_from([8000, 16000, 48000]),
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


def test_shapes_and_types():
    copy = spin.perturb(SPEECH, RATE, seed=1)
    assert np.array_equal(spin.perturb(SPEECH[None], RATE, seed=1), copy[None])
    assert np.array_equal(spin.perturb(torch.from_numpy(SPEECH), RATE, seed=1).numpy(), copy)
    integers = np.round(SPEECH * 32768).astype(np.int16)
    assert np.abs(spin.perturb(integers, RATE, seed=1, pitch_range=(75, 400))).max() > 0.05
    with pytest.raises(ValueError, match="one channel"):
        spin.perturb(np.zeros((2, 100)), RATE, seed=1)
    with pytest.raises(ValueError, match="pitch_range"):
        spin.perturb(SPEECH, RATE, seed=1, pitch_range=(300.0, 100.0))
    with pytest.raises(ValueError, match="analysed"):
        synthesise(SPEECH[:-1], RATE, analyse(SPEECH, RATE), PerturbationParameters())


def test_input_is_not_changed():
    wave = SPEECH.copy()
    spin.perturb(wave, RATE, seed=1)
    assert np.array_equal(wave, SPEECH)
