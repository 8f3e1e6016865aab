"""The pitch range of a speaker, estimated from the speaker's own speech: a wide first pass, then robust quantiles.

De Looze and Hirst (2008, "Detecting changes in key and range for the automatic modelling and coding of intonation") take 0.75
times the first quartile as the floor and 1.5 times the third as the ceiling for the second pass. The factors here follow them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from spin.perturbation.pitch import track_pitch

WIDE_FLOOR_IN_HZ, WIDE_CEILING_IN_HZ = 75.0, 600.0
FLOOR_OF_LOWER_QUARTILE, CEILING_OF_UPPER_QUARTILE = 0.75, 1.5
MIN_VOICED_FRAMES = 10  # with fewer there is nothing to estimate from: the wide range stays
STEP_IN_S = 0.02  # of the first pass; quantiles need no more


@dataclasses.dataclass(frozen=True)
class PitchRange:
    """Hz; `median` is that of the wide first pass, 0 where too little was voiced and the range is the wide one."""

    floor: float
    ceiling: float
    median: float = 0.0


def wide_pitch(waveform: np.ndarray, sample_rate: float, floor: float, ceiling: float) -> np.ndarray:
    """(voiced frames,) float32 Hz of a first pass over one recording."""
    pitch = track_pitch(waveform, sample_rate, floor, ceiling, step=STEP_IN_S).pitch
    return pitch[pitch > 0]


def range_of(values: np.ndarray, floor: float = WIDE_FLOOR_IN_HZ, ceiling: float = WIDE_CEILING_IN_HZ) -> PitchRange:
    """The range for the second pass from the voiced F0 values of the first.

    Args:
        values: (frames,) Hz, all voiced.
        floor, ceiling: Hz, of the first pass; the result does not leave them.
    """
    if len(values) < MIN_VOICED_FRAMES:
        return PitchRange(floor, ceiling, 0.0)
    lower, median, upper = np.quantile(values.astype(np.float64), (0.25, 0.5, 0.75))
    low = max(floor, FLOOR_OF_LOWER_QUARTILE * lower)
    high = min(ceiling, CEILING_OF_UPPER_QUARTILE * upper)
    return PitchRange(round(float(low), 1), round(float(high), 1), round(float(median), 1))


def estimate_pitch_range(
    waveforms: Iterable[np.ndarray],
    sample_rate: float,
    floor: float = WIDE_FLOOR_IN_HZ,
    ceiling: float = WIDE_CEILING_IN_HZ,
) -> PitchRange:
    """The pitch range of one voice from some of its recordings, each (samples,) finite."""
    values = [wide_pitch(waveform, sample_rate, floor, ceiling) for waveform in waveforms]
    return range_of(np.concatenate([np.zeros(0, dtype=np.float32), *values]), floor, ceiling)
