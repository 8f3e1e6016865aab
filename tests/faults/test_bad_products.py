"""Damage to weights, finished products and interrupted builds: repaired with the same content, or named with the stage to run."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from spin.runtime.checkpoints import read_checkpoint, write_checkpoint
from spin.runtime.files import ENCODERS
from spin.runtime.product import KEY
from tests.faults.layouts import Change, change_bytes, each, remove
from tests.models.test_bad_files import Malicious

# Files that are equal to the byte however a run was interrupted or repaired.
SAME = {
    0: ("data/c/cuts_*.jsonl.gz", "data/c/lexicon.txt"),
    1: ("data/c/speaker_pitch.json", "data/c/pitch/*/cuts.jsonl.gz"),
    2: ("exp/t/spin/model.safetensors",),
    3: ("exp/t/units/*/*/units.jsonl", "exp/t/units/*/kmeans.safetensors", "exp/t/metrics/*/metrics.json"),
    4: ("exp/t/asr/*/*/seed*/history.jsonl", "exp/t/lang/*.txt"),
    5: ("exp/t/scores.json", "exp/t/decode/**/hypotheses.txt"),
}


def interrupted(pattern: str, *changes: Change) -> Change:
    """Turns finished folders into those of an interrupted build, then changes them."""

    def interrupt(path: Path) -> None:
        note = json.loads((path / KEY).read_text())
        (path / KEY).write_text(json.dumps({"key": note["key"], "forced": note["forced"]}))
        partial = path.rename(path.with_name(path.name + ".partial"))
        for change in changes:
            change(partial)

    return each(pattern, interrupt)


def without(*names: str) -> Change:
    """Removes what an interrupted build had not written yet."""
    return lambda folder: [remove(folder / name) for name in names if (folder / name).exists()]


cut = change_bytes(lambda whole: whole[: len(whole) // 2])


def unkeyed(path: Path) -> None:
    (path / KEY if path.is_dir() else path.with_name(f".{path.name}{KEY}")).unlink()


def code(path: Path) -> None:
    torch.save({"step": 1, "state": Malicious(Path("canary"))}, path)


def checkpoints(change: Change, last: bool = False) -> Change:
    """Changes the step checkpoints below a folder, or the last alone."""

    def make(folder: Path) -> None:
        paths = sorted(folder.rglob("step-*.safetensors"))
        assert paths, folder
        for path in paths[-1:] if last else paths:
            change(path)

    return make


def weights(change: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    """Changes every floating-point tensor of a checkpoint's model."""

    def walk(value, inside: bool):
        if isinstance(value, dict):
            return {key: walk(item, inside or key in ("model", "trained")) for key, item in value.items()}
        return change(value) if inside and isinstance(value, torch.Tensor) and value.is_floating_point() else value

    def make(path: Path) -> None:
        step, state = read_checkpoint(path)
        write_checkpoint(path, step, walk(state, False))

    return make


nan = weights(lambda value: value * float("nan"))
smaller = weights(lambda value: value[..., :1].clone() if value.ndim > 1 else value)


def nan_encoder(folder: Path) -> None:
    with safetensors.safe_open(ENCODERS / "mini.safetensors", framework="pt") as opened:
        note, content = opened.metadata(), {name: opened.get_tensor(name) for name in opened.keys()}
    content[sorted(content)[0]].view(-1)[0] = float("nan")
    safetensors.torch.save_file(content, folder / "bad.pt", metadata=note)


PRODUCTS = {  # name -> (pattern, stage that builds it, later stage that reads it)
    "manifest": ("data/c/cuts_train.jsonl.gz", 0, 1),
    "pitch arrays": ("data/c/pitch/train/*.bin", 1, 2),
    "pitch manifest": ("data/c/pitch/train/cuts.jsonl.gz", 1, None),
    "Spin model": ("exp/t/spin/model.safetensors", 2, 3),
    "k-means": ("exp/t/units/*/kmeans.safetensors", 3, None),
    "units": ("exp/t/units/baseline/*/units.jsonl", 3, None),
    "features": ("exp/t/features/baseline/*/*.bin", 3, 4),
    "recogniser": ("exp/t/asr/baseline/*/seed0/best.safetensors", 4, 5),
    "lexicon": ("exp/t/lang/lexicon.txt", 4, None),
    "decoding graph": ("exp/t/graphs/HLG*/*.safetensors", 5, None),
    "decoding's summary": ("exp/t/decode/**/summary.json", 5, None),
}
SPIN, RECOGNISER = "exp/t/spin", "exp/t/asr/baseline/*/seed0"
ENCODER = "encoder.source=bad.pt"
# name -> stage that meets it, how it is made, a regular expression of the message, and further settings; "" for the message: the
# stage must end with the files of an undisturbed run
KINDS: dict[str, tuple] = {
    "encoder missing": (2, lambda folder: None, "bad.pt", ENCODER),
    "encoder with code in it": (2, lambda folder: code(folder / "bad.pt"), "run code", ENCODER),
    "encoder with NaN": (2, nan_encoder, "not finite", ENCODER),
    "key of the pitch missing, read": (2, each("data/c/pitch/train", unkeyed), "no readable key[\\s\\S]*--stage 1"),
    "key of the Spin model missing": (2, each(SPIN, unkeyed), ""),
    "key of a manifest missing": (0, each("data/c/cuts_train.jsonl.gz", unkeyed), ""),
    "interrupted Spin": (2, interrupted(SPIN, without("model.safetensors")), ""),
    "interrupted Spin, last truncated": (2, interrupted(SPIN, without("model.safetensors"), checkpoints(cut, True)), ""),
    "interrupted Spin, last with NaN": (2, interrupted(SPIN, without("model.safetensors"), checkpoints(nan, True)), ""),
    "interrupted Spin, none readable": (2, interrupted(SPIN, checkpoints(cut)), "none readable"),
    "interrupted Spin, code in its checkpoints": (2, interrupted(SPIN, checkpoints(code)), "none readable"),
    "interrupted Spin, other shapes": (2, interrupted(SPIN, checkpoints(smaller)), "other trained"),
    "interrupted pitch": (1, interrupted("data/c/pitch/train"), ""),
    "interrupted features": (3, interrupted("exp/t/features/baseline/*"), ""),
    "interrupted units": (3, interrupted("exp/t/units/baseline/[dt]*"), ""),
    "interrupted metrics": (3, interrupted("exp/t/metrics/baseline"), ""),
    "interrupted pictures": (3, interrupted("exp/t/tensorboard/3_*"), ""),
    "interrupted lang": (4, interrupted("exp/t/lang"), ""),
    "interrupted graph": (5, interrupted("exp/t/graphs/HLG*"), ""),
    "interrupted recogniser": (4, interrupted(RECOGNISER, without("step-000000004.safetensors")), ""),
    "interrupted recogniser, last truncated": (4, interrupted(RECOGNISER, checkpoints(cut, True)), ""),
    "interrupted recogniser, last with NaN": (4, interrupted(RECOGNISER, checkpoints(nan, True)), ""),
    "interrupted recogniser, none readable": (4, interrupted(RECOGNISER, checkpoints(cut)), "none readable"),
    "interrupted recogniser, other shapes": (4, interrupted(RECOGNISER, checkpoints(smaller)), "shape|size"),
    "interrupted decodings": (5, interrupted("exp/t/decode/*/*/*/*/*", without("summary.json")), ""),
}
for name, (pattern, owner, reader) in PRODUCTS.items():
    KINDS[f"{name} truncated"] = (owner, each(pattern, cut), "")
    KINDS[f"{name} missing"] = (owner, each(pattern, remove), "")
    if reader is not None:
        changed = f"was changed after it was built[\\s\\S]*run.sh --stage {owner}"
        KINDS[f"{name} truncated, read by stage {reader}"] = (reader, each(pattern, cut), changed)
        KINDS[f"{name} missing, read by stage {reader}"] = (reader, each(pattern, remove), "is gone|not built yet")


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_damage_is_named_or_repaired(experiment, name):
    stage, make, expected, *settings = KINDS[name]
    make(experiment.folder)
    experiment.run(stage, *(word for setting in settings for word in ("--set", setting))).check(expected)
    assert not (experiment.folder / "canary").exists()
    if not expected:
        names = [path.relative_to(experiment.whole) for pattern in SAME[stage] for path in experiment.whole.glob(pattern)]
        assert names
        for own in names:
            assert (experiment.folder / own).read_bytes() == (experiment.whole / own).read_bytes(), own
