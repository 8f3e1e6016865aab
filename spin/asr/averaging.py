"""The mean of the weights of the last validated models, and when a training has stopped to gain."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from spin.runtime.checkpoints import read_checkpoint
from spin.runtime.files import atomic_path

NAME = re.compile(r"weights-(\d{9})\.pt$")


class WeightStore:
    """Weights of the last `count` validations in a training's folder, beside its checkpoints.

    Apart from the checkpoints, because a signal adds one of these at any step: the mean must not depend on where a training was
    interrupted.
    """

    def __init__(self, folder: Path, count: int):
        self.folder, self.count = folder, count

    def keep(self, step: int, model: nn.Module) -> None:
        """Writes the weights of a step; older ones than the last `count` up to it go."""
        with atomic_path(self.folder / f"weights-{step:09d}.pt") as temporary:
            torch.save({"step": step, "state": model.state_dict()}, temporary)
        for old in self.paths(step)[: -self.count]:
            old.unlink(missing_ok=True)

    def paths(self, step: int) -> list[Path]:
        """Files of the steps up to `step`, oldest first; later ones are of a run that was cut off."""
        named = ((NAME.search(path.name), path) for path in self.folder.glob("weights-*.pt"))
        return sorted(path for found, path in named if found and int(found[1]) <= step)

    def mean(self, step: int) -> dict[str, torch.Tensor] | None:
        """The mean of each weight over the last `count` validations up to `step`; None where fewer than two are there."""
        paths = self.paths(step)[-self.count :]
        if len(paths) < 2:
            return None
        states = [read_checkpoint(path, again(self.folder))[1] for path in paths]
        return {
            name: (sum(state[name].double() for state in states) / len(states)).to(first.dtype)
            for name, first in states[0].items()
        }


def again(folder: Path) -> str:
    """The remedy for a product of a training that nothing else can stand for."""
    return f"remove {folder}, then run stage 4 with the same command: that training alone starts again"


def validations_without_gain(rates: Sequence[float]) -> int:
    """How many of the last error rates are not below the lowest of those before them."""
    best = min(range(len(rates)), key=lambda number: (rates[number], number), default=-1)
    return len(rates) - 1 - best if rates else 0
