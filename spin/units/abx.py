"""Triphone ABX error, within and across speakers (ZeroSpeech 2021, arXiv 2011.11588, section 4; Schatz 2016).

For items A and X of one phone and B of another, all in the same context of neighbouring phones, an error is d(A, X) > d(B, X),
half an error a tie. Errors are averaged over the triples of a cell, then over the cells of an ordered pair of phones and a
speaker (that is over contexts, and across speakers over the speakers of X), then over speakers, then over pairs of phones. 50 %
is chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import njit

from spin.units.abx_design import Design, group_pairs
from spin.units.dtw import group_distances, unit_length


@dataclass(frozen=True)
class AbxResult:
    """Errors in percent, NaN where there was nothing to compare, and how many cells they come from."""

    within: float
    across: float
    within_cells: int
    across_cells: int


def abx(design: Design, load: Callable[[str], np.ndarray], threads: int = 1) -> AbxResult:
    """The two errors of one representation.

    Args:
        design: what to compare.
        load: utterance id -> (T, D) floats (angular distance) or (T,) integers (units, compared as one-hot vectors); every
            utterance is loaded once, in sorted order.
        threads: the result does not depend on it.
    """
    if not len(design.items):
        return AbxResult(math.nan, math.nan, 0, 0)
    frames, starts, lengths = _gather(design, load)
    cells = np.concatenate([design.within, design.across])
    pairs = group_pairs(cells, len(design.bounds))
    there, back, offsets = group_distances(frames, starts, lengths, design.bounds, pairs, threads)
    xa, xb = (
        _find(pairs, cells[:, 2], cells[:, 0], len(design.bounds)),
        _find(pairs, cells[:, 2], cells[:, 1], len(design.bounds)),
    )
    sizes = design.bounds[:, 1] - design.bounds[:, 0]
    errors = _cell_errors(cells, sizes, there, back, offsets, *xa, *xb)
    split = len(design.within)
    return AbxResult(
        within=100 * _collapse(design, design.within, errors[:split]),
        across=100 * _collapse(design, design.across, errors[split:]),
        within_cells=split,
        across_cells=len(design.across),
    )


def _gather(design: Design, load: Callable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All frames of all needed utterances one after the other, and where each item lies in them."""
    offsets, parts, total = {}, [], 0
    for utterance in design.utterances:
        values = np.asarray(load(utterance))
        if np.issubdtype(values.dtype, np.integer):
            parts.append(values.reshape(-1, 1).astype(np.int32))
        else:
            parts.append(unit_length(values))
        offsets[utterance] = total
        total += len(values)
    starts = np.array([offsets[item.utterance] + item.first for item in design.items], dtype=np.int64)
    lengths = np.array([item.frames for item in design.items], dtype=np.int64)
    return np.concatenate(parts), starts, lengths


def _find(pairs: np.ndarray, x: np.ndarray, y: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(number of the pair, whether x is its second group) for each pair of groups x, y."""
    codes = pairs[:, 0] * count + pairs[:, 1]
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


def _collapse(design: Design, cells: np.ndarray, errors: np.ndarray) -> float:
    """Means over cells of a (phone A, phone B, speaker), then speakers, then pairs of phones; NaN without cells."""
    if not len(cells):
        return math.nan
    keys = np.stack([design.labels[cells[:, 0], 0], design.labels[cells[:, 1], 0], design.labels[cells[:, 0], 1]], axis=1)
    for width in (3, 2):
        keys, group = np.unique(keys[:, :width], axis=0, return_inverse=True)
        group = group.reshape(-1)
        errors = np.bincount(group, weights=errors) / np.bincount(group)
    return float(errors.mean())
