"""Peaks of sampled autocorrelations, refined between the samples."""

import math

import numpy as np
from numba import njit

MAX_CANDIDATES = 64
DEPTH = 70  # samples of the sinc on each side, fewer where fewer are left before the last lag
GRID = 32  # places between two samples where the interpolation is evaluated; a parabola through three of them is exact to 1e-6
MAX_MOVES, LONGEST_MOVE = 16, 8.0  # of the search for the maximum, in steps of the grid


def _kernels() -> np.ndarray:
    """(DEPTH + 1, GRID, 2 * DEPTH): taps of a sinc under a raised cosine of d samples a side, at each fraction k / GRID."""
    kernels = np.zeros((DEPTH + 1, GRID, 2 * DEPTH))
    fraction = np.arange(GRID)[:, None] / GRID
    for depth in range(1, DEPTH + 1):
        distance = fraction - np.arange(-depth + 1, depth + 1)[None, :]
        kernels[depth, :, : 2 * depth] = np.sinc(distance) * (0.5 + 0.5 * np.cos(np.pi * distance / (depth + 0.5)))
    return kernels


KERNELS = _kernels()


@njit(nogil=True, cache=True)
def find_candidates(correlations, kernels, sample_rate, floor, max_lag, threshold, octave_cost, frequencies, strengths, counts):
    """The strongest peaks above `threshold` of each row of normalised autocorrelations (frames, lags) as pitch candidates.

    Fills `frequencies` and `strengths` (frames, candidates) from column 1 on; column 0 is the unvoiced candidate. Fills `counts`
    with the number of columns in use. A candidate an octave lower must be stronger by `octave_cost` to be kept in its place.
    """
    rows, lags = correlations.shape
    width = frequencies.shape[1]
    padded = np.zeros(lags + DEPTH)
    ranks = np.empty(width)
    for row in range(rows):
        r = correlations[row]
        # Autocorrelations are even: mirrored at lag 0.
        for k in range(DEPTH):
            padded[k] = r[min(DEPTH - k, lags - 1)]
        for k in range(lags):
            padded[DEPTH + k] = r[k]
        count = 1
        for lag in range(2, min(max_lag, lags - 1)):
            if not (r[lag] > threshold and r[lag] > r[lag - 1] and r[lag] >= r[lag + 1]):
                continue
            place, value = _refine(padded, kernels, lag, r[lag - 1], r[lag], r[lag + 1])
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
def _refine(padded, kernels, lag, before, here, after):
    """(place, value) of the maximum near `lag` of the sinc interpolation, starting from the parabola through three samples."""
    lowest, highest = (lag - 1) * GRID + 1, (lag + 1) * GRID - 1
    point = int(round((lag + 0.5 * (float(after) - before) / (2.0 * float(here) - before - after)) * GRID))
    for _ in range(MAX_MOVES):
        middle = _value(padded, kernels, point)
        low, high = _value(padded, kernels, point - 1), _value(padded, kernels, point + 1)
        slope, curvature = 0.5 * (high - low), 2.0 * middle - low - high
        if middle >= low and middle >= high:
            break
        jump = LONGEST_MOVE if slope > 0.0 else -LONGEST_MOVE  # where it bends the wrong way
        if curvature > 0.0:
            jump = max(-LONGEST_MOVE, min(LONGEST_MOVE, slope / curvature))
        last = point
        point = min(highest, max(lowest, point + int(round(jump))))
        if point == last:
            break
    move = max(-1.0, min(1.0, slope / curvature)) if curvature > 0.0 else 0.0
    return (point + move) / GRID, middle + 0.5 * slope * move


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _value(padded, kernels, point):
    """The interpolation at lag point / GRID."""
    base, fraction = point // GRID, point % GRID
    depth = max(1, min(DEPTH, len(padded) - DEPTH - 1 - base))
    first = DEPTH + base - depth + 1
    some, taps = padded[first : first + 2 * depth], kernels[depth, fraction]
    total = 0.0
    for k in range(len(some)):
        total += some[k] * taps[k]
    return total
