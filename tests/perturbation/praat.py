"""Praat through praat-parselmouth, the oracle of these tests, and what its output is measured by."""

from __future__ import annotations

import numpy as np
import pytest

from spin.perturbation.analysis import Analysis, analyse
from spin.perturbation.overlap_add import MIN_TARGET_IN_HZ
from spin.perturbation.perturb import PerturbationParameters, draw_parameters, target_pitch
from spin.perturbation.pitch_range import estimate_pitch_range

parselmouth = pytest.importorskip("parselmouth", reason="praat-parselmouth is not installed")


def sound(waveform: np.ndarray, rate: int):
    return parselmouth.Sound(np.asarray(waveform, dtype=np.float64), sampling_frequency=rate)


def pitch_of(waveform: np.ndarray, rate: int, floor: float, ceiling: float):
    return sound(waveform, rate).to_pitch_ac(time_step=0.8 / floor, pitch_floor=floor, pitch_ceiling=ceiling)


def pulses_of(waveform: np.ndarray, rate: int, pitch) -> np.ndarray:
    """(pulses,) in samples, by To PointProcess (cc)."""
    points = parselmouth.praat.call([sound(waveform, rate), pitch], "To PointProcess (cc)")
    count = parselmouth.praat.call(points, "Get number of points")
    return np.array([parselmouth.praat.call(points, "Get time from index", index + 1) for index in range(count)]) * rate


def change_gender(waveform: np.ndarray, rate: int, pitch, parameters: PerturbationParameters) -> np.ndarray:
    """Formants and pitch changed the official way."""
    frequencies = pitch.selected_array["frequency"]
    median = parameters.pitch_median_ratio * np.median(frequencies[frequencies > 0])
    ratios = (parameters.formant_ratio, median, parameters.pitch_range_ratio, 1.0)
    return parselmouth.praat.call([sound(waveform, rate), pitch], "Change gender", *ratios).values[0]


def draw_without_quirks(waveform: np.ndarray, rate: int, index: int) -> tuple[Analysis, PerturbationParameters] | None:
    """An analysis in the utterance's own range, and parameters with which no F0 * R reaches the ceiling and no target zero."""
    found = estimate_pitch_range([(waveform, rate)])
    analysis = analyse(waveform, rate, found)
    for epoch in range(100 * (not analysis.note)):
        parameters = draw_parameters(0, epoch, f"test {index}")
        hit = analysis.pitch.max(initial=0.0) * parameters.formant_ratio >= 0.98 * analysis.ceiling
        if not hit and target_pitch(analysis, parameters)[1].min() >= 2 * MIN_TARGET_IN_HZ:
            return analysis, parameters
    return None


def voiced_interior(analysis: Analysis, margin_in_s: float = 0.02) -> np.ndarray:
    """(samples,) bool: between pulses that follow each other, away from the edges of voiced segments."""
    inside = np.zeros(analysis.num_samples + 1)
    longest = 1.25 * analysis.sample_rate / analysis.pitch[analysis.pitch > 0].min()
    for left, right in zip(analysis.pulses, analysis.pulses[1:]):
        if right - left <= longest:
            inside[int(left) : int(right) + 1] = 1.0
    margin = int(margin_in_s * analysis.sample_rate)
    near = np.convolve(1.0 - inside[:-1], np.ones(2 * margin + 1), "same")
    return near < 0.5


def log_mel(waveform: np.ndarray, rate: int, bands: int = 80) -> np.ndarray:
    """(frames, bands) dB, windows of 25 ms every 10 ms, not below 60 dB under the loudest."""
    window, hop, size = int(0.025 * rate), int(0.010 * rate), 1024
    frames = np.lib.stride_tricks.sliding_window_view(waveform, window)[::hop] * np.hanning(window)
    power = np.abs(np.fft.rfft(frames, size)) ** 2
    edges = 700.0 * (10.0 ** (np.linspace(0.0, 2595.0 * np.log10(1.0 + rate / 1400.0), bands + 2) / 2595.0) - 1.0)
    frequency = np.arange(size // 2 + 1) * rate / size
    rising = (frequency - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - frequency) / (edges[2:] - edges[1:-1])[:, None]
    mel = power @ np.maximum(0.0, np.minimum(rising, falling)).T
    return 10.0 * np.log10(np.maximum(mel, mel.max() * 1e-6))


def formants(waveform: np.ndarray, rate: int, times: np.ndarray) -> np.ndarray:
    """(times, 2) Hz: the first two formants by linear prediction (Burg), NaN where undefined."""
    found = sound(waveform, rate).to_formant_burg(time_step=0.01, max_number_of_formants=5.0, maximum_formant=5500.0)
    return np.array([[found.get_value_at_time(number, time) for number in (1, 2)] for time in times])
