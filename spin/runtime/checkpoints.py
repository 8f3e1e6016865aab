"""Checkpoints of a training as safetensors: the last few and the best are kept, a damaged one is skipped with a warning."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from spin.errors import CheckpointError, is_out_of_memory
from spin.runtime.files import atomic_path, read_json, sweep, write_json
from spin.runtime.logs import get_logger

KEPT = 2  # latest checkpoints: the one before serves when the last is damaged
BEST, BEST_NOTE = "best.safetensors", "best.json"
METADATA, TENSOR = "checkpoint", "tensor:"


class CheckpointStore:
    """The checkpoints of one training in `folder`, which is created when missing."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        sweep(self.folder)

    def save(self, step: int, state: dict, score: float | None = None) -> None:
        """Writes a state of tensors, strings, numbers, None, lists and dicts; a new best score also makes it the best."""
        best = self.best_score()
        if score is not None and (best is None or score > best):  # before its step, from which nothing would be measured again
            self.save_best(step, state, score)
        write_checkpoint(self.folder / f"step-{step:09d}.safetensors", step, state)
        for old in self.paths()[:-KEPT]:
            old.unlink(missing_ok=True)

    def save_best(self, step: int, state: dict, score: float) -> None:
        """Makes a state the best; no training resumes from it, so it may be a mean of several."""
        write_checkpoint(self.folder / BEST, step, state)
        write_json(self.folder / BEST_NOTE, {"step": step, "score": score})

    def paths(self) -> list[Path]:
        """The step checkpoints, oldest first."""
        return sorted(self.folder.glob(f"step-{'[0-9]' * 9}.safetensors"))

    def best_score(self) -> float | None:
        """Score of the best checkpoint, None before the first."""
        note = self.folder / BEST_NOTE
        return read_json(note)["score"] if note.exists() and (self.folder / BEST).exists() else None

    def load_latest(self) -> tuple[int, dict] | None:
        """(step, state) of the latest readable checkpoint; None without any; raises CheckpointError where none can be read."""
        reasons = []
        for path in reversed(self.paths()):
            try:
                return read_checkpoint(path)
            except CheckpointError as error:
                get_logger("checkpoints").warning("%s is damaged, falling back to the one before: %s", path, error.found)
                reasons.append(error.found)
        if not reasons:
            return None
        raise CheckpointError(
            str(self.folder),
            found=f"{len(reasons)} checkpoint(s), none readable; the last: {reasons[0]}",
            cause="a full or failing disk, or files of another program",
            remedy=f"rm -r {self.folder}, then rerun the same command: the training starts over",
        )


def write_checkpoint(path: Path, step: int, state: dict) -> None:
    """Writes one safetensors file: tensors by their place in the state, everything else as JSON in its metadata."""
    tensors: dict[str, torch.Tensor] = {}
    tree = {"step": step, "state": _pack(state, "", tensors)}
    # Copies: safetensors refuses tensors that share memory, as tied weights and optimizer views do.
    copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(copies, str(temporary), metadata={METADATA: json.dumps(tree)})


def read_checkpoint(path: str | Path) -> tuple[int, dict]:
    """(step, state) of one checkpoint, on the CPU. No code in the file is run.

    Raises CheckpointError where it is missing, truncated, not a checkpoint, or has weights that are not finite.
    """
    try:
        with safe_open(str(path), framework="pt") as content:
            tree = json.loads((content.metadata() or {})[METADATA])
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118 - not a dict
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise ValueError(f"{name} has values that are not finite")
        return int(tree["step"]), _unpack(tree["state"], tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        if is_out_of_memory(error):  # the file may be good: nobody should be told to remove it
            raise
        raise CheckpointError(
            str(path),
            found=" ".join(str(error).split())[:300] or type(error).__name__,
            expected="a checkpoint of this project",
            cause="the file is missing, truncated, or was changed",
            remedy=f"rm {path}, then rerun the same command",
        ) from error


def _pack(value, name: str, tensors: dict[str, torch.Tensor]):
    if isinstance(value, torch.Tensor):
        tensors[name] = value
        return TENSOR + name
    if isinstance(value, dict):  # JSON turns keys into strings, and optimizer states have integers
        return {"keys": list(value), "values": [_pack(item, f"{name}.{key}".lstrip("."), tensors) for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_pack(item, f"{name}.{index}", tensors) for index, item in enumerate(value)]
    return value


def _unpack(value, tensors: dict[str, torch.Tensor]):
    if isinstance(value, str) and value.startswith(TENSOR):
        return tensors[value.removeprefix(TENSOR)]
    if isinstance(value, dict):
        return dict(zip(value["keys"], (_unpack(item, tensors) for item in value["values"]), strict=True))
    return [_unpack(item, tensors) for item in value] if isinstance(value, list) else value
