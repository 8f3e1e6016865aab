"""Glottal pulses on a given pitch contour: where the waveform repeats itself best, period after period.

Positions are in samples of the recording, 0 at its left edge: sample i covers [i, i + 1) and its value lies at i + 0.5. Counted
in samples, pulses do not change when the sampling rate is relabelled, which is how formants are shifted: they are found once.
"""

import math

import numpy as np
from numba import njit

MIN_LAG, MAX_LAG = 0.8, 1.25  # of the next pulse, in periods
MIN_CORRELATION, MIN_PEAK = 0.3, 0.01  # inside a voiced interval; peaks relative to the loudest sample
MIN_EDGE_CORRELATION, MIN_EDGE_PEAK = 0.7, 0.01 * 0.7 / 0.3  # of the one pulse that may lie beyond the edge


def find_pulses(waveform: np.ndarray, contour: np.ndarray, origin: float, step: float, sample_rate: float) -> np.ndarray:
    """(pulses,) float64, ascending positions in samples, of every voiced interval of a contour (README.md, step 5).

    The waveform (samples,) is finite, its mean removed; the contour (frames,) is in Hz, 0 where unvoiced, with its first frame at
    `origin` seconds and `step` seconds between frames.
    """
    contour = np.asarray(contour, dtype=np.float64)
    if len(waveform) < 2 or not (contour > 0).any():
        return np.zeros(0)
    cycles = np.maximum(contour, 0.0) / sample_rate
    return np.sort(_find(np.ascontiguousarray(waveform, dtype=np.float64), cycles, origin * sample_rate, step * sample_rate))


@njit(nogil=True, cache=True)
def _find(wave, contour, origin, step):
    """As find_pulses, all in samples: contour in cycles a sample, origin and step in samples."""
    frames, samples = len(contour), len(wave)
    highest = contour.max()
    pulses = np.empty(int(samples * highest / MIN_LAG) + 4 * frames + 16)
    count = 0
    global_peak = np.abs(wave).max()
    added_right = -1e300
    first = 0
    while first < frames:
        if contour[first] <= 0.0:
            first += 1
            continue
        last = first
        while last + 1 < frames and contour[last + 1] > 0.0:
            last += 1
        left = max(0.0, origin + (first - 0.5) * step)
        right = min(float(samples), origin + (last + 0.5) * step)
        if right > left:
            count, added_right = _interval(wave, contour, origin, step, left, right, global_peak, added_right, pulses, count)
        first = last + 1
    return pulses[:count]


@njit(nogil=True, cache=True)
def _interval(wave, contour, origin, step, left, right, global_peak, added_right, pulses, count):
    """Adds the pulses of one voiced interval [left, right]; returns the new count and the last pulse added on the right."""
    middle = 0.5 * (left + right)
    frequency = _frequency_at(contour, origin, step, middle)
    start = _extremum(wave, middle - 0.5 / frequency, middle + 0.5 / frequency)
    pulses[count] = start
    count += 1
    for side in (-1, 1):
        low, high = (MIN_LAG, MAX_LAG) if side > 0 else (-MAX_LAG, -MIN_LAG)
        position = start
        while count < len(pulses):
            frequency = _frequency_at(contour, origin, step, position)
            if frequency <= 0.0:
                break
            correlation, peak, position = _next_pulse(wave, position, frequency, low, high)
            outside = position > right if side > 0 else position < left
            if outside:
                good = correlation > MIN_EDGE_CORRELATION and peak > MIN_EDGE_PEAK * global_peak
            else:
                good = correlation > MIN_CORRELATION and (peak == 0.0 or peak > MIN_PEAK * global_peak)
            if good and (side > 0 or position - added_right > MIN_LAG / frequency):
                pulses[count] = position
                count += 1
                if side > 0:
                    added_right = position
            if outside:
                break
    return count, added_right


@njit(nogil=True, cache=True)
def _frequency_at(contour, origin, step, time):
    """Linear between voiced frames; the frame's value within half a step of one whose neighbour is unvoiced; else 0.

    `contour` is 0 where unvoiced; origin (time of the first frame), step and time share one unit.
    """
    frames = len(contour)
    place = (time - origin) / step
    lower = math.floor(place)
    fraction = place - lower
    left = contour[lower] if 0 <= lower < frames else 0.0
    right = contour[lower + 1] if 0 <= lower + 1 < frames else 0.0
    if left > 0.0 and right > 0.0:
        return left + fraction * (right - left)
    return left if fraction < 0.5 else right


@njit(nogil=True, cache=True)
def _extremum(wave, low, high):
    """Position of the largest absolute value between two positions, refined by a parabola; their middle without any sample."""
    first = max(0, math.floor(low - 0.5))
    last = min(len(wave) - 1, math.ceil(high - 0.5))
    if last < first:
        return 0.5 * (low + high)
    best = first
    for i in range(first + 1, last + 1):
        if abs(wave[i]) > abs(wave[best]):
            best = i
    position = best + 0.5
    if first < best < last:
        slope = 0.5 * (wave[best + 1] - wave[best - 1])
        curvature = 2.0 * wave[best] - wave[best - 1] - wave[best + 1]
        if curvature != 0.0:
            position += slope / curvature
    return position


@njit(nogil=True, cache=True)
def _next_pulse(wave, position, frequency, low_lag, high_lag):
    """Correlates the window of one period around `position` with windows shifted by low_lag to high_lag periods.

    Returns (correlation, peak, new position): the largest normalised cross-correlation, refined by a parabola; the largest
    absolute value in the window one sample beyond the one that gave it (Praat's way); where that puts the pulse. Without a
    maximum: (-1, 0, position moved by one period).
    """
    samples = len(wave)
    period = 1.0 / frequency
    first = math.floor(position - 0.5 * period)  # the samples that hold the window's edges
    last = math.floor(position + 0.5 * period)
    shift_first = math.floor(position + (low_lag - 0.5) * period - 0.5) - first
    shift_last = math.ceil(position + (high_lag - 0.5) * period - 0.5) - first
    best, best_shift, best_before, best_after, best_peak = -1.0, 0, 0.0, 0.0, 0.0
    before, here = 0.0, 0.0
    found = False
    for shift in range(shift_first, shift_last + 1):
        product, energy, shifted_energy, peak = 0.0, 0.0, 0.0, 0.0
        for i in range(max(0, first, -shift), min(samples - 1, last, samples - 1 - shift) + 1):
            a, b = wave[i], wave[i + shift]
            product += a * b
            energy += a * a
            shifted_energy += b * b
            if abs(b) > peak:
                peak = abs(b)
        after = product / math.sqrt(energy * shifted_energy) if product != 0.0 else 0.0
        if here > best and here >= before and here >= after:
            best, best_shift, best_before, best_after, best_peak = here, shift - 1, before, after, peak
            found = True
        before, here = here, after
    if not found:
        return -1.0, 0.0, position + (period if high_lag > 0 else -period)
    refined = float(best_shift)
    curvature = 2.0 * best - best_before - best_after
    if curvature != 0.0:
        slope = 0.5 * (best_after - best_before)
        refined += slope / curvature
        best += 0.5 * slope * slope / curvature
    return best, best_peak, position + refined
