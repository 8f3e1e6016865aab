"""Mutual prediction of units and phones: cluster purity, phone purity, PNMI (HuBERT, arXiv 2106.07447, section IV-A).

Phones are labels every 10 ms. Units come every 20 ms and are repeated twice; the longer sequence is truncated. Each figure is a
ratio from (P, K) counts of frames; NaN without frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from spin.units.counts import LabelCounts
from spin.units.phones import LABELS_PER_UNIT, by_class, frame_labels

if TYPE_CHECKING:  # stage 2 measures PNMI without the rest of stage 3
    from spin.units.measure import Sample, Utterance

LOG_FLOOR = 1e-8  # inside both logarithms of the published PNMI; kept, so that figures agree to the last digit


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
    """The three figures over the utterances that have an alignment."""

    def __init__(self, sample: Sample):
        self.counts = JointCounts(sample.codebook_size)

    def add(self, utterance: Utterance) -> None:
        if utterance.alignment:
            labels = frame_labels(utterance.alignment, LABELS_PER_UNIT * len(utterance.units))
            self.counts.add(labels, utterance.units)

    def figures(self) -> dict[str, float]:
        counts = self.counts.matrix()
        return {"pnmi": pnmi(counts), "phone_purity": phone_purity(counts), "cluster_purity": cluster_purity(counts)}


def cluster_purity(counts: np.ndarray) -> float:
    """Share of frames whose unit is the commonest unit of their phone; 1 when every phone has one unit."""
    total = counts.sum()
    return float(counts.max(1).sum() / total) if total else float("nan")


def phone_purity(counts: np.ndarray) -> float:
    """Share of frames whose phone is the commonest phone of their unit: the accuracy of the best map from units to phones."""
    return cluster_purity(counts.T)


def pnmi(counts: np.ndarray) -> float:
    """Phone-normalized mutual information I(phone; unit) / H(phone): the share of the phone's entropy that the unit removes.

    A ratio in [0, 1], up to the 1e-8 that the published formula adds inside its logarithms. 0 when a single unit is used, and by
    definition 0 with a single phone (nothing is uncertain).
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
