"""Checkpoints of a training: whole or not there, the last few and the best kept, a damaged one passed over with a warning."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import torch

from spin.errors import CheckpointError
from spin.runtime.files import atomic_path, read_json, sweep, write_json
from spin.runtime.logs import get_logger
from spin.runtime.tensor_files import DAMAGE, read_tensor_file

NAME = re.compile(r"step-(\d{9})\.pt$")
BEST_NAME, BEST_NOTE = "best.pt", "best.json"
FIGURES = ("valid", "losses")  # parts of a state that may hold what is not finite


class CheckpointStore:
    """The checkpoints of one training in one folder.

    Args:
        folder: made when missing.
        keep: how many of the latest checkpoints stay; an older one is the way back when the last is damaged.
    """

    def __init__(self, folder: str | Path, keep: int = 2):
        self.folder, self.keep = Path(folder), keep
        self.folder.mkdir(parents=True, exist_ok=True)
        sweep(self.folder)

    def save(self, step: int, state: dict, score: float | None = None) -> None:
        """Writes `state` (tensors, strings, numbers, lists, dicts); a score above the best so far also makes it the best."""
        path = self.folder / f"step-{step:09d}.pt"
        with atomic_path(path) as temporary:
            torch.save({"step": step, "state": state}, temporary)
        if score is not None and self._is_best(step, score):
            # A second name for the same bytes: the file is never changed in place, only replaced.
            with atomic_path(self.folder / BEST_NAME) as temporary:
                os.link(path, temporary)
            write_json(self.folder / BEST_NOTE, {"step": step, "score": score})
        for old in self.paths()[: -self.keep]:
            old.unlink(missing_ok=True)

    def _is_best(self, step: int, score: float) -> bool:
        """Whether a score is above the best, or the best's own: its step done again, after damage that took both names."""
        best = self.best_score()
        return best is None or score > best or (score == best and read_json(self.folder / BEST_NOTE)["step"] == step)

    def save_best(self, step: int, state: dict, score: float) -> None:
        """Makes a state the best that no training goes on from, such as a mean of several."""
        with atomic_path(self.folder / BEST_NAME) as temporary:
            torch.save({"step": step, "state": state}, temporary)
        write_json(self.folder / BEST_NOTE, {"step": step, "score": score})

    def paths(self) -> list[Path]:
        """The step checkpoints, oldest first."""
        return sorted(path for path in self.folder.glob("step-*.pt") if NAME.search(path.name))

    def best_score(self) -> float | None:
        """Score of the best checkpoint, None before the first."""
        note = self.folder / BEST_NOTE
        return read_json(note)["score"] if note.exists() and (self.folder / BEST_NAME).exists() else None

    def load_latest(self) -> tuple[int, dict] | None:
        """(step, state) of the latest readable checkpoint; None when there is none at all.

        Raises:
            CheckpointError: there are checkpoints, but none can be read.
        """
        paths, reasons = self.paths(), []
        for path in reversed(paths):
            try:
                return read_checkpoint(path)
            except CheckpointError as error:
                get_logger("checkpoints").warning("%s is damaged, falling back to the one before: %s", path, error.found)
                reasons.append(error.found)
        if paths:
            raise CheckpointError(
                str(self.folder),
                found=f"{len(paths)} checkpoint(s), none readable; the last: {reasons[0]}",
                cause="a full or failing disk, or a file of another program",
                remedy="remove them, or run the stage with --force",
            )
        return None


def read_checkpoint(path: str | Path, remedy: str = "take another checkpoint, or train again with --force") -> tuple[int, dict]:
    """(step, state) of one file written by CheckpointStore, on the CPU, without running code from it.

    Args:
        path: of the file.
        remedy: said when it cannot be read.

    Raises:
        CheckpointError: missing, truncated, not a checkpoint, or with weights that are not finite.
    """
    try:
        content = read_tensor_file(path)
        step, state = int(content["step"]), content["state"]
        bad = next((name for name, value in _tensors(state) if not _finite(value)), None)
        if bad is not None:
            raise ValueError(f"{bad} has values that are not finite")
        return step, state
    except DAMAGE as error:
        raise CheckpointError(
            str(path),
            found=" ".join(str(error).split())[:300] or type(error).__name__,
            expected="a checkpoint of this project",
            cause="the file is missing, was cut off, or has been changed",
            remedy=remedy,
        ) from error


def _tensors(value, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """(where it stands, tensor) of a state, FIGURES left out."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, (dict, list, tuple)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            if key not in FIGURES:
                yield from _tensors(item, f"{name}.{key}".lstrip("."))


def _finite(value: torch.Tensor) -> bool:
    return not value.is_floating_point() or bool(torch.isfinite(value).all())
