"""Another voice from a waveform and its pulses: pitch-synchronous overlap-add, then resampling.

Overlap-add lays grains of about one period around the source's pulses at the target's distances (README.md, steps 7 to 9). The
source has the rate fs * R. The target is R times as long, so that it has the source's duration again before it is resampled to
fs: a source position s lies at R * s in the target, and only periods in Hz need the rate. Positions are in samples.
"""

import math

import numpy as np
import scipy.fft
from numba import njit

MIN_TARGET_IN_HZ = 20.0  # near zero the reference hangs
MAX_GAP = 1.25  # of the longest period of the contour; a larger gap between pulses ends a segment
HALF = np.float32(0.5)
SINE = tuple(np.float32((-1) ** n * math.pi ** (2 * n + 1) / math.factorial(2 * n + 1)) for n in range(6))  # of sin(pi * y) / y
MIN_NOISE_PERIOD_IN_S, MAX_NOISE_PERIOD_IN_S = 0.008, 0.012  # of unvoiced grains
DEPTH = 10  # samples that the sinc reaches on each side
WIDTH = 24  # of a row of weights, the last four 0: whole vectors
BLOCK, MARGIN = 16_384, 2_048  # of the low-pass, in samples
HOP = BLOCK - 2 * MARGIN
TOGETHER = 4  # blocks transformed at once: they share vectors and stay in the cache
GRID = 512  # fractions of a sample with weights of their own, linear between them: exact to 5e-6
Points = tuple[np.ndarray, np.ndarray]  # (points,) float64, at least one: ascending samples of the source, and F0 in Hz


def overlap_add(
    source: np.ndarray, pulses: np.ndarray, target: Points, *, rate: float, stretch: float, max_gap: float, noise_seed: int
) -> np.ndarray:
    """The source with a new pitch contour: (samples,) float32, mean removed -> (ceil(stretch * samples) + 1,) float32.

    `pulses` (pulses,) and `max_gap` are in samples of the source; a larger gap between pulses ends a voiced segment. `target` is
    the new F0, at least MIN_TARGET_IN_HZ, linear between the points and constant outside. `rate` is that of source and target.
    `noise_seed`, in [0, 2**63), seeds the periods of unvoiced grains.
    """
    result = np.zeros(int(math.ceil(stretch * len(source))) + 1, dtype=np.float32)
    _overlap_add(source, pulses, *target, float(rate), float(stretch), float(max_gap), np.uint64(noise_seed), result)
    return result


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


def resample(waveform: np.ndarray, ratio: float, num_samples: int) -> np.ndarray:
    """Takes (samples,) float32 of rate `ratio * fs` to (num_samples,) float32 of rate fs; 0 beyond the end of the waveform."""
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
