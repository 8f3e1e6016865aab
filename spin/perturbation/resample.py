"""Resampling by a ratio close to one, as the reference does it: a brick wall in the spectrum, then a short windowed sinc."""

from __future__ import annotations

import math

import numpy as np
import scipy.fft
from numba import njit

DEPTH = 10  # samples that the sinc reaches on each side


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
    _interpolate(np.ascontiguousarray(waveform, dtype=np.float32), ratio, result)
    return result


def low_pass(waveform: np.ndarray, share: float) -> np.ndarray:
    """Zeroes everything above `share` of the Nyquist frequency, in one transform of the whole padded waveform."""
    samples = len(waveform)
    size = scipy.fft.next_fast_len(samples + 2 * 1000, real=True)  # room, so that end and start do not meet
    spectrum = scipy.fft.rfft(waveform, size)
    spectrum[int(math.floor(share * size / 2)) :] = 0
    return scipy.fft.irfft(spectrum, size, overwrite_x=True)[:samples]


@njit(nogil=True, cache=True)
def _interpolate(wave, ratio, result):
    """result[m] = wave at (m + 1/2) * ratio, by a sinc under a raised cosine of DEPTH samples a side."""
    samples = len(wave)
    for m in range(len(result)):
        place = (m + 0.5) * ratio - 0.5
        base = math.floor(place)
        fraction = place - base
        if base < DEPTH - 1 or base >= samples - DEPTH:
            result[m] = _at_edge(wave, place)
            continue
        if fraction < 1e-10:
            result[m] = wave[base]
            continue
        result[m] = _sinc(wave, base, fraction)
    return


@njit(nogil=True, cache=True)
def _sinc(wave, base, fraction):
    # sin(pi * (place - i)) has one absolute value for all taps; the raised cosine turns by a fixed angle from tap to tap.
    sine = math.sin(math.pi * fraction) / math.pi
    total = 0.0
    turn = math.pi / (fraction + DEPTH)
    sign = sine
    for k in range(DEPTH):
        distance = fraction + k
        total += wave[base - k] * sign / distance * (0.5 + 0.5 * math.cos(turn * distance))
        sign = -sign
    other = 1.0 - fraction
    turn = math.pi / (other + DEPTH)
    sign = sine
    for k in range(DEPTH):
        distance = other + k
        total += wave[base + 1 + k] * sign / distance * (0.5 + 0.5 * math.cos(turn * distance))
        sign = -sign
    return total


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
