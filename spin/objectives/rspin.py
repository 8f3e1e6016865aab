"""R-Spin: the Spin loss plus a weighted cross-entropy of frame labels, with noise on both views.

Chang and Glass, NAACL 2024 (arXiv 2311.09117), sections 2.2 to 2.5, equations 2 and 3.

Notation: N valid frames of one view on this rank, D features, C classes; h and h~ the frames of the two views, y their labels.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from spin.config import Config
from spin.errors import DataError
from spin.objectives import NO_LABEL
from spin.objectives.spin import Loss, Spin, draw_weights
from spin.runtime import distributed
from spin.runtime.files import read_json

FRAMES_AT_ONCE = 4096  # of the classifier: 40,000 classes for all frames of a batch would take 4 GB


class RSpin(Spin):
    """Spin with an auxiliary classifier of frame labels. Without labels it is Spin, to the last bit."""

    weight = 0.0  # lambda in equation 3

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.classifier: nn.Linear | None = None  # D -> C on the encoder's output; None without labels

    @classmethod
    def create(cls, config: Config, dim: int) -> RSpin:
        """See Spin.create. The number of classes comes from the folder rspin.labels."""
        objective = super().create(config, dim)
        if config.rspin.noise:
            objective.views = (("noise",), ("perturb", "noise"))
        if config.rspin.labels:
            objective.add_classifier(read_classes(config.rspin.labels), config.rspin.aux_weight, config.seed)
        return objective

    def add_classifier(self, classes: int, weight: float, seed: int) -> None:
        """Adds the auxiliary classifier, its weights drawn from the seed."""
        self.needs_labels, self.weight = True, weight
        self.classifier = nn.Linear(self.head.in_features, classes)
        draw_weights([self.classifier], seed, "rspin classifier")

    def represent(self, hidden: Tensor) -> tuple[Tensor, ...]:
        """The head's output, and the frames themselves for the classifier."""
        represented = super().represent(hidden)
        return represented if self.classifier is None else (*represented, hidden)

    def forward(self, represented: tuple[Tensor, ...], labels: Tensor | None = None, with_sums: bool = False) -> Loss:
        """L_Spin + weight x L_Aux, where L_Aux = -1/2 [mean_b log p(y_b | h_b) + mean_b log p(y_b | h~_b)].

        The labels (N,) are shared by both views; frames with NO_LABEL count in L_Spin only. See Spin.forward.
        """
        spin = super().forward(represented, labels, with_sums)
        if self.classifier is None:
            return spin
        cross_entropy, correct = self._classify(represented[1], labels)
        own = (labels != NO_LABEL).sum()
        labelled = distributed.all_reduce_sum(own.to(cross_entropy.dtype))
        auxiliary = 0.5 * cross_entropy / labelled.clamp(min=1)
        sums = {}
        if with_sums:
            sums = {"auxiliary_loss": auxiliary.detach().double(), "spin_loss": spin.value.detach().double()}
            sums |= {"labels": 2 * own.double(), "correct": correct.double()}
        return Loss(spin.value + self.weight * auxiliary, spin.sums | sums)

    def _classify(self, hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """(2, N, D) frames, (N,) labels -> sums over both views: cross-entropy in nats, frames classified correctly."""
        chunks = zip(hidden.flatten(0, 1).split(FRAMES_AT_ONCE), labels.repeat(2).split(FRAMES_AT_ONCE), strict=True)
        # Logits are computed again in the backward pass, so that those of one chunk are in memory at a time.
        results = [checkpoint(self._classify_chunk, *chunk, use_reentrant=False, preserve_rng_state=False) for chunk in chunks]
        cross_entropies, correct = zip(*results, strict=True)
        return torch.stack(cross_entropies).sum(), torch.stack(correct).sum()

    def _classify_chunk(self, hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.classifier(hidden)
        cross_entropy = F.cross_entropy(logits.float(), labels, ignore_index=NO_LABEL, reduction="sum")
        return cross_entropy, (logits.detach().argmax(-1) == labels).sum()

    def compute_metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """Those of Spin, and both losses and the accuracy of the classifier (0 to 1; 0 without labelled frames)."""
        metrics = super().compute_metrics(sums)
        if "labels" in sums:
            metrics |= {name: float(sums[name]) for name in ("spin_loss", "auxiliary_loss")}
            metrics["auxiliary_accuracy"] = float(sums["correct"] / sums["labels"].clamp(min=1))
        return metrics


def read_classes(folder: str | Path) -> int:
    """The number of classes in a folder of frame labels; raises DataError without a valid labels.json."""
    path = Path(folder) / "labels.json"
    try:
        classes = int(read_json(path)["classes"])
    except (DataError, KeyError, TypeError, ValueError, OverflowError):
        classes = 0
    if classes < 1:
        raise DataError(
            str(path),
            found="no such file, a damaged one, or no classes in it",
            expected="frame labels with a number of classes, at least 1",
            remedy="python -m spin acoustic-pieces --exp E --system S --vocabulary N --output DIR, then --set rspin.labels=DIR",
        )
    return classes
