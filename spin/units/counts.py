"""Frames by label and unit, and what one tells about the other: purities and PNMI of phones, NMI of speakers and characters.

Phones are labels every 10 ms. Units come every 20 ms and are repeated twice; the longer sequence is truncated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from spin import artifacts
from spin.errors import DataError
from spin.units.units import LABELS_PER_UNIT, by_class, frame_labels

if TYPE_CHECKING:  # stage 2 measures PNMI without the rest of stage 3
    from spin.units.measure import EvaluationSet, Utterance

LOG_FLOOR = 1e-8  # inside both logarithms of the published PNMI; kept, so that figures agree to the last digit


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
        names, rows = np.unique(np.atleast_1d(np.asarray(labels, dtype=str)), return_inverse=True)
        table = np.bincount(rows * self.codebook_size + units, minlength=len(names) * self.codebook_size)
        for name, counts in zip(names.tolist(), table.reshape(len(names), self.codebook_size), strict=True):
            self._rows[name] = self._rows.get(name, 0) + counts

    @property
    def labels(self) -> list[str]:
        """The labels seen, in alphabetical order."""
        return sorted(self._rows)

    def matrix(self) -> np.ndarray:
        """(L, K) int64 in the order of self.labels."""
        return np.array([self._rows[label] for label in self.labels], np.int64).reshape(-1, self.codebook_size)


class JointCounts(LabelCounts):
    """Frames of 10 ms by (phone, unit)."""

    def add(self, phones: Sequence[str], units: np.ndarray) -> None:
        """Counts one utterance: labels every 10 ms, (T,) units every 20 ms; DataError for a unit outside [0, K)."""
        length = min(len(phones), LABELS_PER_UNIT * len(units))
        super().add(phones[:length], np.repeat(units, LABELS_PER_UNIT)[:length])

    @property
    def labels(self) -> list[str]:
        """The phones seen, by class."""
        return by_class(self._rows)


class Purity:
    """PNMI and purities over the utterances that have an alignment."""

    def __init__(self, sample: EvaluationSet):
        self.counts, self.unaligned = JointCounts(sample.codebook_size), 0

    def add(self, utterance: Utterance) -> None:
        if not utterance.alignment:
            self.unaligned += 1
        else:
            labels = frame_labels(utterance.alignment, LABELS_PER_UNIT * len(utterance.units))
            self.counts.add(labels, utterance.units)

    def compute(self) -> dict[str, float]:
        counts = self.counts.matrix()
        return {"pnmi": pnmi(counts), "phone_purity": phone_purity(counts), "cluster_purity": cluster_purity(counts)}


def cluster_purity(counts: np.ndarray) -> float:
    """Share of frames whose unit is the commonest unit of their phone; NaN without frames. Counts are (phones, K)."""
    total = counts.sum()
    return float(counts.max(1).sum() / total) if total else math.nan


def phone_purity(counts: np.ndarray) -> float:
    """Share of frames whose phone is the commonest phone of their unit: the accuracy of the best map from units to phones."""
    return cluster_purity(counts.T)


def pnmi(counts: np.ndarray) -> float:
    """Phone-normalised mutual information I(phone; unit) / H(phone): the share of the phone's entropy that the unit removes.

    A ratio in [0, 1], up to the 1e-8 that the published formula (HuBERT, arXiv 2106.07447, section IV-A) adds inside its
    logarithms. 0 when a single unit is used, and by definition 0 with a single phone (nothing is uncertain). NaN without frames.
    """
    total = counts.sum()
    if not total:
        return math.nan
    joint = counts / total
    phones, units = joint.sum(1, keepdims=True), joint.sum(0, keepdims=True)
    if np.count_nonzero(phones) < 2:
        return 0.0
    outer = np.matmul(phones, units)
    pointwise = np.log(np.divide(joint, outer, out=np.zeros_like(joint), where=outer > 0) + LOG_FLOOR)
    return float((joint * pointwise).sum() / -(phones * np.log(phones + LOG_FLOOR)).sum())


def normalized_mutual_information(counts: np.ndarray) -> float:
    """Mutual information over the mean of the two entropies, 2 I(a; b) / (H(a) + H(b)), of (A, B) counts of frames.

    A ratio in [0, 1]; by definition 0 when one of the two never varies; NaN without frames. A small sample of independent
    variables gives slightly more than 0, about (A - 1)(B - 1) / (frames x the sum of the two entropies in nats).
    """
    total = counts.sum()
    if not total:
        return math.nan
    joint = counts / total
    first, second = joint.sum(1), joint.sum(0)
    if np.count_nonzero(first) < 2 or np.count_nonzero(second) < 2:
        return 0.0
    entropies = entropy(first, np.log) + entropy(second, np.log)
    information = entropies - entropy(joint, np.log)
    return float(min(1.0, max(0.0, 2 * information / entropies)))


def entropy(shares: np.ndarray, logarithm: Callable = np.log2) -> float:
    """Entropy in bits, or nats with np.log, of shares that sum to 1; 0 without any."""
    shares = shares[shares > 0]
    return max(0.0, float(-(shares * logarithm(shares)).sum()))


class SpeakerNmi:
    """What units tell about the speaker, over all utterances whose speaker is known."""

    def __init__(self, sample: EvaluationSet):
        self.counts = LabelCounts(sample.codebook_size)

    def add(self, utterance: Utterance) -> None:
        if utterance.speaker:
            self.counts.add(utterance.speaker, utterance.units)

    def compute(self) -> dict[str, float]:
        return {"speaker_nmi": normalized_mutual_information(self.counts.matrix())}


class CharacterNmi:
    """What units and the spelling of the words tell about each other, over the utterances that have a word alignment.

    A proxy for the quality of a language model on units (arXiv 2410.24177). The alignment of characters is our own: the letters
    of a word share its time equally, and frames outside all words do not count.
    """

    def __init__(self, sample: EvaluationSet):
        self.counts = LabelCounts(sample.codebook_size)

    def add(self, utterance: Utterance) -> None:
        labels = np.array(character_labels(utterance.words, len(utterance.units)), dtype=str)
        self.counts.add(labels[labels != ""], utterance.units[labels != ""])

    def compute(self) -> dict[str, float]:
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
