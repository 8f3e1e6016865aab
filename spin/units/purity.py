"""How well units and phones tell each other: cluster purity, phone purity, PNMI (HuBERT, arXiv 2106.07447, section IV-A).

Phones are labels every 10 ms, units every 20 ms and therefore repeated twice; the longer of the two is cut to the shorter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spin.corpus.alignment import plain_phone
from spin.units.checks import checked_units
from spin.units.phones import LABELS_A_UNIT, by_class

LOG_FLOOR = 1e-8  # inside both logarithms of the published PNMI; kept, so that figures agree to the last digit


class JointCounts:
    """Counts of (phone, unit) over frames of 10 ms, fed utterance by utterance; memory is phones x units.

    Args:
        units: size of the unit inventory K.
        keep_stress: phones are counted as they are named; else AH0 and AH1 are one phone, and sil, sp and the like are SIL (what
            the official validation does, and what stage 0's alignments are already).
    """

    def __init__(self, units: int, keep_stress: bool = True):
        self.units = units
        self.keep_stress = keep_stress
        self._index: dict[str, int] = {}
        self._counts = np.zeros((0, units), dtype=np.int64)
        self.utterances = 0

    def add(self, phones: Sequence[str], units: np.ndarray, first_frames: int | None = None) -> None:
        """Counts one utterance.

        Args:
            phones: labels every 10 ms.
            units: (T,) integers in [0, K), every 20 ms.
            first_frames: use only that many 10 ms labels (1,000: the first 10 seconds); None: all.

        Raises:
            DataError: a unit outside [0, K).
        """
        units = checked_units(units, self.units)
        length = min(len(phones), LABELS_A_UNIT * len(units))
        length = length if first_frames is None else min(length, first_frames)
        row = {phone: self._row(phone) for phone in dict.fromkeys(phones[:length])}
        rows = np.fromiter(map(row.__getitem__, phones[:length]), dtype=np.int64, count=length)
        columns = np.repeat(units, LABELS_A_UNIT)[:length].astype(np.int64)
        size = len(self._index)
        if size > len(self._counts):
            self._counts = np.concatenate([self._counts, np.zeros((size - len(self._counts), self.units), np.int64)])
        self._counts += np.bincount(rows * self.units + columns, minlength=size * self.units).reshape(size, self.units)
        self.utterances += 1

    def _row(self, phone: str) -> int:
        return self._index.setdefault(phone if self.keep_stress else plain_phone(phone), len(self._index))

    def merge(self, other: JointCounts) -> None:
        """Adds the counts of another part (same K)."""
        for phone in other.phones:
            row = self._row(phone)
            if row == len(self._counts):
                self._counts = np.concatenate([self._counts, np.zeros((1, self.units), np.int64)])
            self._counts[row] += other._counts[other._index[phone]]
        self.utterances += other.utterances

    @property
    def phones(self) -> list[str]:
        """The phones seen, by class."""
        return by_class(self._index)

    def matrix(self, phones: Sequence[str] | None = None) -> np.ndarray:
        """(P, K) int64 in the order of `phones` (default: self.phones); rows of zeros for phones never seen."""
        phones = self.phones if phones is None else phones
        rows = [self._counts[self._index[p]] if p in self._index else np.zeros(self.units, np.int64) for p in phones]
        return np.stack(rows) if rows else np.zeros((0, self.units), np.int64)


def cluster_purity(counts: np.ndarray) -> float:
    """Share of frames whose unit is the commonest unit of their phone.

    Args:
        counts: (P, K) frames.

    Returns:
        A ratio in (0, 1]; 1 when every phone has one unit. NaN for no frames at all.
    """
    total = counts.sum()
    return float(counts.max(1).sum() / total) if total else float("nan")


def phone_purity(counts: np.ndarray) -> float:
    """Share of frames whose phone is the commonest phone of their unit: the accuracy of the best unit -> phone table.

    Args:
        counts: (P, K) frames.

    Returns:
        A ratio in (0, 1]; 1 when every unit has one phone (trivially with a single phone). NaN for no frames at all.
    """
    total = counts.sum()
    return float(counts.max(0).sum() / total) if total else float("nan")


def pnmi(counts: np.ndarray) -> float:
    """Phone-normalised mutual information I(phone; unit) / H(phone): the share of the phone that the unit tells.

    Args:
        counts: (P, K) frames.

    Returns:
        A ratio in [0, 1], up to the 1e-8 that the published formula adds inside its logarithms. 0 when a single unit is used,
        and by definition 0 when there is a single phone (nothing is uncertain). NaN for no frames at all.
    """
    total = counts.sum()
    if not total:
        return float("nan")
    joint = counts / total
    phones, units = joint.sum(1, keepdims=True), joint.sum(0, keepdims=True)
    if np.count_nonzero(phones) < 2:
        return 0.0
    outer = np.matmul(phones, units)
    pointwise = np.log(np.divide(joint, outer, out=np.zeros_like(joint), where=outer > 0) + LOG_FLOOR)
    return float((joint * pointwise).sum() / -(phones * np.log(phones + LOG_FLOOR)).sum())
