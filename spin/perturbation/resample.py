"""Resampling by a ratio close to one, as Praat does it: an ideal low-pass in the spectrum, then a short windowed sinc."""

import math

import numpy as np
import scipy.fft
from numba import njit

DEPTH = 10  # samples that the sinc reaches on each side
WIDTH = 24  # of a row of weights, the last four 0: whole vectors
BLOCK, MARGIN = 16_384, 2_048  # of the low-pass, in samples
HOP = BLOCK - 2 * MARGIN
TOGETHER = 4  # blocks transformed at once: they share vectors and stay in the cache
GRID = 512  # fractions of a sample with weights of their own, linear between them: exact to 5e-6


def resample(waveform: np.ndarray, ratio: float, num_samples: int) -> np.ndarray:
    """Takes a waveform of rate `ratio * fs` to rate fs (README.md, step 9).

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
    """Zeroes everything above `share` of the Nyquist frequency, in overlapping blocks.

    Praat transforms the whole waveform at once. Blocks take a quarter of the time. They differ only in the ringing that reaches
    farther than MARGIN samples, below 2e-4 of the energy at the cut-off itself.
    """
    samples = len(waveform)
    count = -(-samples // HOP)
    padded = np.zeros(count * HOP + 2 * MARGIN, dtype=np.float32)
    padded[MARGIN : MARGIN + samples] = waveform
    result = np.empty((count, HOP), dtype=np.float32)
    blocks = np.lib.stride_tricks.sliding_window_view(padded, BLOCK)[::HOP]
    for first in range(0, count, TOGETHER):
        spectrum = scipy.fft.rfft(blocks[first : first + TOGETHER], axis=1)
        spectrum[:, int(math.floor(share * BLOCK / 2)) :] = 0
        result[first : first + TOGETHER] = scipy.fft.irfft(spectrum, BLOCK, axis=1, overwrite_x=True)[:, MARGIN : MARGIN + HOP]
    return result.reshape(-1)[:samples]


def _taps() -> np.ndarray:
    """(GRID + 1, WIDTH) float32: weights of the samples around a place whose fraction is k / GRID."""
    fraction = np.arange(GRID + 1)[:, None] / GRID
    distance = fraction - np.arange(-DEPTH + 1, DEPTH + 1)[None, :]
    reach = DEPTH + np.where(distance >= 0.0, fraction, 1.0 - fraction)  # of the raised cosine, on either side
    taps = np.sinc(distance) * (0.5 + 0.5 * np.cos(np.pi * distance / reach))
    return np.pad(taps, ((0, 0), (0, WIDTH - 2 * DEPTH))).astype(np.float32)


TAPS = _taps()


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _interpolate(wave, taps, ratio, result):
    """result[m] = wave at (m + 1/2) * ratio, by a sinc under a raised cosine of DEPTH samples a side."""
    samples, width = len(wave), taps.shape[1]  # a length unknown to the compiler: it then makes vector code of the inner loop
    for m in range(len(result)):
        place = (m + 0.5) * ratio - 0.5
        if place < DEPTH - 1 or place >= samples - width + DEPTH - 1:
            result[m] = _at_edge(wave, place)
            continue
        base = np.uint64(place)
        grid = (place - base) * GRID
        row = np.uint64(grid)
        share = np.float32(grid - row)
        low, high = taps[row], taps[row + np.uint64(1)]
        first = base - np.uint64(DEPTH - 1)
        some = wave[first : first + np.uint64(width)]
        total = np.float32(0.0)
        for k in range(width):
            total += some[k] * (low[k] + share * (high[k] - low[k]))
        result[m] = total


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
