"""Triphone ABX error, within and across speakers (ZeroSpeech 2021, arXiv 2011.11588, section 4; Schatz 2016).

Items A and X have one phone and B another, all in the same context of neighbouring phones. An error is d(A, X) > d(B, X); a tie
is half an error. Errors are averaged over the triples of a cell, then over the cells of an ordered pair of phones and a speaker
(that is over contexts, and across speakers over the speakers of X), then over speakers, then over pairs of phones. Chance is 50.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import njit

from spin.runtime.logs import get_logger
from spin.units.abx_design import Design, design, sample_utterances, triphones
from spin.units.dtw import group_distances, unit_length
from spin.units.measure import EvaluationSet, Utterance


class Abx:
    """ABX errors of features (angular distance) and of units (as one-hot vectors), over a sample of the aligned utterances.

    What is compared depends on the alignments alone, so every system is asked the same.
    """

    def __init__(self, sample: EvaluationSet):
        self.sample = sample
        self._speakers: dict[str, str] = {}  # of the aligned utterances

    def add(self, utterance: Utterance) -> None:
        if utterance.alignment:
            self._speakers[utterance.id] = utterance.speaker or ""

    def compute(self) -> dict[str, float]:
        """abx_within and abx_across of features, abx_units_within and abx_units_across, in percent; NaN without comparisons."""
        chosen = set(sample_utterances(self._speakers, self.sample.abx_max_utterances, self.sample.seed))
        utterances = {utterance.id: utterance for utterance in self.sample.read() if utterance.id in chosen}
        items = [
            item
            for utterance in utterances.values()
            for item in triphones(utterance.id, utterance.speaker or "", utterance.alignment, len(utterance.untruncated_units))
        ]
        plan = design(items, seed=self.sample.seed)
        text = "ABX: %d utterances, %d triphones; %d compared, at most %d per group; %d cells within, %d across speakers"
        sizes = (len(utterances), len(items), len(plan.items), plan.items_per_group, len(plan.within), len(plan.across))
        get_logger("units").info(text, *sizes)
        units = abx(plan, lambda name: utterances[name].untruncated_units, self.sample.threads)
        result = {"abx_units_within": units.within, "abx_units_across": units.across}
        if all(utterance.load_features is not None for utterance in utterances.values()):
            features = abx(plan, lambda name: utterances[name].load_features(), self.sample.threads)
            result |= {"abx_within": features.within, "abx_across": features.across}
        return result


@dataclass(frozen=True)
class AbxResult:
    """Errors in percent (NaN where nothing was comparable) and the numbers of cells behind them."""

    within: float
    across: float
    within_cells: int
    across_cells: int


def abx(plan: Design, load: Callable[[str], np.ndarray], threads: int = 1) -> AbxResult:
    """The two errors of one representation; they do not depend on the number of threads.

    `load`: utterance id -> (T, D) floats (angular distance) or (T,) integers (units, compared as one-hot vectors).
    """
    if not len(plan.items):
        return AbxResult(math.nan, math.nan, 0, 0)
    cells = np.concatenate([plan.within, plan.across])
    there, back, offsets = group_distances(*_gather(plan, load), plan.bounds, plan.pairs, threads)
    xa, xb = (_find(plan, cells[:, 2], cells[:, column]) for column in (0, 1))
    sizes = plan.bounds[:, 1] - plan.bounds[:, 0]
    errors = np.split(_cell_errors(cells, sizes, there, back, offsets, *xa, *xb), [len(plan.within)])
    within, across = (_collapse(plan, own, wrong) for own, wrong in zip((plan.within, plan.across), errors, strict=True))
    return AbxResult(100 * within, 100 * across, len(plan.within), len(plan.across))


def _gather(plan: Design, load: Callable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All frames of all needed utterances one after the other, and the place of each item in them."""
    offsets, parts, total = {}, [], 0
    for utterance in sorted({item.utterance for item in plan.items}):
        values = np.asarray(load(utterance))
        is_units = np.issubdtype(values.dtype, np.integer)
        parts.append(values.reshape(-1, 1).astype(np.int32) if is_units else unit_length(values))
        offsets[utterance] = total
        total += len(values)
    starts = np.array([offsets[item.utterance] + item.first for item in plan.items], dtype=np.int64)
    lengths = np.array([item.frames for item in plan.items], dtype=np.int64)
    return np.concatenate(parts), starts, lengths


def _find(plan: Design, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(number of the pair, whether x is its second group) for each pair of groups x, y."""
    count = len(plan.bounds)
    codes = plan.pairs[:, 0] * count + plan.pairs[:, 1]
    wanted = np.minimum(x, y) * count + np.maximum(x, y)
    return np.searchsorted(codes, wanted), x > y


@njit(cache=True)
def _cell_errors(cells, sizes, there, back, offsets, pair_a, flip_a, pair_b, flip_b):  # pragma: no cover - compiled
    errors = np.empty(len(cells))
    for cell in range(len(cells)):
        a, b, x = cells[cell]
        distances_a = back if flip_a[cell] else there
        distances_b = back if flip_b[cell] else there
        begin_a, begin_b = offsets[pair_a[cell]], offsets[pair_b[cell]]
        wrong, triples = 0.0, 0
        for i in range(sizes[x]):
            for j in range(sizes[a]):
                if x == a and i == j:
                    continue
                to_a = distances_a[begin_a + i * sizes[a] + j]
                for k in range(sizes[b]):
                    to_b = distances_b[begin_b + i * sizes[b] + k]
                    if to_a > to_b:
                        wrong += 1.0
                    elif to_a == to_b:
                        wrong += 0.5
                    triples += 1
        errors[cell] = wrong / triples
    return errors


def _collapse(plan: Design, cells: np.ndarray, errors: np.ndarray) -> float:
    """Means over cells of a (phone A, phone B, speaker), then speakers, then pairs of phones; NaN without cells."""
    if not len(cells):
        return math.nan
    keys = np.stack([plan.labels[cells[:, 0], 0], plan.labels[cells[:, 1], 0], plan.labels[cells[:, 0], 1]], axis=1)
    for width in (3, 2):
        keys, group = np.unique(keys[:, :width], axis=0, return_inverse=True)
        group = group.reshape(-1)
        errors = np.bincount(group, weights=errors) / np.bincount(group)
    return float(errors.mean())
