"""How much units tell about speakers: normalised mutual information of units and speakers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from spin.units.checks import checked_units


class SpeakerCounts:
    """Counts of (speaker, unit) over frames, fed utterance by utterance; memory is speakers x units.

    Args:
        units: size of the inventory K.
    """

    def __init__(self, units: int):
        self.units = units
        self._counts: dict[str, np.ndarray] = {}

    def add(self, speaker: str, units: np.ndarray) -> None:
        """Counts one utterance: (T,) integers in [0, K).

        Raises:
            DataError: a unit outside [0, K).
        """
        units = checked_units(units, self.units)
        counts = np.bincount(units, minlength=self.units)
        self._counts[speaker] = self._counts.get(speaker, 0) + counts

    def merge(self, other: SpeakerCounts) -> None:
        """Adds the counts of another part (same K)."""
        for speaker, counts in other._counts.items():
            self._counts[speaker] = self._counts.get(speaker, 0) + counts

    def matrix(self, speakers: Sequence[str] | None = None) -> np.ndarray:
        """(S, K) int64 in the order of `speakers` (default: alphabetical)."""
        rows = [self._counts.get(name, np.zeros(self.units, np.int64)) for name in speakers or sorted(self._counts)]
        return np.stack(rows) if rows else np.zeros((0, self.units), np.int64)


def nmi(counts: np.ndarray) -> float:
    """Mutual information over the mean of the two entropies: 2 I(a; b) / (H(a) + H(b)).

    Args:
        counts: (A, B) frames.

    Returns:
        A ratio in [0, 1]: 0 for independence, 1 when each tells the other. 0 by definition when one of the two never varies
        (nothing can be told, or nothing tells). NaN for no frames at all. A small sample of independent ones gives a little more
        than 0, about (A - 1)(B - 1) / (frames x the sum of the two entropies in nats).
    """
    total = float(np.sum(counts))
    if not total:
        return math.nan
    joint = np.asarray(counts, dtype=np.float64) / total
    first, second = joint.sum(1), joint.sum(0)
    entropies = _entropy(first) + _entropy(second)
    if np.count_nonzero(first) < 2 or np.count_nonzero(second) < 2:
        return 0.0
    information = entropies - _entropy(joint.ravel())
    return float(min(1.0, max(0.0, 2 * information / entropies)))


def _entropy(shares: np.ndarray) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())
