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
        unmasked_weight: weight of the loss on frames that are not masked (HuBERT's alpha, section II-B: alpha = 1 is 0 here).
        dim: of the space in which frames and clusters are compared.
    """

    def __init__(self, encoder: nn.Module, clusters: int, unmasked_weight: float = 0.0, dim: int = 256):
        super().__init__()
        self.encoder, self.unmasked_weight = encoder, unmasked_weight
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
            loss: scalar, mean cross-entropy over masked frames, plus unmasked_weight times that over the others.
            correct: scalar, share of masked frames whose cluster is predicted right; no gradient.
        """
        lengths = torch.full((waveforms.shape[0],), waveforms.shape[1], dtype=torch.int64)
        features, frame_lengths = self.encoder.local_features(waveforms, lengths)
        features = torch.where(mask[..., None], self.mask_embedding.to(features.dtype), features)
        hidden = self.encoder.contextualise(features, frame_lengths)[-1]
        logits = self.logits(hidden[mask])
        loss = F.cross_entropy(logits, labels[mask])
        if self.unmasked_weight > 0 and not bool(mask.all()):
            loss = loss + self.unmasked_weight * F.cross_entropy(self.logits(hidden[~mask]), labels[~mask])
        return loss, (logits.detach().argmax(-1) == labels[mask]).float().mean()

    def logits(self, hidden: Tensor) -> Tensor:
        """(N, D) frames -> (N, K) cosines over the temperature, in float32."""
        frames = F.normalize(self.projection(hidden).float(), dim=-1)
        return frames @ F.normalize(self.clusters.float(), dim=-1).T / TEMPERATURE
