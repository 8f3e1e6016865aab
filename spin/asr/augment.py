"""SpecAugment (Park et al. 2019, arXiv 1904.08779, without warping) on stored features, and utterances end to end.

SpecAugment is drawn from (seed, epoch, utterance id); what is put end to end depends on the batch alone.
"""

from __future__ import annotations

import numpy as np
import torch
from lhotse import CutSet, MonoCut, Recording
from lhotse.cut import MixedCut
from lhotse.dataset import CutConcatenate

from spin import artifacts
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


def rows_by_lhotse(lengths: list[int], gap: int) -> list[list[int]]:
    """Which utterances lhotse's CutConcatenate puts end to end: their numbers, row by row.

    It is given cuts of one sample a frame, so that it counts in frames.

    Args:
        lengths: frames of each utterance.
        gap: frames between two.
    """
    rate = round(1 / artifacts.FRAME_SHIFT_IN_S)
    cuts = []
    for number, frames in enumerate(lengths):
        recording = Recording(str(number), [], sampling_rate=rate, num_samples=frames, duration=frames / rate)
        cuts.append(MonoCut(str(number), 0.0, frames / rate, 0, recording=recording))
    rows = []
    for cut in CutConcatenate(gap=gap / rate)(CutSet.from_cuts(cuts)):
        joined = [track.cut for track in cut.tracks] if isinstance(cut, MixedCut) else [cut]
        rows.append([int(one.id) for one in joined if isinstance(one, MonoCut)])
    return rows


def concatenate(batch: Batch, fill: np.ndarray, gap: int = GAP_FRAMES) -> Batch:
    """Puts short utterances behind others where the longest leaves room: less padding, longer rows to learn from.

    lhotse's CutConcatenate says which go together. It joins the audio of cuts, and cannot join arrays that are fields of theirs:
    that is done here.

    Args:
        batch: the longest utterance first.
        fill: (D,) float32, or (L + 1, D), between two utterances: the training mean, which is zero after normalisation.
        gap: frames between two utterances.

    Returns:
        A batch of fewer rows; ids are joined by +, texts by a space.
    """
    longest = int(batch.lengths[0])
    rows = rows_by_lhotse(batch.lengths.tolist(), gap)
    used = [sum(int(batch.lengths[number]) + gap for number in row) - gap for row in rows]
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
