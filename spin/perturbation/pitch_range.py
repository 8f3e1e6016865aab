"""The pitch range of a speaker, estimated from the speaker's own speech: a wide first pass, then robust quantiles.

The idea and the floor are De Looze and Hirst's (2008, "Detecting changes in key and range for the automatic modelling and coding
of intonation"): 0.75 times the first quartile. Their ceiling, 1.5 times the third quartile, cuts lively speech off. On 140
utterances of 28 LibriSpeech speakers, against Praat in the published ranges (75 to 250 Hz and 100 to 600 Hz):

| range | frames off by more than 20 % | octave jumps in 1000 frames | largest error of an utterance's median |
|---|---|---|---|
| 75 to 600 Hz for all | 1.7 % | 3.3 | 13 % |
| 0.75 q25 to 1.5 q75 | 1.3 % | 1.3 | 5.5 % |
| 0.72 q35 - 10 to 1.9 q65 + 10 | 0.6 % | 0.9 | 3.7 % |
| 0.83 q35 to 1.92 q65 | 1.1 % | 0.7 | 10 % |
| 0.75 q25 to 1.9 q75 (taken) | 0.6 % | 0.7 | 2.8 % |
| the published ranges, own tracker | 0.2 % | 1.3 | 2.0 % |
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from spin.perturbation.pitch import track_pitch

WIDE_RANGE = (75.0, 600.0)  # Hz
FLOOR_OF_LOWER_QUARTILE, CEILING_OF_UPPER_QUARTILE = 0.75, 1.9
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
