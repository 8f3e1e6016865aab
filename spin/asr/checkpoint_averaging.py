"""The mean of the weights of the last validated models."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import nn

from spin.runtime.checkpoints import read_checkpoint, write_checkpoint

NAME = re.compile(r"weights-(\d{9})\.safetensors$")


class WeightStore:
    """Weights of the last `count` validations in the folder of a training, next to its checkpoints.

    They are separate from the checkpoints because a signal adds a checkpoint at any step, and the mean must not depend on where a
    training was interrupted.
    """

    def __init__(self, folder: Path, count: int):
        self.folder, self.count = folder, count

    def keep(self, step: int, model: nn.Module) -> None:
        """Writes the weights of a step, and removes all but the last `count` up to it."""
        write_checkpoint(self.folder / f"weights-{step:09d}.safetensors", step, model.state_dict())
        for old in self.paths(step)[: -self.count]:
            old.unlink(missing_ok=True)

    def paths(self, step: int) -> list[Path]:
        """Files of the steps up to `step`, oldest first; later ones belong to an interrupted run."""
        named = ((NAME.search(path.name), path) for path in self.folder.glob("weights-*.safetensors"))
        return sorted(path for match, path in named if match and int(match[1]) <= step)

    def mean(self, step: int) -> dict[str, torch.Tensor] | None:
        """The mean of each weight over the last `count` validations up to `step`; None when there are fewer than two."""
        paths = self.paths(step)[-self.count :]
        if len(paths) < 2:
            return None
        states = [read_checkpoint(path)[1] for path in paths]
        return {
            name: (sum(state[name].double() for state in states) / len(states)).to(first.dtype)
            for name, first in states[0].items()
        }
