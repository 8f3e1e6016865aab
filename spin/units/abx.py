"""Triphone ABX error, within and across speakers (ZeroSpeech 2021, arXiv 2011.11588, section 4; Schatz 2016).

Items A and X have one phone and B another, all in the same context of neighbouring phones. An error is d(A, X) > d(B, X); a tie
is half an error. Errors are averaged over the triples of a cell, then over the cells of an ordered pair of phones and a speaker
(that is over contexts, and across speakers over the speakers of X), then over speakers, then over pairs of phones. Chance is 50.

Distance of two items (Schatz et al. 2013, Interspeech): the cheapest monotonic alignment of their frames with steps (1, 0),
(0, 1) and (1, 1), summed over the path and divided by the number of its points. Where several paths are equally cheap, the path
traced back prefers the diagonal, then the step in the second item, as in the challenge's code. Frames are compared by the angle
between them over pi (0 to 1), or, for units, as if they were one-hot vectors: 0 when equal, else 0.5.
"""

import concurrent.futures
import math
from collections.abc import Callable

import numpy as np
from numba import njit

from spin.units.abx_design import Design, design, sample_utterances, triphones
from spin.units.measure import EvaluationSet, Utterance

PAIRS_PER_TASK = 64
SIMD = {"reassoc", "contract", "nsz"}  # lets the compiler sum a dot product in parallel lanes; order fixed at compile time


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
        within, across = abx(plan, lambda name: utterances[name].untruncated_units, self.sample.threads)
        result = {"abx_units_within": within, "abx_units_across": across}
        if all(utterance.load_features is not None for utterance in utterances.values()):
            within, across = abx(plan, lambda name: utterances[name].load_features(), self.sample.threads)
            result |= {"abx_within": within, "abx_across": across}
        return result


def abx(plan: Design, load: Callable[[str], np.ndarray], threads: int = 1) -> tuple[float, float]:
    """Errors within and across speakers in percent, NaN without comparisons; they do not depend on the number of threads.

    `load`: utterance id -> (T, D) floats (angular distance) or (T,) integers (units).
    """
    if not len(plan.items):
        return math.nan, math.nan
    cells = np.concatenate([plan.within, plan.across])
    there, back, offsets = group_distances(*_gather(plan, load), plan.bounds, plan.pairs, threads)
    sizes, (xa, xb), count = plan.bounds[:, 1] - plan.bounds[:, 0], plan.places, len(plan.within)
    errors = _cell_errors(cells, sizes, there, back, offsets, xa, xb)
    return 100 * _collapse(plan, plan.within, errors[:count]), 100 * _collapse(plan, plan.across, errors[count:])


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


@njit(cache=True)
def _cell_errors(cells, sizes, there, back, offsets, xa, xb):  # pragma: no cover - compiled
    errors = np.empty(len(cells))
    for cell in range(len(cells)):
        a, b, x = cells[cell]
        distances_a = back if x > a else there
        distances_b = back if x > b else there
        begin_a, begin_b = offsets[xa[cell]], offsets[xb[cell]]
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


def unit_length(features: np.ndarray) -> np.ndarray:
    """(N, D) -> float32 rows of norm 1; rows of zeros stay zero, at distance 0.5 from every frame."""
    features = np.ascontiguousarray(features, dtype=np.float32)
    norms = np.sqrt(np.einsum("nd,nd->n", features, features, dtype=np.float64))
    return (features / np.maximum(norms, 1e-12)[:, None]).astype(np.float32)


@njit(nogil=True, cache=True, fastmath=SIMD)
def _dot(a, b):  # pragma: no cover - compiled
    total = np.float32(0.0)
    for index in range(a.shape[0]):
        total += a[index] * b[index]
    return total


@njit(nogil=True, cache=True)
def _angles(x, y, cost):  # pragma: no cover - compiled
    for i in range(x.shape[0]):
        for j in range(y.shape[0]):
            cosine = min(1.0, max(-1.0, _dot(x[i], y[j])))
            cost[i, j] = math.acos(cosine) / math.pi


@njit(nogil=True, cache=True)
def _mismatches(x, y, cost):  # pragma: no cover - compiled
    for i in range(x.shape[0]):
        for j in range(y.shape[0]):
            cost[i, j] = 0.0 if x[i, 0] == y[j, 0] else 0.5


@njit(nogil=True, cache=True)
def _accumulate(cost, n, m):  # pragma: no cover - compiled
    for i in range(1, n):
        cost[i, 0] += cost[i - 1, 0]
    for j in range(1, m):
        cost[0, j] += cost[0, j - 1]
    for i in range(1, n):
        for j in range(1, m):
            cost[i, j] += min(cost[i - 1, j - 1], min(cost[i - 1, j], cost[i, j - 1]))


@njit(nogil=True, cache=True)
def _path_points(cost, n, m, second_first):  # pragma: no cover - compiled
    """Points of the path traced back; `second_first`: of two equal straight steps take the one in the second item."""
    i, j, points = n - 1, m - 1, 1
    while i > 0 and j > 0:
        diagonal, up, left = cost[i - 1, j - 1], cost[i - 1, j], cost[i, j - 1]
        if diagonal <= left and diagonal <= up:
            i -= 1
            j -= 1
        elif left < up or (second_first and left == up):
            j -= 1
        else:
            i -= 1
        points += 1
    return points + i + j


@njit(nogil=True, cache=True)
def _measure_pairs(frames, is_units, starts, lengths, bounds, pairs, offsets, first, last, there, back):  # pragma: no cover
    """Distances of the items i of group g and j of group h, for pairs [first, last): from i to j into `there`, else `back`.

    Both orders share one cost matrix; they differ only in which of several equally cheap paths is counted.
    """
    for pair in range(first, last):
        g0, g1 = bounds[pairs[pair, 0]]
        h0, h1 = bounds[pairs[pair, 1]]
        scratch = np.empty((lengths[g0:g1].max(), lengths[h0:h1].max()))
        for i in range(g0, g1):
            for j in range(h0, h1):
                n, m = lengths[i], lengths[j]
                x, y = frames[starts[i] : starts[i] + n], frames[starts[j] : starts[j] + m]
                if is_units:
                    _mismatches(x, y, scratch)
                else:
                    _angles(x, y, scratch)
                _accumulate(scratch, n, m)
                total = scratch[n - 1, m - 1]
                there[offsets[pair] + (i - g0) * (h1 - h0) + j - h0] = total / _path_points(scratch, n, m, True)
                back[offsets[pair] + (j - h0) * (g1 - g0) + i - g0] = total / _path_points(scratch, n, m, False)


def group_distances(
    frames: np.ndarray, starts: np.ndarray, lengths: np.ndarray, bounds: np.ndarray, pairs: np.ndarray, threads: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All distances between the items of (P, 2) pairs of groups (g, h); they do not depend on the number of threads.

    Items are runs of rows of frames, (N, D) float32 of unit length (angular distance) or (N, 1) integers (units): (I,) first row
    and number of rows, at least 1. `bounds` are (G, 2) first and one past the last item of each group. Returns flat float32,
    block after block: (|g|, |h|) d(x in g, y in h), and (|h|, |g|) d(x in h, y in g); and (P + 1,) block starts.
    """
    sizes = (bounds[:, 1] - bounds[:, 0])[pairs].prod(1)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    there, back = np.empty(offsets[-1], np.float32), np.empty(offsets[-1], np.float32)
    is_units = np.issubdtype(frames.dtype, np.integer)
    frames = np.ascontiguousarray(frames, dtype=np.int32 if is_units else np.float32)

    def work(first: int) -> None:
        last = min(first + PAIRS_PER_TASK, len(pairs))
        _measure_pairs(frames, is_units, starts, lengths, bounds, pairs, offsets, first, last, there, back)

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(0, len(pairs), PAIRS_PER_TASK)))
    return there, back, offsets
