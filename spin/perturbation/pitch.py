"""Pitch by autocorrelation (Boersma 1993, "Accurate short-term analysis of the fundamental frequency"; README.md, step 1).

Frames are transformed in batches. Peaks of the autocorrelation are refined on its sinc interpolation by Newton steps, not by a
line search.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
import scipy.fft
from numba import njit

SILENCE_THRESHOLD = 0.03  # of a frame's peak, relative to the recording's
VOICING_THRESHOLD = 0.45
OCTAVE_COST = 0.01  # an octave lower must correlate better by this much
OCTAVE_JUMP_COST = 0.35
VOICED_UNVOICED_COST = 0.14
PERIODS_IN_WINDOW = 3.0
STEP_IN_PERIODS = 0.8  # of the floor
BATCH = 64  # frames transformed at once: 64 x 1024 float32 stay in the cache
MAX_CANDIDATES = 64
DEPTH = 70  # samples of the sinc on each side, fewer where fewer are left before the last lag
GRID = 32  # places between two samples where the interpolation is evaluated; a parabola through three of them is exact to 1e-6
MAX_MOVES, LONGEST_MOVE = 16, 8.0  # of the search for the maximum, in steps of the grid


class Contour(NamedTuple):
    """F0 frame by frame: `pitch` (frames,) float32 in Hz, 0 where unvoiced; frame i lies at start + i * step seconds."""

    pitch: np.ndarray
    start: float
    step: float


def track_pitch(waveform: np.ndarray, sample_rate: float, floor: float, ceiling: float, step: float | None = None) -> Contour:
    """The contour of a recording (samples,), finite; without frames where it is shorter than 3 / floor, or its rate too low.

    `sample_rate`, `floor` and `ceiling` are in Hz; `step` is in seconds, by default 0.8 / floor.
    """
    step = STEP_IN_PERIODS / floor if step is None else step
    frames, start, half_window = _lay_frames(len(waveform), sample_rate, floor, step)
    waveform = np.asarray(waveform, dtype=np.float32)
    peak = float(np.abs(waveform - waveform.mean(dtype=np.float64)).max()) if frames else 0.0
    if not peak > 0.0:
        return Contour(np.zeros(frames, dtype=np.float32), start, step)
    ceiling = min(ceiling, 0.5 * sample_rate)
    count = min(MAX_CANDIDATES, max(15, math.ceil(ceiling / floor)))
    frequencies = np.zeros((frames, count), dtype=np.float64)
    strengths = np.zeros((frames, count), dtype=np.float64)
    counts = np.ones(frames, dtype=np.int64)
    intensities = np.empty(frames, dtype=np.float64)
    centres = start * sample_rate + np.arange(frames) * (step * sample_rate)
    middles = np.ceil(centres - 0.5).astype(np.int64)  # the first sample to the right of the frame's centre
    max_lag = min(int(2 * half_window / PERIODS_IN_WINDOW) + 2, 2 * half_window)
    limits = (float(sample_rate), float(floor), max_lag, 0.5 * VOICING_THRESHOLD, OCTAVE_COST)
    for first in range(0, frames, BATCH):
        part = slice(first, first + BATCH)
        correlations = _autocorrelations(waveform, middles[part], half_window, int(sample_rate / floor), intensities[part])
        _find_candidates(correlations, KERNELS, *limits, frequencies[part], strengths[part], counts[part])
    intensities = np.minimum(intensities / peak, 1.0)
    pitch = _best_path(frequencies, strengths, counts, intensities, float(ceiling), step)
    return Contour(pitch.astype(np.float32), start, step)


def _lay_frames(samples: int, sample_rate: float, floor: float, step: float) -> tuple[int, float, int]:
    """The number of frames, seconds of the first, and half a window in samples."""
    duration, window = samples / sample_rate, PERIODS_IN_WINDOW / floor
    half_window = int(window * sample_rate) // 2 - 1
    if duration < window or half_window < 8:
        return 0, 0.0, half_window
    count = int((duration - window) / step) + 1
    return count, 0.5 * duration - 0.5 * (count - 1) * step, half_window


@functools.lru_cache(maxsize=16)
def _window(length: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A Hanning window, and its normalised autocorrelation for lags 0 to length // 2."""
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(1, length + 1) / (length + 1))
    correlation = scipy.fft.irfft(np.abs(scipy.fft.rfft(window, size)) ** 2, size)[: length // 2]
    return window.astype(np.float32), (correlation / correlation[0]).astype(np.float32)


def _autocorrelations(
    waveform: np.ndarray, middles: np.ndarray, half_window: int, longest_period: int, intensities: np.ndarray
) -> np.ndarray:
    """(frames, lags) float32 normalised autocorrelations of the windowed frames; fills their peak values into `intensities`."""
    length = 2 * half_window
    size = scipy.fft.next_fast_len(length + length // 2, real=True)
    window, window_correlation = _window(length, size)
    gathered = np.zeros((len(middles), size), dtype=np.float32)
    _gather(waveform, middles, half_window, longest_period // 2 + 1, longest_period, window, gathered, intensities)
    spectrum = scipy.fft.rfft(gathered, axis=1, overwrite_x=True)
    power = spectrum.real**2
    power += spectrum.imag**2
    correlations = scipy.fft.irfft(power, size, axis=1)[:, : length // 2]
    energy = correlations[:, :1]
    return correlations / (np.where(energy > 0, energy, 1) * window_correlation)


@njit(nogil=True, cache=True)
def _gather(waveform, middles, half_window, half_period, longest_period, window, gathered, intensities):
    samples = len(waveform)
    for row in range(len(middles)):
        middle = middles[row]
        low, high = max(0, middle - longest_period), min(samples, middle + longest_period)
        total = 0.0
        for i in range(low, high):
            total += waveform[i]
        mean = np.float32(total / max(1, high - low))
        for k in range(2 * half_window):
            i = middle - half_window + k
            if 0 <= i < samples:
                gathered[row, k] = (waveform[i] - mean) * window[k]
        peak = np.float32(0.0)
        for k in range(half_window - half_period, half_window + half_period):
            peak = max(peak, abs(gathered[row, k]))
        intensities[row] = peak


def _kernels() -> np.ndarray:
    """(DEPTH + 1, GRID, 2 * DEPTH): taps of a sinc under a raised cosine of d samples per side, at each fraction k / GRID."""
    kernels = np.zeros((DEPTH + 1, GRID, 2 * DEPTH))
    fraction = np.arange(GRID)[:, None] / GRID
    for depth in range(1, DEPTH + 1):
        distance = fraction - np.arange(-depth + 1, depth + 1)[None, :]
        kernels[depth, :, : 2 * depth] = np.sinc(distance) * (0.5 + 0.5 * np.cos(np.pi * distance / (depth + 0.5)))
    return kernels


KERNELS = _kernels()


@njit(nogil=True, cache=True)
def _find_candidates(correlations, kernels, sample_rate, floor, max_lag, threshold, octave_cost, frequencies, strengths, counts):
    """Fills in the strongest peaks above `threshold` of each row of (frames, lags) normalised autocorrelations.

    `frequencies` and `strengths` (frames, candidates) get them from column 1 on, `counts` the number of columns in use. Column 0
    is the unvoiced candidate.
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


@njit(nogil=True, cache=True)
def _best_path(frequencies, strengths, counts, intensities, ceiling, step):
    """Viterbi over the candidates of all frames; returns (frames,) Hz, 0 where unvoiced."""
    frames, width = frequencies.shape
    jump_cost, voicing_cost = 0.01 / step * OCTAVE_JUMP_COST, 0.01 / step * VOICED_UNVOICED_COST  # costs are per 10 ms
    scores, before = np.zeros((2, width)), np.full((2, width), -1.0)  # of this frame and the last, by turns; -1: unvoiced
    back = np.zeros((frames, width), dtype=np.int16)
    for t in range(frames):
        now, then = t % 2, (t + 1) % 2
        unvoiced = VOICING_THRESHOLD + max(0.0, 2.0 - intensities[t] * (1.0 + VOICING_THRESHOLD) / SILENCE_THRESHOLD)
        for c in range(counts[t]):
            frequency = frequencies[t, c]
            octave, local = -1.0, unvoiced
            if 0.0 < frequency < ceiling:
                octave = math.log2(frequency)
                local = strengths[t, c] - OCTAVE_COST * (math.log2(ceiling) - octave)
            best, best_from = -1e300, 0
            for d in range(counts[t - 1] if t > 0 else 1):
                cost = 0.0
                if t > 0:
                    if (octave < 0.0) != (before[then, d] < 0.0):
                        cost = voicing_cost
                    elif octave >= 0.0:
                        cost = jump_cost * abs(octave - before[then, d])
                if scores[then, d] - cost > best:
                    best, best_from = scores[then, d] - cost, d
            scores[now, c], before[now, c], back[t, c] = best + local, octave, best_from
    return _trace(frequencies, scores[(frames + 1) % 2, : counts[frames - 1]], back, ceiling)


@njit(nogil=True, cache=True)
def _trace(frequencies, scores, back, ceiling):
    pitch = np.zeros(len(frequencies))
    place = np.argmax(scores)
    for t in range(len(frequencies) - 1, -1, -1):
        frequency = frequencies[t, place]
        pitch[t] = frequency if 0.0 < frequency < ceiling else 0.0
        place = back[t, place]
    return pitch
