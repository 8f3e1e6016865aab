"""SpecAugment (Park et al. 2019, arXiv 1904.08779, without warping) on stored features.

Drawn from (seed, epoch, utterance id).
"""

from __future__ import annotations

import numpy as np

from spin.runtime import seeding

FRAMES_PER_TIME_MASK = 100  # one mask for each two seconds
MAX_TIME_MASK = 20  # frames, 0.4 s
DIMENSION_MASKS = 2
MAX_DIMENSION_MASK = 0.125  # of the dimensions


def spec_augment(features: np.ndarray, fill: np.ndarray, seed: int, epoch: int, utterance_id: str) -> np.ndarray:
    """Replaces spans of frames and bands of dimensions by `fill`, the training mean, which is zero after normalisation.

    Args:
        features: (T, D) float32, changed in place.
        fill: (D,) float32.
        seed: of the training.
        epoch: number of the pass over the training parts.
        utterance_id: of the cut.

    Returns:
        `features`.
    """
    random = seeding.generator("spec augment", seed, epoch, utterance_id)
    frames, dimensions = features.shape
    for _ in range(-(-frames // FRAMES_PER_TIME_MASK)):
        start, stop = _span(random, frames, min(MAX_TIME_MASK, frames // 4))
        features[start:stop] = fill
    for _ in range(DIMENSION_MASKS):
        start, stop = _span(random, dimensions, int(dimensions * MAX_DIMENSION_MASK))
        features[:, start:stop] = fill[start:stop]
    return features


def _span(random: np.random.Generator, size: int, longest: int) -> tuple[int, int]:
    """[start, stop) inside [0, size), of a length drawn evenly from 0 to `longest`."""
    length = int(random.integers(longest + 1))
    start = int(random.integers(size - length + 1))
    return start, start + length
