"""Peaks of sampled autocorrelations, refined between the samples."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

MAX_CANDIDATES = 64
DEPTH = 30  # samples of the sinc on each side
GRID = 32  # places between two samples where the interpolation is evaluated; a parabola through three of them is exact to 1e-6
MAX_MOVES = 8


def _kernel() -> np.ndarray:
    """(GRID, 2 * DEPTH): taps of a sinc under a raised cosine, for each fraction k / GRID, from sample -DEPTH + 1 to DEPTH."""
    distance = np.arange(GRID)[:, None] / GRID - np.arange(-DEPTH + 1, DEPTH + 1)[None, :]
    return np.sinc(distance) * (0.5 + 0.5 * np.cos(np.pi * distance / (DEPTH + 0.5)))


KERNEL = _kernel()


@njit(nogil=True, cache=True)
def find_candidates(correlations, kernel, sample_rate, floor, max_lag, threshold, octave_cost, frequencies, strengths, counts):
    """The strongest peaks of each row as pitch candidates.

    Args:
        correlations: (frames, lags) float32, normalised autocorrelations from lag 0.
        kernel: KERNEL.
        sample_rate, floor: Hz; lags beyond max_lag samples are not looked at.
        threshold: samples below this are no peak.
        octave_cost: a candidate an octave lower must be stronger by this much to be kept in its place.
        frequencies, strengths: (frames, candidates), column 0 is left alone (the unvoiced candidate); filled from column 1 on.
        counts: (frames,) filled with the number of columns in use, column 0 included.
    """
    rows, lags = correlations.shape
    width = frequencies.shape[1]
    padded = np.zeros(lags + 2 * DEPTH + 1)
    ranks = np.empty(width)
    for row in range(rows):
        r = correlations[row]
        # Autocorrelations are even: mirrored at lag 0; at the far end only a few values that hardly weigh are missing.
        for k in range(DEPTH):
            padded[k] = r[min(DEPTH - k, lags - 1)]
        for k in range(lags):
            padded[DEPTH + k] = r[k]
        count = 1
        for lag in range(2, min(max_lag, lags - 1)):
            if not (r[lag] > threshold and r[lag] > r[lag - 1] and r[lag] >= r[lag + 1]):
                continue
            place, value = _refine(padded, kernel, lag, r[lag - 1], r[lag], r[lag + 1])
            if value > 1.0:
                value = 1.0 / value
            frequency = sample_rate / place
            rank = value - octave_cost * math.log2(floor / frequency)
            slot = count
            if count < width:
                count += 1
            else:
                slot = 1
                for c in range(2, width):
                    if ranks[c] < ranks[slot]:
                        slot = c
                if rank <= ranks[slot]:
                    continue
            frequencies[row, slot], strengths[row, slot], ranks[slot] = frequency, value, rank
        counts[row] = count


@njit(nogil=True, cache=True)
def _refine(padded, kernel, lag, before, here, after):
    """(place, value) of the maximum near `lag` of the sinc interpolation, starting from the parabola through three samples."""
    guess = lag + 0.5 * (float(after) - before) / (2.0 * float(here) - before - after)
    point = int(round(guess * GRID))
    low, middle, high = _value(padded, kernel, point - 1), _value(padded, kernel, point), _value(padded, kernel, point + 1)
    for _ in range(MAX_MOVES):
        if low > middle and low > high:
            point, high, middle = point - 1, middle, low
            low = _value(padded, kernel, point - 1)
        elif high > middle:
            point, low, middle = point + 1, middle, high
            high = _value(padded, kernel, point + 1)
        else:
            break
    curvature = 2.0 * middle - low - high
    if not curvature > 0.0:
        return point / GRID, middle
    slope = 0.5 * (high - low)
    move = max(-1.0, min(1.0, slope / curvature))
    return (point + move) / GRID, middle + 0.5 * slope * move


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def _value(padded, kernel, point):
    """The interpolation at lag point / GRID."""
    base, fraction = point // GRID, point % GRID
    taps = kernel[fraction]
    total = 0.0
    for k in range(2 * DEPTH):
        total += padded[base + 1 + k] * taps[k]
    return total
