"""Pitch-synchronous overlap-add: grains of about one period around the source's pulses, laid at the target's distances.

The source has the rate fs * R (its formants are shifted by being relabelled); the target is R times as long, so that it has the
source's duration again before it is resampled to fs. All positions are in samples, 0 at the left edge; since the relabelled
source and the target share one rate, a source position s lies at R * s in the target, and only periods in Hz need the rate.
"""

import math

import numpy as np
from numba import njit

MIN_TARGET_IN_HZ = 20.0  # near zero the reference hangs
MAX_GAP = 1.25  # of the longest period of the contour; a larger gap between pulses ends a segment
HALF = np.float32(0.5)
SINE = tuple(np.float32((-1) ** n * math.pi ** (2 * n + 1) / math.factorial(2 * n + 1)) for n in range(6))  # of sin(pi * y) / y
MIN_NOISE_PERIOD_IN_S, MAX_NOISE_PERIOD_IN_S = 0.008, 0.012  # of unvoiced grains


def overlap_add(
    source: np.ndarray,
    pulses: np.ndarray,
    target_times: np.ndarray,
    target_pitch: np.ndarray,
    *,
    rate: float,
    stretch: float,
    max_gap: float,
    noise_seed: int,
) -> np.ndarray:
    """The source with a new pitch contour, `stretch` times as long (README.md, steps 7 and 8).

    Args:
        source: (samples,) float32, mean removed.
        pulses: (pulses,) float64, ascending, in samples of the source.
        target_times, target_pitch: (points,) float64, at least one; ascending samples of the source, and the F0 there in Hz, at
            least MIN_TARGET_IN_HZ; linear between the points, constant outside.
        rate: samples per second of source and target.
        stretch: target length over source length.
        max_gap: in samples of the source; a larger distance between neighbouring pulses ends a voiced segment.
        noise_seed: seeds the periods of unvoiced grains, in [0, 2**63).

    Returns:
        (ceil(stretch * samples) + 1,) float32.
    """
    target = np.zeros(int(math.ceil(stretch * len(source))) + 1, dtype=np.float32)
    seed = np.uint64(noise_seed)
    _overlap_add(source, pulses, target_times, target_pitch, float(rate), float(stretch), float(max_gap), seed, target)
    return target


@njit(nogil=True, cache=True)
def _uniform(state):
    """One step of SplitMix64 (Steele et al. 2014); returns (new state, a number in [0, 1))."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    z = state
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return state, (z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@njit(nogil=True, cache=True)
def _pitch_at(times, pitch, cursor, time):
    """Linear interpolation that remembers where it was; returns (cursor, value). Times asked for should go up mostly."""
    last = len(times) - 1
    while cursor < last and times[cursor + 1] < time:
        cursor += 1
    while cursor > 0 and times[cursor] > time:
        cursor -= 1
    if time <= times[0]:
        return 0, pitch[0]
    if cursor >= last:
        return last, pitch[last]
    share = (time - times[cursor]) / (times[cursor + 1] - times[cursor])
    return cursor, pitch[cursor] + share * (pitch[cursor + 1] - pitch[cursor])


@njit(nogil=True, cache=True)
def _overlap_add(source, pulses, times, pitch, rate, stretch, max_gap, state, target):
    count, end = len(pulses), float(len(source))
    done, cursor, first = 0.0, 0, 0  # source up to `done` is laid
    while first < count:
        last = first
        while last + 1 < count and pulses[last + 1] - pulses[last] <= max_gap:
            last += 1
        cursor, frequency = _pitch_at(times, pitch, cursor, pulses[first])
        half_first = 0.5 * rate / frequency
        start = pulses[first] - half_first
        cursor, frequency = _pitch_at(times, pitch, cursor, pulses[last])
        stop = pulses[last] + 0.5 * rate / frequency
        state = _lay_noise(source, done, start, rate, stretch, state, target)
        cursor = _lay_voiced(source, pulses, times, pitch, cursor, rate, stretch, max_gap, start, stop, half_first, target)
        done = stop
        first = last + 1
    _lay_noise(source, done, end, rate, stretch, state, target)


@njit(nogil=True, cache=True)
def _lay_noise(source, start, stop, rate, stretch, state, target):
    """Grains of random periods, so that frication does not start to buzz; returns the generator's new state."""
    if stop <= start:
        return state
    state, draw = _uniform(state)
    period = rate * (MIN_NOISE_PERIOD_IN_S + draw * (MAX_NOISE_PERIOD_IN_S - MIN_NOISE_PERIOD_IN_S))
    position = stretch * start + 0.5 * period
    while position < stretch * stop:
        _lay_grain(source, position / stretch, period, period, position, target)
        state, draw = _uniform(state)
        period = rate * (MIN_NOISE_PERIOD_IN_S + draw * (MAX_NOISE_PERIOD_IN_S - MIN_NOISE_PERIOD_IN_S))
        position += period
    return state


@njit(nogil=True, cache=True)
def _lay_voiced(source, pulses, times, pitch, cursor, rate, stretch, max_gap, start, stop, half_first, target):
    """Grains of one segment, one a target period, each the source around the nearest pulse; returns the contour's cursor."""
    nearest, last = 0, len(pulses) - 1
    position = stretch * start + half_first
    while position < stretch * stop:
        time = position / stretch
        while nearest < last and abs(pulses[nearest + 1] - time) <= abs(pulses[nearest] - time):
            nearest += 1
        cursor, frequency = _pitch_at(times, pitch, cursor, time)
        period = rate / frequency
        left = right = period
        if nearest > 0:
            gap = pulses[nearest] - pulses[nearest - 1]
            if gap <= max_gap:
                left = min(left, gap)
        if nearest < last:
            gap = pulses[nearest + 1] - pulses[nearest]
            if gap <= max_gap:
                right = min(right, gap)
        _lay_grain(source, pulses[nearest], left, right, position, target)
        position += period
    return cursor


@njit(nogil=True, cache=True)
def _lay_grain(source, time, left, right, position, target):
    """Adds the source around `time` to the target around `position`: a rising and a falling half-cosine that meet there."""
    middle = math.ceil(time - 0.5)
    first = math.ceil(time - left - 0.5)
    last = math.ceil(time + right - 0.5)
    shift = math.ceil(position - 0.5) - middle
    _add_ramp(source, first, middle, HALF, shift, target)
    _add_ramp(source, middle, last, -HALF, shift, target)


@njit(nogil=True, cache=True, fastmath={"contract"})
def _add_ramp(source, first, last, sign, shift, target):
    """target[i + shift] += source[i] * (1 - 2 * sign * cos(pi * (i - first + 1/2) / length)) / 2 for i in [first, last)."""
    length = last - first
    low, high = max(first, 0, -shift), min(last, len(source), len(target) - shift)
    if length <= 0 or high <= low:
        return
    grain, place = source[low:high], target[low + shift : high + shift]
    # -cos(pi * x) = sin(pi * (x - 1/2)): an odd series, exact to 6e-8 here, which becomes vector code where a cosine would not.
    step = np.float32(1.0 / length)
    start = np.float32((low - first + 0.5) / length - 0.5)
    for k in range(high - low):
        y = start + np.float32(k) * step
        z = y * y
        series = SINE[0] + z * (SINE[1] + z * (SINE[2] + z * (SINE[3] + z * (SINE[4] + z * SINE[5]))))
        place[k] += grain[k] * (HALF + sign * y * series)
