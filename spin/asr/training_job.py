"""One training of a recogniser: its data, and its learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

from spin.asr.inputs import FeatureStatistics, UnitInventory
from spin.config import AsrConfig
from spin.runtime.context import Context
from spin.systems import System

FINAL_RATE = 0.02  # the learning rate at the last step, as a share of the peak


@dataclass(frozen=True)
class TrainingData:
    """Training data of one system and source.

    Attributes:
        inputs: statistics of the training features, or inventory of the training units.
        left_out: ids of utterances that no training uses.
        train_count, valid_count: number of utterances that remain.
    """

    inputs: FeatureStatistics | UnitInventory
    left_out: frozenset[str]
    train_count: int
    valid_count: int


@dataclass(frozen=True)
class TrainJob:
    """One training, for a process of its own; `source` is features or units."""

    context: Context
    system: System
    source: str
    seed: int
    data: TrainingData

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.system.name}, {self.source}, seed {self.seed}"


def learning_rate(step: int, config: AsrConfig) -> float:
    """Linear warm-up, then a cosine down to FINAL_RATE of the peak at the last step; `step` counts from 1."""
    if step <= config.warmup_steps:
        return config.learning_rate * step / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.max_steps - config.warmup_steps)
    return config.learning_rate * (FINAL_RATE + (1.0 - FINAL_RATE) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress))))
