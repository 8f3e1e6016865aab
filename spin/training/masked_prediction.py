"""Masked prediction of cluster labels (HuBERT: Hsu et al. 2021, arXiv 2106.07447, sections II-B and III-C).

Legend: B utterances, S samples, T frames, D features, K clusters.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spin.models.encoder import Encoder
from spin.objectives import NO_LABEL

TEMPERATURE = 0.1  # of the cosine similarities, as in HuBERT
UNMASKED_WEIGHT = 0.5  # of the loss on frames that are not masked (HuBERT's alpha = 1 is 0 here); it shortens the first plateau
MASK_PROBABILITY, MASK_LENGTH = 0.08, 10


def draw_mask(
    random: np.random.Generator, frames: int, probability: float = MASK_PROBABILITY, length: int = MASK_LENGTH
) -> np.ndarray:
    """(T,) bool: spans of `length` frames, each frame being the start of a span with `probability`; at least one span.

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
        encoder: encoder of width D.
        clusters: K.
        unmasked_weight: weight of the loss on frames that are not masked.
        dim: width of the space in which frames and clusters are compared.
    """

    def __init__(self, encoder: Encoder, clusters: int, unmasked_weight: float = UNMASKED_WEIGHT, dim: int = 256):
        super().__init__()
        self.encoder, self.unmasked_weight = encoder, unmasked_weight
        self.mask_embedding = nn.Parameter(torch.empty(encoder.shape.dim).uniform_())
        self.projection = nn.Linear(encoder.shape.dim, dim)
        self.clusters = nn.Parameter(torch.empty(clusters, dim).normal_(0.0, 1.0))

    def forward(self, waveforms: Tensor, lengths: Tensor, mask: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and accuracy over masked frames.

        Args:
            waveforms: (B, S) float32, zeros beyond an utterance's end.
            lengths: (B,) int64 samples.
            mask: (B, T) bool; True frames are hidden from the encoder and predicted.
            labels: (B, T) int64 clusters; frames with NO_LABEL, as in padding, count in no loss.

        Returns:
            loss: scalar, mean cross-entropy over masked frames, plus unmasked_weight times that over the others.
            correct: scalar, share of masked frames whose cluster is predicted correctly; no graph.
        """
        features, frame_lengths = self.encoder.local_features(waveforms, lengths)
        features = torch.where(mask[..., None], self.mask_embedding.to(features.dtype), features)
        logits = self.compare(self.encoder.contextualise(features, frame_lengths)[-1])
        hidden, seen = torch.where(mask, labels, NO_LABEL), torch.where(mask, NO_LABEL, labels)
        loss = _mean_entropy(logits, hidden) + self.unmasked_weight * _mean_entropy(logits, seen)
        return loss, (logits.detach().argmax(-1) == hidden).sum() / (hidden != NO_LABEL).sum().clamp(min=1)

    def compare(self, hidden: Tensor) -> Tensor:
        """(..., D) frames -> (..., K) cosines over the temperature, in float32."""
        frames = F.normalize(self.projection(hidden).float(), dim=-1)
        return frames @ F.normalize(self.clusters.float(), dim=-1).T / TEMPERATURE


def _mean_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy in nats of (..., K) logits over the labelled frames; 0 without any."""
    total = F.cross_entropy(logits.flatten(0, -2).float(), labels.flatten(), ignore_index=NO_LABEL, reduction="sum")
    return total / (labels != NO_LABEL).sum().clamp(min=1)
