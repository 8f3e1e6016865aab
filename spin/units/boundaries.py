"""Agreement of unit changes with phone boundaries: precision, recall, F1, over-segmentation, R-value.

A unit boundary at frame i lies i * 20 ms after the start of the utterance. The start and the end of the utterance are no
boundaries. Each boundary is used at most once: a hit is a pair of a unit boundary and a phone boundary no further apart than
the tolerance. Of all pairings the one with the most hits counts.

R-value: Räsänen, Laine and Altosaar, "An improved speech segmentation quality measure: the R-value", Interspeech 2009. With the
hit rate HR (recall) and the over-segmentation OS it is 1 - (|r1| + |r2|) / 2, where r1 = sqrt((1 - HR)^2 + OS^2) and r2 =
(HR - OS - 1) / sqrt(2). Unlike F1 it does not grow with ever more boundaries.
"""

import math
from collections.abc import Iterable

import numpy as np
from numba import njit

from spin import artifacts
from spin.units.measure import EvaluationSet, Utterance

TOLERANCE_IN_S = 0.02  # one frame to each side, as is usual for phone boundaries
_ROUNDING_IN_S = 1e-6  # times are sums of binary fractions


class Boundaries:
    """Phone boundaries, unit boundaries and hits over the utterances that have an alignment."""

    def __init__(self, sample: EvaluationSet):
        self.phones = self.units = self.hits = 0

    def add(self, utterance: Utterance) -> None:
        """Counts one utterance; phone boundaries after the end of its units are left out."""
        if not utterance.alignment:
            return
        phones = phone_boundaries(utterance.alignment, len(utterance.units) * artifacts.FRAME_SHIFT_IN_S)
        units = unit_boundaries(utterance.units)
        self.phones += len(phones)
        self.units += len(units)
        self.hits += count_hits(phones, units)

    def compute(self) -> dict[str, float]:
        """The ratios of `scores`, as boundary_<name>."""
        return {f"boundary_{name}": value for name, value in scores(self.phones, self.units, self.hits).items()}


def scores(phones: int, units: int, hits: int) -> dict[str, float]:
    """The five ratios, from numbers of boundaries and hits; NaN without a phone boundary.

    Without a unit boundary precision is NaN, over_segmentation -1 and r_value 1 - 1 / sqrt(2).
    """
    if not phones:
        return dict.fromkeys(("precision", "recall", "f1", "over_segmentation", "r_value"), math.nan)
    recall, over = hits / phones, units / phones - 1
    return {
        "precision": hits / units if units else math.nan,
        "recall": recall,
        "f1": 2 * hits / (phones + units),
        "over_segmentation": over,
        "r_value": 1 - (math.hypot(1 - recall, over) + abs(recall - over - 1) / math.sqrt(2)) / 2,
    }


def unit_boundaries(units: np.ndarray) -> np.ndarray:
    """Seconds at which the unit changes: (T,) -> (B,) float64, ascending, B < T."""
    units = np.asarray(units)
    return (np.flatnonzero(units[1:] != units[:-1]) + 1) * artifacts.FRAME_SHIFT_IN_S


def phone_boundaries(alignment: Iterable, end: float) -> np.ndarray:
    """Starts and ends of the items in seconds, ascending, between 0 and `end` (both excluded); equal to a microsecond is one."""
    times = np.array([(item.start, item.start + item.duration) for item in alignment], dtype=np.float64).ravel()
    times = np.unique(np.round(times / _ROUNDING_IN_S).astype(np.int64)) * _ROUNDING_IN_S
    return times[(times > _ROUNDING_IN_S) & (times < end - _ROUNDING_IN_S)]


@njit(cache=True)
def count_hits(phones, units, tolerance=TOLERANCE_IN_S):  # pragma: no cover - compiled
    """The largest number of pairs of a phone and a unit boundary (float64 seconds, ascending), each used once.

    In order of time the first two that fit are a pair of some largest pairing, because all tolerances are equal.
    """
    i, j, count = 0, 0, 0
    while i < len(phones) and j < len(units):
        difference = phones[i] - units[j]
        if abs(difference) <= tolerance + _ROUNDING_IN_S:
            count += 1
            i += 1
            j += 1
        elif difference < 0:
            i += 1
        else:
            j += 1
    return count
