"""Resampling by a ratio close to one, as the reference does it: a brick wall in the spectrum, then a short windowed sinc."""

from __future__ import annotations

import math

import numpy as np
import scipy.fft
from numba import njit

DEPTH = 10  # samples that the sinc reaches on each side
GRID = 512  # fractions of a sample with weights of their own, linear between them: exact to 5e-6


def resample(waveform: np.ndarray, ratio: float, num_samples: int) -> np.ndarray:
    """Takes a waveform of rate `ratio * fs` to rate fs (perturbation.md, item 9).

    Args:
        waveform: (samples,) float32.
        ratio: rate of the waveform over the new rate, greater than 0.
        num_samples: length of the result; where the waveform ends before, the rest is 0.

    Returns:
        (num_samples,) float32.
    """
    if ratio == 1.0:
        result = np.zeros(num_samples, dtype=np.float32)
        size = min(num_samples, len(waveform))
        result[:size] = waveform[:size]
        return result
    if ratio > 1.0:
        waveform = low_pass(waveform, 1.0 / ratio)
    result = np.empty(num_samples, dtype=np.float32)
    _interpolate(np.ascontiguousarray(waveform, dtype=np.float32), TAPS, float(ratio), result)
    return result


def low_pass(waveform: np.ndarray, share: float) -> np.ndarray:
    """Zeroes everything above `share` of the Nyquist frequency, in one transform of the whole padded waveform."""
    samples = len(waveform)
    size = scipy.fft.next_fast_len(samples + 2 * 1000, real=True)  # room, so that end and start do not meet
    spectrum = scipy.fft.rfft(waveform, size)
    spectrum[int(math.floor(share * size / 2)) :] = 0
    return scipy.fft.irfft(spectrum, size, overwrite_x=True)[:samples]


def _taps() -> np.ndarray:
    """(GRID + 1, 2 * DEPTH) float32: weights of the samples around a place whose fraction is k / GRID."""
    fraction = np.arange(GRID + 1)[:, None] / GRID
    distance = fraction - np.arange(-DEPTH + 1, DEPTH + 1)[None, :]
    reach = DEPTH + np.where(distance >= 0.0, fraction, 1.0 - fraction)  # of the raised cosine, on either side
    taps = np.sinc(distance) * (0.5 + 0.5 * np.cos(np.pi * distance / reach))
    return taps.astype(np.float32)


TAPS = _taps()


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def _interpolate(wave, taps, ratio, result):
    """result[m] = wave at (m + 1/2) * ratio, by a sinc under a raised cosine of DEPTH samples a side."""
    samples = len(wave)
    for m in range(len(result)):
        place = (m + 0.5) * ratio - 0.5
        base = int(math.floor(place))
        if base < DEPTH - 1 or base >= samples - DEPTH:
            result[m] = _at_edge(wave, place)
            continue
        grid = (place - base) * GRID
        row = int(grid)
        share = np.float32(grid - row)
        first = base - DEPTH + 1
        low = high = np.float32(0.0)
        for k in range(2 * DEPTH):
            low += wave[first + k] * taps[row, k]
            high += wave[first + k] * taps[row + 1, k]
        result[m] = low + share * (high - low)


@njit(nogil=True, cache=True)
def _at_edge(wave, place):
    """Near the ends only as many taps a side as there are samples; linear with one, 0 outside."""
    samples = len(wave)
    if place < -0.5 or place > samples - 0.5:
        return 0.0
    if place <= 0.0:
        return float(wave[0])
    if place >= samples - 1:
        return float(wave[samples - 1])
    base = math.floor(place)
    fraction = place - base
    depth = min(DEPTH, base + 1, samples - 1 - base)
    if fraction < 1e-10:
        return float(wave[base])
    if depth == 1:
        return (1.0 - fraction) * wave[base] + fraction * wave[base + 1]
    total = 0.0
    for side in range(2):
        away = fraction if side == 0 else 1.0 - fraction
        turn = math.pi / (away + depth)
        for k in range(depth):
            index = base - k if side == 0 else base + 1 + k
            distance = away + k
            value = wave[index] * math.sin(math.pi * distance) / (math.pi * distance)
            total += value * (0.5 + 0.5 * math.cos(turn * distance))
    return total
