"""Analysis of a recording for the perturbation: pitch range, contour and glottal pulses, found once and cropped by slicing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from spin.perturbation.pitch import track_pitch
from spin.perturbation.pulses import find_pulses

# Notes: why a recording gets no formant and pitch change, only the equaliser. "" where it gets both.
EMPTY = "empty"
NOT_FINITE = "not finite"
SILENT = "silent or constant"
TOO_SHORT = "shorter than three periods of the pitch floor"
UNVOICED = "no voiced frame"

MAX_AMPLITUDE = 1e6  # louder samples are clipped first, so that no sum overflows

WIDE_RANGE = (75.0, 600.0)  # Hz, of the first pass
FLOOR_OF_LOWER_QUARTILE, CEILING_OF_UPPER_QUARTILE = 0.75, 1.9  # README.md has what other factors give
MIN_VOICED_FRAMES = 10  # with fewer there is nothing to estimate from: the wide range stays
STEP_IN_S = 0.02  # of the first pass; quantiles need no more


class PitchRange(NamedTuple):
    """Hz; `median` is that of the wide first pass, 0 where too little was voiced and the range is the wide one."""

    floor: float
    ceiling: float
    median: float = 0.0


def range_of(values: np.ndarray, floor: float = WIDE_RANGE[0], ceiling: float = WIDE_RANGE[1]) -> PitchRange:
    """The range for the second pass from the voiced F0 values (frames,) of the first; it does not leave the first one's range.

    >>> range_of(np.array([100.0, 110, 120, 130, 140] * 3))
    PitchRange(floor=82.5, ceiling=247.0, median=120.0)
    """
    if len(values) < MIN_VOICED_FRAMES:
        return PitchRange(floor, ceiling)
    lower, median, upper = np.quantile(values.astype(np.float64), (0.25, 0.5, 0.75))
    low = max(floor, FLOOR_OF_LOWER_QUARTILE * lower)
    high = min(ceiling, CEILING_OF_UPPER_QUARTILE * upper)
    return PitchRange(round(float(low), 1), round(float(high), 1), round(float(median), 1))


def estimate_pitch_range(
    recordings: Iterable[tuple[np.ndarray, float]], floor: float = WIDE_RANGE[0], ceiling: float = WIDE_RANGE[1]
) -> PitchRange:
    """The pitch range of one voice from some of its recordings: (waveform (samples,) finite, sample rate) each."""
    values = [np.zeros(0, dtype=np.float32)]
    for waveform, rate in recordings:
        pitch = track_pitch(waveform, rate, floor, ceiling, step=STEP_IN_S).pitch
        values.append(pitch[pitch > 0])
    return range_of(np.concatenate(values), floor, ceiling)


@dataclasses.dataclass(frozen=True)
class Analysis:
    """The analysis of a recording or of a stretch of it."""

    sample_rate: int
    num_samples: int
    pitch: np.ndarray  # (frames,) float32, Hz, 0 where unvoiced; frame i lies at start + i * step seconds
    start: float
    step: float
    floor: float  # Hz; floor and ceiling are the pitch range that was searched
    ceiling: float
    pulses: np.ndarray  # (pulses,) float64, ascending, in samples, 0 at the left edge of the first sample
    # Seconds, where the synthesis puts the first frame. Praat's "Change gender" puts it at half a step, 11 to 20 ms early. We
    # reproduce that, because otherwise the copies differ audibly from the published method's.
    contour_start: float
    note: str = ""  # why only the equaliser applies; "" otherwise

    def crop(self, start_sample: int, num_samples: int) -> Analysis:
        """The analysis of samples [start_sample, start_sample + num_samples), by slicing; ValueError outside the recording."""
        stop = start_sample + num_samples
        if start_sample < 0 or num_samples < 0 or stop > self.num_samples:
            raise ValueError(f"crop: found samples {start_sample} to {stop}, expected a stretch of 0 to {self.num_samples}")
        left, right = np.searchsorted(self.pulses, (start_sample, stop))
        offset = start_sample / self.sample_rate
        times = self.contour_start + np.arange(len(self.pitch)) * self.step
        first, last = np.searchsorted(times, (offset, stop / self.sample_rate))
        pitch, pulses = self.pitch[first:last], self.pulses[left:right] - start_sample
        note = self.note
        if not note and (len(pulses) == 0 or not (pitch > 0).any()):
            note = UNVOICED if num_samples else EMPTY
        return dataclasses.replace(
            self,
            num_samples=num_samples,
            pitch=pitch,
            start=self.start + first * self.step - offset,
            contour_start=self.contour_start + first * self.step - offset,
            pulses=pulses,
            note=note,
        )

    def median(self) -> float:
        """Median F0 of the voiced frames in Hz, of an analysis without a note."""
        return float(np.median(self.pitch[self.pitch > 0].astype(np.float64)))


def prepare(waveform) -> tuple[np.ndarray, bool]:
    """(samples,) float32 of one channel without NaN and infinity, and whether it had any; integers are scaled to [-1, 1)."""
    waveform = np.asarray(waveform)
    if waveform.size != waveform.shape[-1]:
        raise ValueError(f"waveform: found shape {waveform.shape}, expected one channel, (samples,) or (1, samples)")
    waveform = waveform.reshape(-1)
    if np.issubdtype(waveform.dtype, np.integer):
        waveform = waveform / np.float64(np.iinfo(waveform.dtype).max + 1)
    bad = not np.isfinite(waveform).all()
    waveform = np.nan_to_num(waveform, nan=0.0, posinf=0.0, neginf=0.0)
    return np.clip(waveform, -MAX_AMPLITUDE, MAX_AMPLITUDE).astype(np.float32), bad


def analyse(waveform, sample_rate: int, pitch_range: PitchRange | tuple[float, float] | None = None) -> Analysis:
    """Pitch contour and pulses of one recording; the note names the degenerate case, if it is one.

    Waveforms are (samples,) or (1, samples), float in [-1, 1] or integers. Without a pitch range (lowest and highest F0 in Hz) it
    is estimated from this recording.
    """
    waveform, bad = prepare(waveform)
    note = EMPTY if len(waveform) == 0 else NOT_FINITE if bad else ""
    centred = np.zeros(0)  # without samples there is neither frame nor pulse
    if not note:
        deviation = waveform - waveform.mean(dtype=np.float64)
        peak = float(np.abs(deviation).max())
        if peak <= 1e-6 * float(np.abs(waveform).max()):
            note = SILENT
        else:
            centred = deviation / peak  # F0 and pulses do not depend on loudness, sums of squares of tiny numbers do
    if pitch_range is None:
        pitch_range = estimate_pitch_range([(centred, sample_rate)])
    floor, ceiling = map(float, pitch_range[:2])
    if not 0.0 < floor < ceiling:
        raise ValueError(f"pitch_range: found {floor:g} to {ceiling:g} Hz, expected 0 < floor < ceiling")
    contour = track_pitch(centred, sample_rate, floor, ceiling)
    contour_start = 0.5 * contour.step
    pulses = find_pulses(centred, contour.pitch, contour_start, contour.step, sample_rate)
    if not note and len(pulses) == 0:
        note = UNVOICED if len(contour.pitch) else TOO_SHORT
    return Analysis(
        int(sample_rate), len(waveform), contour.pitch, contour.start, contour.step, floor, ceiling, pulses, contour_start, note
    )
