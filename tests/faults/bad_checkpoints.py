"""Kinds of bad weights: encoders for stage 2, official checkpoints for `python -m spin units`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch

from spin import artifacts
from spin.models import importers
from spin.models.model_files import SPIN_NAMES
from spin.objectives.model import load_model
from tests.models.writers import spin_content

EXP = Path("exp/t")
UNITS = -1


@dataclass(frozen=True)
class BadCheckpoint:
    """A kind.

    Attributes:
        name: for people.
        stage: that reads it; UNITS: `python -m spin units`, which alone reads official checkpoints of Spin.
        make: given a folder with stages 0 to 2 done, lays the bad file there.
        expected: a regular expression that the message must contain; "" where the stage must end well.
        encoder: the encoder's file, where that is what is bad.
    """

    name: str
    stage: int
    make: Callable[[Path], object]
    expected: str = "known formats"
    encoder: str = "bad.pt"


class Code:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch canary",)


def _encoder(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda folder: (folder / "bad.pt").write_bytes(change(Path(importers.MINI).read_bytes()))


def _with_nan(path: Path, to: Path) -> None:
    with safetensors.safe_open(path, framework="pt") as opened:
        note, weights = opened.metadata(), {name: opened.get_tensor(name) for name in opened.keys()}
    weights[sorted(weights)[0]].view(-1)[0] = float("nan")
    safetensors.torch.save_file(weights, to, metadata=note)


def _nan_encoder(folder: Path) -> None:
    _with_nan(Path(importers.MINI), folder / "bad.pt")


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _official(spoilt: str) -> Callable[[Path], object]:
    """The model as the official code would save it, with NaN in one parameter ("": none)."""

    def make(folder: Path) -> None:
        model = load_model(artifacts.spin_model(folder / EXP))
        settings = {"encoder": {"path_or_url": "base.safetensors", "use_layer": model.layer}, "loss": {"l2_norm": True}}
        content = spin_content(model, {"model": settings})
        factors = {name: float("nan") if name == spoilt else 1 for name in content["state_dict"]}
        content["state_dict"] = {name: value.detach() * factors[name] for name, value in content["state_dict"].items()}
        shutil.copy(importers.MINI, folder / "base.safetensors")
        torch.save(content, folder / "bad.ckpt")

    return make


KINDS = (
    BadCheckpoint("official checkpoint, whole", UNITS, _official(""), ""),
    BadCheckpoint("official checkpoint with NaN in its codebook", UNITS, _official(SPIN_NAMES["codebook.weight"]), "not finite"),
    BadCheckpoint("official checkpoint with NaN in its head", UNITS, _official(SPIN_NAMES["head.weight"]), "not finite"),
    BadCheckpoint("encoder missing", 2, lambda folder: None, "bad.pt"),
    BadCheckpoint("encoder of 0 bytes", 2, _encoder(lambda _: b"")),
    BadCheckpoint("encoder truncated", 2, _encoder(lambda content: content[: len(content) // 2])),
    BadCheckpoint("encoder that is text", 2, _encoder(lambda _: b"hello\n" * 100)),
    BadCheckpoint("pickle with code in it", 2, lambda folder: torch.save({"model": Code()}, folder / "bad.pt"), "run code"),
    BadCheckpoint("a pickled model", 2, lambda folder: torch.save(torch.nn.Linear(2, 2), folder / "bad.pt"), "run code"),
    BadCheckpoint("weights of something else", 2, lambda folder: torch.save({"weight": torch.zeros(3)}, folder / "bad.pt")),
    BadCheckpoint("encoder with NaN weights", 2, _nan_encoder, "not finite|not a number|finite"),
)
