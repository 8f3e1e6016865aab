"""The Spin objective: each view predicts the other view's Sinkhorn targets (Chang, Liu, Glass, Interspeech 2023, section 2).

Legend: N valid frames of one view on this rank, D features, K prototypes (codebook rows). Both views have the same frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from spin.config import SpinConfig
from spin.training import ranks


@dataclass(frozen=True)
class SwappedPrediction:
    """What one batch gave. Sums over ranks of `loss` and of `statistics` are those of the whole batch.

    Attributes:
        loss: scalar with graph: this rank's part of the loss of the whole batch.
        targets: (2, N, K) float32, rows sum to 1, no graph.
        statistics: (2 + 2 K,) float64 or None: frames of both views, agreeing frames, frames of each code, summed probabilities.
    """

    loss: Tensor
    targets: Tensor
    statistics: Tensor | None = None


def swapped_prediction(
    view1: Tensor,
    view2: Tensor,
    codebook: Tensor,
    *,
    temperature: float = 0.1,
    epsilon: float = 0.02,
    iterations: int = 3,
    with_statistics: bool = False,
) -> SwappedPrediction:
    """-1/2 [mean_b sum_k q1 log p2 + mean_b sum_k q2 log p1], means over the valid frames of all ranks.

    Args:
        view1, view2: (N, D) projections of the valid frames, any float type; brought to unit norm here. N may be 0 on some ranks.
        codebook: (K, D), rows of unit norm.
        temperature: of p = softmax(z V^T / temperature).
        epsilon, iterations: see sinkhorn.
        with_statistics: also count agreement and the use of codes.
    """
    with torch.autocast(view1.device.type, enabled=False):
        projections = F.normalize(torch.stack([view1, view2]).float(), dim=-1)
        scores = projections @ codebook.float().T
        targets = sinkhorn(scores.detach(), epsilon, iterations)
        log_probabilities = F.log_softmax(scores / temperature, dim=-1)
        frames = ranks.total(scores.new_full((), scores.shape[1]))
        loss = -0.5 * (targets.flip(0) * log_probabilities).sum() / frames
        statistics = _statistics(scores.detach(), targets, log_probabilities.detach()) if with_statistics else None
    return SwappedPrediction(loss, targets, statistics)


def configured_prediction(settings: SpinConfig, projections: Tensor, codebook: Tensor, **wanted: bool) -> SwappedPrediction:
    """swapped_prediction of (2, N, D) projections with the temperature, epsilon and iterations of a configuration."""
    return swapped_prediction(
        projections[0],
        projections[1],
        codebook,
        temperature=settings.temperature,
        epsilon=settings.sinkhorn_epsilon,
        iterations=settings.sinkhorn_iterations,
        **wanted,
    )


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float = 0.02, iterations: int = 3) -> Tensor:
    """Targets that use all prototypes equally: Sinkhorn-Knopp on exp(scores / epsilon), each view by itself.

    An iteration scales the prototypes to 1/K, then the frames to 1/N. Worked in float32 logarithms, so that no score overflows;
    the sums over frames are taken over all ranks. Caron et al. 2020 (arXiv 2006.09882), appendix A.

    Args:
        scores: (..., N, K), any float type.
        epsilon: entropy weight; towards 0 the targets become hard.
        iterations: at least 1.

    Returns:
        (..., N, K) float32, each row sums to 1.
    """
    log_kernel = scores.float() / epsilon
    frame_scale = log_kernel.new_zeros(1)
    for _ in range(iterations):
        prototype_scale = -ranks.log_sum_exp(torch.logsumexp(log_kernel + frame_scale, dim=-2, keepdim=True))
        frame_scale = -torch.logsumexp(log_kernel + prototype_scale, dim=-1, keepdim=True)
    return (log_kernel + prototype_scale + frame_scale).exp()


def _statistics(scores: Tensor, targets: Tensor, log_probabilities: Tensor) -> Tensor:
    codes, target_codes = scores.argmax(-1), targets.argmax(-1)
    counts = _histogram(codes, scores.shape[-1])
    agreeing = (codes == target_codes.flip(0)).sum()
    heads = torch.stack([torch.full_like(agreeing, codes.numel()), agreeing])
    return torch.cat([heads.double(), counts.double(), log_probabilities.exp().sum((0, 1)).double()])


def _histogram(codes: Tensor, size: int) -> Tensor:
    # scatter_add_ of equal whole numbers gives the same result in any order; bincount would wait for the GPU.
    counts = torch.zeros(size, dtype=torch.int64, device=codes.device)
    return counts.scatter_add_(0, codes.flatten(), torch.ones_like(codes.flatten()))


def summary(statistics: Tensor) -> dict[str, float]:
    """Named figures of SwappedPrediction.statistics, summed over ranks (and batches) beforehand.

    Returns:
        agreement: share of frames whose nearest prototype is the other view's likeliest target, 0 to 1.
        code_perplexity: exp of the entropy of the nearest prototypes, 1 (collapsed) to K.
        probability_perplexity: the same for the mean of p.
    """
    frames, agreeing = statistics[0], statistics[1]
    counts, probabilities = statistics[2:].chunk(2)
    return {
        "agreement": float(agreeing / frames),
        "code_perplexity": perplexity(counts),
        "probability_perplexity": perplexity(probabilities),
    }


def perplexity(counts: Tensor) -> float:
    """exp(entropy) of non-negative weights (K,): 1 when one has all, K when all are equal; 0 when there is no weight at all."""
    whole = counts.double().sum()
    return float(torch.special.entr(counts.double() / whole).sum().exp()) if float(whole) > 0 else 0.0


@torch.no_grad()
def normalise_rows(codebook: Tensor) -> None:
    """Brings the codebook's rows back to unit norm, in place; done after every update."""
    codebook.copy_(F.normalize(codebook, dim=-1))
