"""Frames by label and unit, and the normalized mutual information of units with speakers and with characters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from spin import artifacts
from spin.errors import DataError

if TYPE_CHECKING:
    from spin.units.measure import Sample, Utterance


def check_units(units: np.ndarray, codebook_size: int) -> np.ndarray:
    """(T,) integers as int64; raises DataError where one lies outside [0, codebook_size)."""
    units = np.asarray(units, dtype=np.int64)
    if units.size and not 0 <= int(units.min()) <= int(units.max()) < codebook_size:
        found, expected = f"values from {units.min()} to {units.max()}", f"integers from 0 to {codebook_size - 1}"
        raise DataError("units", found=found, expected=expected, cause="units of another codebook")
    return units


class LabelCounts:
    """Frames by (label, unit), counted utterance by utterance; memory is labels x codebook_size."""

    def __init__(self, codebook_size: int):
        self.codebook_size = codebook_size
        self._rows: dict[str, np.ndarray] = {}

    def add(self, labels: Sequence[str] | str, units: np.ndarray) -> None:
        """Counts one utterance: (T,) units and one label each, or one for all; DataError for a unit outside [0, K)."""
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
    """Mutual information over the mean of the two entropies, 2 I(a; b) / (H(a) + H(b)), of (A, B) counts of frames.

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
    if np.count_nonzero(first) < 2 or np.count_nonzero(second) < 2:
        return 0.0
    entropies = _entropy_in_nats(first) + _entropy_in_nats(second)
    information = entropies - _entropy_in_nats(joint.ravel())
    return float(min(1.0, max(0.0, 2 * information / entropies)))


def _entropy_in_nats(shares: np.ndarray) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


class SpeakerNmi:
    """What units tell about the speaker, over all utterances whose speaker is known."""

    def __init__(self, sample: Sample):
        self.counts = LabelCounts(sample.codebook_size)

    def add(self, utterance: Utterance) -> None:
        if utterance.speaker:
            self.counts.add(utterance.speaker, utterance.units)

    def figures(self) -> dict[str, float]:
        """speaker_nmi: 0 to 1; NaN without speakers."""
        return {"speaker_nmi": normalized_mutual_information(self.counts.matrix())}


class CharacterNmi:
    """What units and the spelling of the words tell about each other, over the utterances that have a word alignment.

    A proxy for the quality of a language model on units, among the best in arXiv 2410.24177 (DC-Spin). The text at hand does not
    define the alignment of characters, so this is ours: the letters of a word share its time equally, and frames outside all
    words do not count.
    """

    def __init__(self, sample: Sample):
        self.counts = LabelCounts(sample.codebook_size)

    def add(self, utterance: Utterance) -> None:
        labels = character_labels(utterance.words, len(utterance.units))
        inside = np.array([label != "" for label in labels], dtype=bool)
        if inside.any():
            self.counts.add([label for label in labels if label], np.asarray(utterance.units)[inside])

    def figures(self) -> dict[str, float]:
        """character_nmi: 0 to 1; NaN without word alignments."""
        return {"character_nmi": normalized_mutual_information(self.counts.matrix())}


def character_labels(words, frames: int) -> list[str]:
    """The character at the middle of each of `frames` frames of 20 ms; "" outside all words, items that do not overlap."""
    labels = [""] * frames
    middles = (np.arange(frames) + 0.5) * artifacts.FRAME_SHIFT_IN_S
    for word in words:
        first, last = np.searchsorted(middles, [word.start, word.start + word.duration])
        for frame in range(first, last) if word.symbol and word.duration > 0 else ():
            position = int((middles[frame] - word.start) / word.duration * len(word.symbol))
            labels[frame] = word.symbol[min(position, len(word.symbol) - 1)]
    return labels
