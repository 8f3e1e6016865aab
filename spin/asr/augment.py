"""SpecAugment (Park et al. 2019, arXiv 1904.08779, without warping) on stored features, and its time masks on units."""

from __future__ import annotations

import numpy as np

from spin.runtime import seeding

FRAMES_PER_TIME_MASK = 100  # one mask per two seconds
MAX_TIME_MASK = 20  # frames, 0.4 s
DIMENSION_MASKS = 2
MAX_DIMENSION_MASK = 0.125  # share of the dimensions


def spec_augment(inputs: np.ndarray, fill: np.ndarray | int, seed: int, epoch: int, utterance_id: str) -> np.ndarray:
    """Replaces spans of frames, and of features also bands of dimensions.

    The draws depend on (seed, epoch, utterance id).

    Args:
        inputs: (T, D) or (T, L + 1, D) float32, where all layers get the same masks, or (T,) int64 symbols; changed in place.
        fill: the training mean, (D,) or (L + 1, D), which is zero after normalization; or the symbol of masked units.
        seed: random seed of the training.
        epoch: number of the pass over the training parts.
        utterance_id: id of the cut.

    Returns:
        `inputs`.
    """
    random = seeding.generator("spec augment", seed, epoch, utterance_id)
    frames = len(inputs)
    for _ in range(-(-frames // FRAMES_PER_TIME_MASK)):
        start, stop = _draw_span(random, frames, min(MAX_TIME_MASK, frames // 4))
        inputs[start:stop] = fill
    if inputs.ndim == 1:
        return inputs
    dimensions = inputs.shape[-1]
    for _ in range(DIMENSION_MASKS):
        start, stop = _draw_span(random, dimensions, int(dimensions * MAX_DIMENSION_MASK))
        inputs[..., start:stop] = fill[..., start:stop]
    return inputs


def _draw_span(random: np.random.Generator, size: int, longest: int) -> tuple[int, int]:
    """[start, stop) inside [0, size), of a length drawn evenly from 0 to `longest`."""
    length = int(random.integers(longest + 1))
    start = int(random.integers(size - length + 1))
    return start, start + length
