"""Counts of labels (phones, speakers, characters) and units, and what two such variables tell about each other."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from spin.units.sample import check_units


class LabelCounts:
    """Frames by (label, unit), counted utterance by utterance; memory is labels x codebook_size.

    Args:
        codebook_size: K.
    """

    def __init__(self, codebook_size: int):
        self.codebook_size = codebook_size
        self._rows: dict[str, np.ndarray] = {}

    def add(self, labels: Sequence[str] | str, units: np.ndarray) -> None:
        """Counts one utterance.

        Args:
            labels: one per unit, or one for all.
            units: (T,) integers in [0, K).

        Raises:
            DataError: a unit outside [0, K).
        """
        units = check_units(units, self.codebook_size)
        names, rows = np.unique(np.asarray([labels] if isinstance(labels, str) else labels, dtype=str), return_inverse=True)
        table = np.bincount(rows * self.codebook_size + units, minlength=len(names) * self.codebook_size)
        for name, counts in zip(names.tolist(), table.reshape(len(names), self.codebook_size), strict=True):
            self._rows[name] = self._rows.get(name, 0) + counts

    @property
    def labels(self) -> list[str]:
        """The labels seen, in alphabetical order."""
        return sorted(self._rows)

    def matrix(self, labels: Sequence[str] | None = None) -> np.ndarray:
        """(L, K) int64 in the order of `labels` (default: self.labels); rows of zeros for labels never seen."""
        nothing = np.zeros(self.codebook_size, np.int64)
        rows = [self._rows.get(label, nothing) for label in (self.labels if labels is None else labels)]
        return np.stack(rows) if rows else np.zeros((0, self.codebook_size), np.int64)


def normalized_mutual_information(counts: np.ndarray) -> float:
    """Mutual information over the mean of the two entropies: 2 I(a; b) / (H(a) + H(b)).

    Args:
        counts: (A, B) frames.

    Returns:
        A ratio in [0, 1]: 0 for independence, 1 when each determines the other. 0 by definition when one of the two never
        varies. NaN without frames. A small sample of independent variables gives slightly more than 0, about (A - 1)(B - 1) /
        (frames x the sum of the two entropies in nats).
    """
    total = float(np.sum(counts))
    if not total:
        return math.nan
    joint = np.asarray(counts, dtype=np.float64) / total
    first, second = joint.sum(1), joint.sum(0)
    entropies = _entropy_in_nats(first) + _entropy_in_nats(second)
    if np.count_nonzero(first) < 2 or np.count_nonzero(second) < 2:
        return 0.0
    information = entropies - _entropy_in_nats(joint.ravel())
    return float(min(1.0, max(0.0, 2 * information / entropies)))


def _entropy_in_nats(shares: np.ndarray) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


def entropy(counts: np.ndarray) -> float:
    """Entropy in bits of the distribution that non-negative counts give; 0 when at most one of them is above 0."""
    counts = np.asarray(counts, dtype=np.float64)
    counts = counts[counts > 0]
    if not len(counts):
        return 0.0
    shares = counts / counts.sum()
    return max(0.0, float(-(shares * np.log2(shares)).sum()))
