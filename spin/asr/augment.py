"""SpecAugment (Park et al. 2019, arXiv 1904.08779, without warping) on stored features, and utterances end to end.

SpecAugment is drawn from (seed, epoch, utterance id); what is put end to end depends on the batch alone.
"""

from __future__ import annotations

import numpy as np
import torch

from spin.asr.features import Batch
from spin.runtime import seeding

FRAMES_PER_TIME_MASK = 100  # one mask for each two seconds
MAX_TIME_MASK = 20  # frames, 0.4 s
DIMENSION_MASKS = 2
MAX_DIMENSION_MASK = 0.125  # of the dimensions
GAP_FRAMES = 10  # between two utterances of a row, 0.2 s


def spec_augment(features: np.ndarray, fill: np.ndarray, seed: int, epoch: int, utterance_id: str) -> np.ndarray:
    """Replaces spans of frames and bands of dimensions by `fill`, the training mean, which is zero after normalisation.

    Args:
        features: (T, D) float32, changed in place; or (T, L + 1, D), where all layers have the same masks.
        fill: (D,) float32, or (L + 1, D).
        seed: of the training.
        epoch: number of the pass over the training parts.
        utterance_id: of the cut.

    Returns:
        `features`.
    """
    random = seeding.generator("spec augment", seed, epoch, utterance_id)
    frames, dimensions = features.shape[0], features.shape[-1]
    for _ in range(-(-frames // FRAMES_PER_TIME_MASK)):
        start, stop = _span(random, frames, min(MAX_TIME_MASK, frames // 4))
        features[start:stop] = fill
    for _ in range(DIMENSION_MASKS):
        start, stop = _span(random, dimensions, int(dimensions * MAX_DIMENSION_MASK))
        features[..., start:stop] = fill[..., start:stop]
    return features


def _span(random: np.random.Generator, size: int, longest: int) -> tuple[int, int]:
    """[start, stop) inside [0, size), of a length drawn evenly from 0 to `longest`."""
    length = int(random.integers(longest + 1))
    start = int(random.integers(size - length + 1))
    return start, start + length


def concatenate(batch: Batch, fill: np.ndarray, gap: int = GAP_FRAMES) -> Batch:
    """Puts short utterances behind others where the longest leaves room, as lhotse's CutConcatenate does with cuts.

    Every utterance goes, the longest first, to the first row that still has room for it and a gap: so there is less padding, and
    the recogniser learns from longer rows.

    Args:
        batch: the longest utterance first.
        fill: (D,) float32, or (L + 1, D), between two utterances: the training mean, which is zero after normalisation.
        gap: frames between two utterances.

    Returns:
        A batch of fewer rows; ids are joined by +, texts by a space.
    """
    longest = int(batch.lengths[0])
    rows: list[list[int]] = []
    used: list[int] = []
    for number, length in enumerate(batch.lengths.tolist()):
        place = next((row for row, taken in enumerate(used) if taken + gap + length <= longest), None)
        if place is None:
            rows.append([number])
            used.append(length)
        else:
            rows[place].append(number)
            used[place] += gap + length
    order = sorted(range(len(rows)), key=lambda row: (-used[row], row))
    features = torch.zeros(len(rows), longest, *batch.features.shape[2:])
    between = torch.from_numpy(np.asarray(fill, dtype=np.float32))
    for target, row in enumerate(order):
        position = 0
        for number in rows[row]:
            if position:
                features[target, position : position + gap] = between
                position += gap
            length = int(batch.lengths[number])
            features[target, position : position + length] = batch.features[number, :length]
            position += length
    joined = [[rows[row], used[row]] for row in order]
    return Batch(
        ["+".join(batch.ids[number] for number in members) for members, _ in joined],
        features,
        torch.tensor([length for _, length in joined]),
        [" ".join(batch.texts[number] for number in members) for members, _ in joined],
    )
