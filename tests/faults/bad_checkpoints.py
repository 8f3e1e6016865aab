"""Kinds of bad weights, given to the stage that reads them: an encoder and a checkpoint to stage 2, a Spin model to stage 3."""

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
from spin.models.official import CODEBOOK, ENCODER_PREFIX, HEAD
from spin.models.spin_model import load_model
from tests.faults.layouts import remove
from tests.models.writers import fairseq_content

EXP = Path("exp/t")
UNITS = -1


@dataclass(frozen=True)
class BadCheckpoint:
    """A kind.

    Attributes:
        name: for people.
        stage: that reads it; UNITS: `python -m spin units`, which alone reads official checkpoints of Spin.
        make: given a folder with stages 0 to 2 done, lays the bad file there.
        expected: a regular expression that the message must contain; "" where the stage must end well all the same.
        encoder: the encoder's file, where that is what is bad.
    """

    name: str
    stage: int
    make: Callable[[Path], object]
    expected: str = "formats known"
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


def _model(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        path = artifacts.spin_model(folder / EXP)
        path.write_bytes(change(path.read_bytes()))

    return make


def _nan_model(folder: Path) -> None:
    path = artifacts.spin_model(folder / EXP)
    _with_nan(path, path)


def _checkpoints(change: Callable[[Path], object], every: bool) -> Callable[[Path], object]:
    """Spoils the checkpoints of a training that was cut off after its first step."""

    def make(folder: Path) -> None:
        exp = folder / EXP
        paths = sorted((artifacts.spin_folder(exp) / "checkpoints").glob("step-*.pt"))
        for path in paths if every else paths[-1:]:
            change(path)
        artifacts.done_mark(exp, 2).rename(artifacts.started_mark(exp, 2))
        remove(artifacts.spin_model(exp))

    return make


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _other(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    content["state"]["trained"] = {f"{name}x": value for name, value in content["state"]["trained"].items()}
    torch.save(content, path)


def _not_a_number(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    content["state"]["trained"] = {name: value * float("nan") for name, value in content["state"]["trained"].items()}
    torch.save(content, path)


def _misshapen(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    content["state"]["trained"] = {name: value[..., :1] for name, value in content["state"]["trained"].items()}
    torch.save(content, path)


def _official(spoilt: str) -> Callable[[Path], object]:
    """The model as the official code would save it, with one parameter ("": none) that is no number."""

    def make(folder: Path) -> None:
        model = load_model(artifacts.spin_model(folder / EXP))
        state = {ENCODER_PREFIX + name: value for name, value in fairseq_content(model.encoder)["model"].items()}
        state |= {HEAD[0]: model.head.weight, HEAD[1]: model.head.bias, CODEBOOK: model.codebook.weight}
        state = {name: value.detach() * (float("nan") if name == spoilt else 1) for name, value in state.items()}
        shutil.copy(importers.MINI, folder / "base.safetensors")
        settings = {"encoder": {"path_or_url": "base.safetensors", "use_layer": model.layer}, "loss": {"l2_norm": True}}
        torch.save({"state_dict": state, "hyper_parameters": {"model": settings}}, folder / "bad.ckpt")

    return make


KINDS = (
    BadCheckpoint("official checkpoint, whole", UNITS, _official(""), ""),
    BadCheckpoint("official checkpoint with NaN in its codebook", UNITS, _official(CODEBOOK), "not finite"),
    BadCheckpoint("official checkpoint with NaN in its head", UNITS, _official(HEAD[0]), "not finite"),
    BadCheckpoint("encoder missing", 2, lambda folder: None, "bad.pt"),
    BadCheckpoint("encoder of no byte", 2, _encoder(lambda _: b"")),
    BadCheckpoint("encoder truncated", 2, _encoder(lambda content: content[: len(content) // 2])),
    BadCheckpoint("encoder that is text", 2, _encoder(lambda _: b"hello\n" * 100)),
    BadCheckpoint("pickle with code in it", 2, lambda folder: torch.save({"model": Code()}, folder / "bad.pt"), "run code"),
    BadCheckpoint("a pickled model", 2, lambda folder: torch.save(torch.nn.Linear(2, 2), folder / "bad.pt"), "run code"),
    BadCheckpoint("weights of something else", 2, lambda folder: torch.save({"weight": torch.zeros(3)}, folder / "bad.pt")),
    BadCheckpoint("encoder with NaN weights", 2, _nan_encoder, "not finite|not a number|finite"),
    BadCheckpoint("last checkpoint truncated", 2, _checkpoints(cut_in_half, every=False), "", "mini"),
    BadCheckpoint("last checkpoint with NaN", 2, _checkpoints(_not_a_number, every=False), "", "mini"),
    BadCheckpoint("every checkpoint truncated", 2, _checkpoints(cut_in_half, every=True), "none readable", "mini"),
    BadCheckpoint(
        "checkpoint with code in it",
        2,
        _checkpoints(lambda path: torch.save({"step": 1, "state": Code()}, path), every=True),
        "none readable",
        "mini",
    ),
    BadCheckpoint("checkpoint of another architecture", 2, _checkpoints(_other, every=True), "other trained parameters", "mini"),
    BadCheckpoint("checkpoint of other shapes", 2, _checkpoints(_misshapen, every=True), "other trained parameters", "mini"),
    BadCheckpoint("model truncated", 3, _model(lambda content: content[: len(content) // 2]), "model.safetensors", "mini"),
    BadCheckpoint("model of no byte", 3, _model(lambda _: b""), "model.safetensors", "mini"),
    BadCheckpoint("model with NaN weights", 3, _nan_model, "not finite|not a number|finite", "mini"),
    BadCheckpoint("model removed", 3, lambda folder: remove(artifacts.spin_model(folder / EXP)), "model.safetensors", "mini"),
)
