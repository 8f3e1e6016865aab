"""What one training of a recogniser is given, its learning rate, and numbers as its checkpoints hold them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from spin.asr.features import FeatureStatistics
from spin.config import AsrConfig, Config

FINAL_RATE = 0.02  # the learning rate at the last step, as a share of the peak


@dataclass(frozen=True)
class TrainJob:
    """All that one training needs, for a process of its own.

    Attributes:
        exp, tensorboard: folders.
        system, seed: which encoder's features, which seed.
        statistics: of the training features of this system.
        left_out: ids of utterances that no training uses.
        train_count, valid_count: utterances that remain.
    """

    config: Config
    exp: Path
    tensorboard: Path
    system: str
    seed: int
    statistics: FeatureStatistics
    left_out: frozenset[str]
    train_count: int
    valid_count: int

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.system}, seed {self.seed}"


def learning_rate(step: int, config: AsrConfig) -> float:
    """Linear warm-up, then a cosine down to FINAL_RATE of the peak at the last step; `step` counts from 1."""
    if step <= config.warmup_steps:
        return config.learning_rate * step / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.max_steps - config.warmup_steps)
    return config.learning_rate * (FINAL_RATE + (1.0 - FINAL_RATE) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress))))


def as_tensors(numbers: dict[str, float]) -> dict[str, torch.Tensor]:
    """Numbers with a point as a checkpoint may hold them."""
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()}
