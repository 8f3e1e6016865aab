"""The Spin objective: each view predicts the other view's codes (Chang et al., Interspeech 2023, arXiv 2305.11072, section 2).

Notation: N valid frames of one view on this rank, D features, K codes (codebook rows); b a frame, p the softmax, q the Sinkhorn
target. Both views have the same frames.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spin.config import Config
from spin.runtime import distributed, seeding

SINKHORN_ITERATIONS = 3


class Loss(NamedTuple):
    """Loss of one batch on one rank. Sums over ranks are those of the whole batch."""

    value: Tensor  # scalar with graph
    sums: dict[str, Tensor]  # for Spin.compute_metrics, without graph; empty unless asked for


class Spin(nn.Module):
    """Prediction head (from an encoder of width `dim`), codebook and the swapped-prediction loss.

    `temperature` is that of p = softmax(z V^T / temperature); for `epsilon` see sinkhorn.
    """

    views: tuple[tuple[str, ...], ...] = ((), ("perturb",))  # the transforms of each view, by their names in spin.data.loader
    needs_labels = False  # whether batches must carry frame labels

    def __init__(self, dim: int, codebook_size: int, codebook_dim: int, temperature: float = 0.1, epsilon: float = 0.02):
        super().__init__()
        self.head = nn.Linear(dim, codebook_dim)
        self.codebook = nn.Linear(codebook_dim, codebook_size, bias=False)  # row k of its weight is code k
        self.temperature, self.epsilon = temperature, epsilon

    @classmethod
    def create(cls, config: Config, dim: int) -> Spin:
        """A new objective for an encoder of width `dim`, drawn from the seed alone."""
        spin = config.spin
        objective = cls(dim, spin.codebook_size, spin.codebook_dim, spin.temperature, spin.sinkhorn_epsilon)
        return objective.reset_parameters(config.seed, "spin head and codebook")

    def reset_parameters(self, *keys: int | str) -> Spin:
        """Draws head and codebook from these keys, the codes of length 1; returns self."""
        draw_weights((self.head, self.codebook), *keys)
        Spin.after_step(self)
        return self

    def represent(self, hidden: Tensor) -> tuple[Tensor, ...]:
        """The part that treats each frame by itself, which GradCache caches: (..., D) float32 -> here the head's output alone."""
        with torch.autocast(hidden.device.type, enabled=False):
            return (self.head(hidden),)

    def similarities(self, projections: Tensor) -> Tensor:
        """Cosines (..., K) float32 of projections (..., codebook_dim) and codes."""
        with torch.autocast(projections.device.type, enabled=False):
            return self.codebook(F.normalize(projections.float(), dim=-1))

    def forward(self, represented: tuple[Tensor, ...], labels: Tensor | None = None, with_sums: bool = False) -> Loss:
        """-1/2 [mean_b sum_k q1 log p2 + mean_b sum_k q2 log p1], means over the valid frames of all ranks.

        `represented` is the output of `represent` for frames (2, N, D); N may be 0 on some ranks. The labels (N,) int64 of frames
        are ignored here. `with_sums` also counts agreement and the use of codes.
        """
        with torch.autocast(represented[0].device.type, enabled=False):
            scores = self.similarities(represented[0])
            targets = sinkhorn(scores.detach(), self.epsilon)
            log_probabilities = F.log_softmax(scores / self.temperature, dim=-1)
            frames = distributed.all_reduce_sum(scores.new_full((), scores.shape[1]))
            loss = -0.5 * (targets.flip(0) * log_probabilities).sum() / frames
            return Loss(loss, _count(scores.detach(), targets, log_probabilities.detach()) if with_sums else {})

    def compute_metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """Metrics to log, from `Loss.sums` added over ranks."""
        return {
            "agreement": float(sums["agreeing"] / sums["frames"]),  # nearest code = the other view's likeliest target, 0 to 1
            "code_perplexity": perplexity(sums["codes"]),  # of the nearest codes, 1 (collapsed) to K
            "probability_perplexity": perplexity(sums["probabilities"]),  # of the mean of p
        }

    def units(self, hidden: Tensor) -> Tensor:
        """The nearest code (...,) int64 of each frame (..., D)."""
        return self.similarities(self.represent(hidden.float())[0]).argmax(-1)

    @torch.no_grad()
    def after_step(self) -> None:
        """Brings every code to length 1; called after each step of the optimizer."""
        self.codebook.weight.copy_(F.normalize(self.codebook.weight, dim=1))


@torch.no_grad()
def draw_weights(maps: Iterable[nn.Linear], *keys: int | str) -> None:
    """Draws weights and biases from these keys: uniform within +-1/sqrt(inputs)."""
    draws = torch.Generator().manual_seed(seeding.integer(*keys))
    for linear in maps:
        bound = linear.in_features**-0.5
        for parameter in linear.parameters():
            parameter.uniform_(-bound, bound, generator=draws)


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float = 0.02, iterations: int = SINKHORN_ITERATIONS) -> Tensor:
    """Targets that use all codes equally: Sinkhorn-Knopp on exp(scores / epsilon), each view by itself.

    Scores (..., N, K) of any float type -> targets (..., N, K) float32, each row of sum 1. Each iteration normalises the columns
    (codes), then the rows (frames), to sum 1; the factors 1/K and 1/N cancel. It works on float32 logarithms, so that no score
    overflows. Sums over frames are taken over all ranks. The smaller epsilon, the strength of the entropy regularisation, the
    harder the targets. Caron et al. 2020 (arXiv 2006.09882), appendix A.
    """
    log_kernel = scores.float() / epsilon
    frame_scale = log_kernel.new_zeros(1)
    for _ in range(iterations):
        code_scale = -distributed.log_sum_exp(torch.logsumexp(log_kernel + frame_scale, dim=-2, keepdim=True))
        frame_scale = -torch.logsumexp(log_kernel + code_scale, dim=-1, keepdim=True)
    return (log_kernel + code_scale + frame_scale).exp()


def _count(scores: Tensor, targets: Tensor, log_probabilities: Tensor) -> dict[str, Tensor]:
    """(2, N, K) each -> sums over this rank, float64."""
    codes = scores.argmax(-1)
    agreeing = (codes == targets.argmax(-1).flip(0)).sum()
    # scatter_add_ of equal whole numbers gives the same result in any order; bincount would wait for the GPU.
    counts = codes.new_zeros(scores.shape[-1]).scatter_add_(0, codes.flatten(), torch.ones_like(codes).flatten())
    return {
        "frames": torch.full_like(agreeing, codes.numel()).double(),
        "agreeing": agreeing.double(),
        "codes": counts.double(),
        "probabilities": log_probabilities.exp().sum((0, 1)).double(),
    }


def perplexity(counts: Tensor) -> float:
    """exp(entropy) of non-negative weights (K,).

    >>> [round(perplexity(torch.tensor(weights)), 3) for weights in ([5, 0, 0], [1, 1, 1], [0, 0, 0])]
    [1.0, 3.0, 0.0]
    """
    whole = counts.double().sum()
    return float(torch.special.entr(counts.double() / whole).sum().exp()) if float(whole) > 0 else 0.0
