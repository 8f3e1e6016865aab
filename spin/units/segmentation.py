"""How well the places where the unit changes agree with the borders of phones: precision, recall, F1, over-segmentation, R-value.

A unit border at frame i lies i * 20 ms after the start of the utterance; the utterance's own start and end are no borders. Each
border is used at most once: a hit is a pair of a unit border and a phone border no further apart than the tolerance, and of all
such pairings the one with the most hits counts.

R-value: Räsänen, Laine and Altosaar, "An improved speech segmentation quality measure: the R-value", Interspeech 2009: with the
hit rate HR (recall) and the over-segmentation OS, 1 - (|r1| + |r2|) / 2, r1 = sqrt((1 - HR)^2 + OS^2), r2 = (HR - OS - 1) /
sqrt(2). Unlike F1 it does not grow by more and more borders.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numba import njit

from spin import artifacts
from spin.errors import DataError

TOLERANCE_IN_S = 0.02  # one frame to each side, as is usual for phone borders
_ROUNDING_IN_S = 1e-6  # times are sums of binary fractions


class BorderCounts:
    """Counts of phone borders, unit borders and hits, fed utterance by utterance; memory is three numbers.

    Args:
        tolerance: in seconds, 0 or more.

    Raises:
        DataError: a negative tolerance.
    """

    def __init__(self, tolerance: float = TOLERANCE_IN_S):
        if not tolerance >= 0:
            raise DataError("tolerance", found=f"{tolerance} s", expected="0 or more")
        self.tolerance = tolerance
        self.phones = self.units = self.hits = 0

    def add(self, alignment: Iterable, units: np.ndarray) -> None:
        """Counts one utterance.

        Args:
            alignment: items with start and duration in seconds, in any order, not overlapping. The end of an item and the start
                of the next are one border where they are the same to a microsecond.
            units: (T,) every 20 ms; borders of phones after their end are left out.
        """
        wanted = phone_borders(alignment, len(units) * artifacts.FRAME_SHIFT_IN_S)
        found = unit_borders(units)
        self.phones += len(wanted)
        self.units += len(found)
        self.hits += hits(wanted, found, self.tolerance)

    def merge(self, other: BorderCounts) -> None:
        """Adds the counts of another part (same tolerance)."""
        self.phones += other.phones
        self.units += other.units
        self.hits += other.hits

    def figures(self) -> dict[str, float]:
        """precision, recall, f1, over_segmentation, r_value: see the function `scores`."""
        return scores(self.phones, self.units, self.hits)


def scores(phones: int, units: int, hits: int) -> dict[str, float]:
    """The five figures, as ratios.

    Args:
        phones, units: numbers of borders.
        hits: at most the smaller of the two.

    Returns:
        precision: hits / units, NaN without a unit border.
        recall: hits / phones.
        f1: their harmonic mean, 0 without a hit.
        over_segmentation: units / phones - 1; -1 without a unit border, 0 for as many as there are phone borders.
        r_value: 1 for all borders found and no other, 1 - 1 / sqrt(2) for no unit border, below 0 for far too many.
        Without a phone border all are NaN: there is nothing to be found.
    """
    if not phones:
        return dict.fromkeys(("precision", "recall", "f1", "over_segmentation", "r_value"), math.nan)
    recall, over = hits / phones, units / phones - 1
    far = math.hypot(1 - recall, over)
    beside = abs(recall - over - 1) / math.sqrt(2)
    return {
        "precision": hits / units if units else math.nan,
        "recall": recall,
        "f1": 2 * hits / (phones + units),
        "over_segmentation": over,
        "r_value": 1 - (far + beside) / 2,
    }


def unit_borders(units: np.ndarray) -> np.ndarray:
    """Seconds at which the unit changes: (T,) -> (B,) float64, ascending, B < T."""
    units = np.asarray(units)
    return (np.flatnonzero(units[1:] != units[:-1]) + 1) * artifacts.FRAME_SHIFT_IN_S


def phone_borders(alignment: Iterable, end: float) -> np.ndarray:
    """Starts and ends of the items in seconds, each once, ascending, between 0 and `end` (both excluded)."""
    times = np.array([(item.start, item.start + item.duration) for item in alignment], dtype=np.float64).ravel()
    times = np.unique(np.round(times / _ROUNDING_IN_S).astype(np.int64)) * _ROUNDING_IN_S
    return times[(times > _ROUNDING_IN_S) & (times < end - _ROUNDING_IN_S)]


def hits(wanted: np.ndarray, found: np.ndarray, tolerance: float = TOLERANCE_IN_S) -> int:
    """The largest number of pairs of a wanted and a found border, each used once, at most `tolerance` seconds apart.

    Args:
        wanted, found: ascending, in seconds.
    """
    return int(_hits(np.asarray(wanted, np.float64), np.asarray(found, np.float64), tolerance + _ROUNDING_IN_S))


@njit(cache=True, nogil=True)
def _hits(wanted, found, tolerance):  # pragma: no cover - compiled
    # In order of time the first two that fit are a pair of some largest pairing, as all tolerances are equal.
    i, j, count = 0, 0, 0
    while i < len(wanted) and j < len(found):
        difference = wanted[i] - found[j]
        if abs(difference) <= tolerance:
            count += 1
            i += 1
            j += 1
        elif difference < 0:
            i += 1
        else:
            j += 1
    return count
