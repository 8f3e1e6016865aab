"""The perturbation itself: shift formants, pitch median and pitch range, then equalise, then clip.

perturb() does all for one recording. A training analyses once (analyse), and makes a new copy at every step (synthesise).
"""

from __future__ import annotations

import numpy as np

from spin.perturbation.analysis import Analysis, analyse, prepare
from spin.perturbation.equaliser import design, equalise
from spin.perturbation.overlap_add import MAX_GAP, MIN_TARGET_IN_HZ, overlap_add
from spin.perturbation.parameters import PerturbationParameters, draw_parameters
from spin.perturbation.pitch_range import PitchRange
from spin.perturbation.resample import resample

TARGET_TOO_LOW = "target pitch near zero"

__all__ = ["analyse", "degenerate_case", "draw_parameters", "perturb", "synthesise"]


def perturb(waveform, sample_rate: int, *, seed: int, pitch_range: PitchRange | tuple[float, float] | None = None):
    """One perturbed copy of a recording: another voice says the same.

    Args:
        waveform: (samples,) or (1, samples), float in [-1, 1] or integers, NumPy array or CPU tensor.
        sample_rate: Hz.
        seed: the same seed gives the same copy.
        pitch_range: lowest and highest F0 of the speaker in Hz; None: estimated from this recording.

    Returns:
        float32 of the same shape, finite, within [-1, 1]; a tensor where a tensor was given. Silence, noise without any voiced
        frame and recordings shorter than three periods of the floor get the equaliser only.
    """
    array = np.asarray(waveform)
    analysis = analyse(array, sample_rate, pitch_range)
    result = synthesise(array, sample_rate, analysis, draw_parameters(seed, 0, "")).reshape(array.shape)
    if type(waveform).__module__.partition(".")[0] == "torch":
        import torch

        return torch.from_numpy(result)
    return result


def synthesise(waveform, sample_rate: int, analysis: Analysis, parameters: PerturbationParameters) -> np.ndarray:
    """A perturbed copy of the waveform that was analysed, or of the stretch that `analysis.crop` was given.

    Args:
        waveform: (samples,), as many as analysis.num_samples.
        sample_rate: Hz, that of the analysis.
        analysis: of this waveform.
        parameters: of draw_parameters.

    Returns:
        (samples,) float32, finite, within [-1, 1].

    Raises:
        ValueError: the analysis is of another length or rate.
    """
    waveform, _ = prepare(waveform)
    if len(waveform) != analysis.num_samples or int(sample_rate) != analysis.sample_rate:
        raise ValueError(
            f"waveform: found {len(waveform)} samples at {sample_rate} Hz, "
            f"expected the analysed {analysis.num_samples} samples at {analysis.sample_rate} Hz"
        )
    if not analysis.note:
        waveform = change_voice(waveform, analysis, parameters)
    if parameters.gains_in_db and len(waveform):
        waveform = equalise(waveform, design(sample_rate, parameters.gains_in_db, parameters.qualities))
    return np.clip(waveform, -1.0, 1.0)


def degenerate_case(analysis: Analysis, parameters: PerturbationParameters | None = None, margin: float = 1.0) -> str:
    """Why a copy is not a full perturbation, "" where it is one.

    Args:
        analysis: its note, if it has one, is the reason.
        parameters: with them, a target F0 below `margin` times the lowest allowed is a reason too: it is clamped.
        margin: see above.
    """
    if analysis.note or parameters is None:
        return analysis.note
    _, pitch = _target(analysis, parameters)
    return TARGET_TOO_LOW if pitch.min() < margin * MIN_TARGET_IN_HZ else ""


def change_voice(waveform: np.ndarray, analysis: Analysis, parameters: PerturbationParameters) -> np.ndarray:
    """Formants and pitch alone (README.md, steps 2 to 9), before equaliser and clipping.

    Args:
        waveform: (samples,) float32, finite.
        analysis: of it, without a note.

    Returns:
        (samples,) float32.
    """
    ratio, rate = parameters.formant_ratio, analysis.sample_rate
    source = (waveform - waveform.mean(dtype=np.float64)).astype(np.float32)
    times, pitch = _target(analysis, parameters)
    target = overlap_add(
        source,
        analysis.pulses,
        times,
        np.maximum(pitch, MIN_TARGET_IN_HZ),
        rate=rate * ratio,
        stretch=ratio,
        max_gap=MAX_GAP * rate / float(analysis.pitch[analysis.pitch > 0].min()),
        noise_seed=parameters.noise_seed,
    )
    return resample(target, ratio, len(waveform))


def _target(analysis: Analysis, parameters: PerturbationParameters) -> tuple[np.ndarray, np.ndarray]:
    """Times in samples and F0 in Hz of the voiced frames' targets, before clamping."""
    voiced = np.flatnonzero(analysis.pitch > 0)
    pitch = analysis.pitch[voiced].astype(np.float64)
    median = parameters.pitch_median_ratio * np.median(pitch)
    spread = parameters.pitch_range_ratio
    times = (analysis.contour_start + voiced * analysis.step) * analysis.sample_rate
    return times, spread * parameters.pitch_median_ratio * pitch + median * (1.0 - spread)
