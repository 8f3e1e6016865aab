"""DC-Spin-style: a larger auxiliary codebook next to the primary one, both trained with the Spin loss on one encoder.

After Chang, Zhang et al., Interspeech 2025 (arXiv 2410.24177). Its loss weights and heads are not in the text we have. Here each
codebook has its own head, and the auxiliary loss has the weight dcspin.auxiliary_weight (default 1).
"""

from __future__ import annotations

from torch import Tensor

from spin.config import Config
from spin.objectives.spin import Loss, Spin

PREFIX = "auxiliary_"


class DCSpin(Spin):
    """Spin with an auxiliary codebook. Units come from the primary one alone."""

    auxiliary: Spin  # head and codebook of the auxiliary loss
    weight: float  # of the auxiliary loss

    @classmethod
    def create(cls, config: Config, dim: int) -> DCSpin:
        """See Spin.create; the primary head and codebook start as those of Spin."""
        objective, spin = super().create(config, dim), config.spin
        objective.auxiliary = Spin(dim, config.dcspin.auxiliary_size, spin.codebook_dim, spin.temperature, spin.sinkhorn_epsilon)
        objective.auxiliary.reset_parameters(config.seed, "dcspin auxiliary head and codebook")
        objective.weight = config.dcspin.auxiliary_weight
        return objective

    def represent(self, hidden: Tensor) -> tuple[Tensor, ...]:
        """The output of both heads."""
        return (*super().represent(hidden), *self.auxiliary.represent(hidden))

    def forward(self, represented: tuple[Tensor, ...], labels: Tensor | None = None, with_sums: bool = False) -> Loss:
        """L_Spin(primary) + weight x L_Spin(auxiliary); see Spin.forward."""
        primary = super().forward(represented[:1], labels, with_sums)
        auxiliary = self.auxiliary(represented[1:], labels, with_sums)
        sums = primary.sums | {PREFIX + name: value for name, value in auxiliary.sums.items()}
        return Loss(primary.value + self.weight * auxiliary.value, sums)

    def compute_metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """Those of Spin for both codebooks; the auxiliary ones begin with "auxiliary_"."""
        auxiliary = {name.removeprefix(PREFIX): value for name, value in sums.items() if name.startswith(PREFIX)}
        metrics = self.auxiliary.compute_metrics(auxiliary)
        return super().compute_metrics(sums) | {PREFIX + name: value for name, value in metrics.items()}

    def after_step(self) -> None:
        """Brings the codes of both codebooks back to length 1."""
        super().after_step()
        self.auxiliary.after_step()
