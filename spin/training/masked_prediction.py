"""Masked prediction of cluster labels (HuBERT: Hsu et al. 2021, arXiv 2106.07447, sections II-B and III-C).

Legend: B utterances, T frames, D features, K clusters.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

TEMPERATURE = 0.1  # of the cosine similarities, as in HuBERT


def draw_mask(random: np.random.Generator, frames: int, probability: float, length: int) -> np.ndarray:
    """(T,) bool: spans of `length` frames, each frame being a span's start with `probability`; at least one span.

    Spans may overlap, so about 1 - (1 - probability) ** length of the frames are masked.
    """
    starts = np.flatnonzero(random.random(frames) < probability)
    if len(starts) == 0:
        starts = np.array([int(random.integers(frames))])
    mask = np.zeros(frames, dtype=bool)
    covered = starts[:, None] + np.arange(min(length, frames))[None, :]
    mask[covered[covered < frames]] = True
    return mask


class MaskedPredictor(nn.Module):
    """An encoder with a mask embedding and a cosine classifier over cluster embeddings.

    Args:
        encoder: spin.models.encoder.Encoder.
        clusters: K.
        dim: of the space in which frames and clusters are compared.
    """

    def __init__(self, encoder: nn.Module, clusters: int, dim: int = 256):
        super().__init__()
        self.encoder = encoder
        self.mask_embedding = nn.Parameter(torch.empty(encoder.shape.dim).uniform_())
        self.projection = nn.Linear(encoder.shape.dim, dim)
        self.clusters = nn.Parameter(torch.empty(clusters, dim).normal_(0.0, 1.0))

    def forward(self, waveforms: Tensor, mask: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and accuracy over masked frames.

        Args:
            waveforms: (B, S) float32, all of one length (no padding).
            mask: (B, T) bool, True frames are hidden from the encoder and predicted.
            labels: (B, T) int64 cluster numbers.

        Returns:
            loss: scalar, mean cross-entropy over masked frames.
            correct: scalar, share of masked frames whose cluster is predicted right; no gradient.
        """
        lengths = torch.full((waveforms.shape[0],), waveforms.shape[1], dtype=torch.int64)
        features, frame_lengths = self.encoder.local_features(waveforms, lengths)
        features = torch.where(mask[..., None], self.mask_embedding.to(features.dtype), features)
        hidden = self.encoder.contextualise(features, frame_lengths)[-1][mask]
        frames = F.normalize(self.projection(hidden).float(), dim=-1)
        logits = frames @ F.normalize(self.clusters.float(), dim=-1).T / TEMPERATURE
        targets = labels[mask]
        return F.cross_entropy(logits, targets), (logits.detach().argmax(-1) == targets).float().mean()
