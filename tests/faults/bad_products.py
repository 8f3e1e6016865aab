"""Kinds of damage to finished products and to the work of interrupted builds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from spin import artifacts
from spin.runtime.checkpoints import read_checkpoint, write_checkpoint
from spin.runtime.product import KEY
from tests.faults.bad_checkpoints import EXP, Code, cut_in_half
from tests.faults.layouts import remove

DATA = Path("data/c")
SETTINGS = (
    "asr.tokens=characters", "asr.batch_seconds=4", "asr.hidden=16", "asr.max_steps=4", "asr.valid_every_steps=2",
    "asr.checkpoint_every_steps=1", "asr.seeds=[0]", "units.kmeans_starts=1",
)  # fmt: skip
# Files that are equal to the byte however a run was interrupted or repaired.
SAME = {
    0: ("data/c/cuts_*.jsonl.gz", "data/c/lexicon.txt"),
    1: ("data/c/speaker_pitch.json", "data/c/pitch/*/cuts.jsonl.gz"),
    2: ("exp/t/spin/model.safetensors",),
    3: ("exp/t/units/*/*/units.jsonl", "exp/t/units/*/kmeans.safetensors", "exp/t/metrics/*/metrics.json"),
    4: ("exp/t/asr/*/*/seed*/history.jsonl", "exp/t/lang/*.txt"),
    5: ("exp/t/scores.json", "exp/t/decode/**/hypotheses.txt"),
}


@dataclass(frozen=True)
class BadProduct:
    """A kind.

    Attributes:
        name: for people.
        stage: the stage that meets it.
        make: given a folder with stages 0 to 5 done, damages it.
        expected: a regular expression of the message; "" where the stage must end with the same files as an undisturbed run.
    """

    name: str
    stage: int
    make: Callable[[Path], object]
    expected: str = ""


def each(pattern: str, change: Callable[[Path], object]) -> Callable[[Path], object]:
    """Changes every file of a pattern, of which there must be one."""

    def make(folder: Path) -> None:
        paths = sorted(folder.glob(pattern))
        assert paths, pattern
        for path in paths:
            change(path)

    return make


def interrupted(pattern: str, *changes: Callable[[Path], object]) -> Callable[[Path], object]:
    """Turns finished folders into those of an interrupted build, then changes them."""

    def make(folder: Path) -> None:
        paths = sorted(folder.glob(pattern))
        assert paths, pattern
        for path in paths:
            note = json.loads((path / KEY).read_text())
            (path / KEY).write_text(json.dumps({"key": note["key"], "forced": note["forced"]}))
            partial = path.rename(path.with_name(path.name + ".partial"))
            for change in changes:
                change(partial)

    return make


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_bytes(b"hello\n" * 100)


def checkpoints(change: Callable[[Path], object], last: bool = False) -> Callable[[Path], object]:
    """Changes the step checkpoints below a folder."""

    def make(folder: Path) -> None:
        paths = sorted(folder.rglob("step-*.safetensors"))
        assert paths, folder
        for path in paths[-1:] if last else paths:
            change(path)

    return make


def without_result(*names: str) -> Callable[[Path], object]:
    """Removes what an interrupted build had not written yet."""
    return lambda folder: [remove(folder / name) for name in names if (folder / name).exists()]


def weights(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    """Changes every floating-point tensor of a checkpoint's model."""

    def walk(value, inside: bool):
        if isinstance(value, dict):
            return {key: walk(item, inside or key in ("model", "trained")) for key, item in value.items()}
        return change(value) if inside and isinstance(value, torch.Tensor) and value.is_floating_point() else value

    def make(path: Path) -> None:
        step, state = read_checkpoint(path)
        write_checkpoint(path, step, walk(state, False))

    return make


def nan(value: torch.Tensor) -> torch.Tensor:
    return value * float("nan")


def smaller(value: torch.Tensor) -> torch.Tensor:
    return value[..., :1].clone() if value.ndim > 1 else value


def code(path: Path) -> None:
    torch.save({"step": 1, "state": Code()}, path)


def unkeyed(path: Path) -> None:
    (path / KEY if path.is_dir() else path.with_name(f".{path.name}{KEY}")).unlink()


_MANIFEST, _PITCH = f"{DATA}/cuts_train.jsonl.gz", f"{DATA}/pitch/train"
_MODEL, _FEATURES = f"{EXP}/spin/model.safetensors", f"{EXP}/features/baseline/*"
_KMEANS, _UNITS = f"{EXP}/units/*/kmeans.safetensors", f"{EXP}/units/baseline/*/units.jsonl"
_RECOGNISER, _GRAPH = f"{EXP}/asr/baseline/*/seed0", f"{EXP}/graphs/HLG*"
_BEST = f"{_RECOGNISER}/{artifacts.asr_model_in(Path()).name}"
_CHANGED = "was changed after it was built[\\s\\S]*run.sh --stage {}"


def _reader(what: str, stage: int, owner: int, pattern: str) -> tuple[BadProduct, ...]:
    """A later stage refuses a damaged product and names the stage that builds it."""
    changed = _CHANGED.format(owner)
    return (
        BadProduct(f"{what} truncated, read by stage {stage}", stage, each(pattern, cut_in_half), changed),
        BadProduct(f"{what} of 0 bytes, read by stage {stage}", stage, each(pattern, emptied), changed),
        BadProduct(f"{what} missing, read by stage {stage}", stage, each(pattern, remove), "is gone|not built yet"),
    )


def _owner(what: str, stage: int, pattern: str) -> tuple[BadProduct, ...]:
    """The stage that owns a damaged product builds it again, with the same content."""
    return (
        BadProduct(f"{what} truncated", stage, each(pattern, cut_in_half)),
        BadProduct(f"{what} that is text", stage, each(pattern, text)),
        BadProduct(f"{what} missing", stage, each(pattern, remove)),
    )


_SPIN, _CUT_RECOGNISER = f"{EXP}/spin", without_result("best.safetensors", "best.json")
_NO_MODEL = without_result("model.safetensors")
KINDS = (
    *_reader("manifest", 1, 0, _MANIFEST),
    *_reader("pitch arrays", 2, 1, f"{_PITCH}/*.bin"),
    *_reader("Spin model", 3, 2, _MODEL),
    *_reader("features", 4, 3, f"{_FEATURES}/*.bin"),
    *_reader("recogniser", 5, 4, _BEST),
    BadProduct("key of the pitch missing, read by stage 2", 2, each(_PITCH, unkeyed), "no readable key[\\s\\S]*--stage 1"),
    *_owner("manifest", 0, _MANIFEST),
    *_owner("pitch manifest", 1, f"{_PITCH}/cuts.jsonl.gz"),
    *_owner("pitch arrays", 1, f"{_PITCH}/*.bin"),
    *_owner("Spin model", 2, _MODEL),
    *_owner("k-means", 3, _KMEANS),
    *_owner("units", 3, _UNITS),
    *_owner("features", 3, f"{_FEATURES}/*.bin"),
    *_owner("recogniser", 4, _BEST),
    *_owner("lexicon's FST", 4, f"{EXP}/lang/L*.safetensors"),
    *_owner("decoding graph", 5, f"{_GRAPH}/*.safetensors"),
    *_owner("decoding's summary", 5, f"{EXP}/decode/**/summary.json"),
    BadProduct("key of the Spin model missing", 2, each(_SPIN, unkeyed)),
    BadProduct("key of a manifest missing", 0, each(_MANIFEST, unkeyed)),
    BadProduct("interrupted Spin", 2, interrupted(_SPIN, _NO_MODEL)),
    BadProduct("interrupted Spin, last checkpoint truncated", 2, interrupted(_SPIN, _NO_MODEL, checkpoints(cut_in_half, True))),
    BadProduct("interrupted Spin, last checkpoint with NaN", 2, interrupted(_SPIN, _NO_MODEL, checkpoints(weights(nan), True))),
    BadProduct("interrupted Spin, no checkpoint readable", 2, interrupted(_SPIN, checkpoints(cut_in_half)), "none readable"),
    BadProduct("interrupted Spin, code in its checkpoints", 2, interrupted(_SPIN, checkpoints(code)), "none readable"),
    BadProduct("interrupted Spin, other shapes", 2, interrupted(_SPIN, checkpoints(weights(smaller))), "other trained"),
    BadProduct("interrupted features", 3, interrupted(_FEATURES)),
    BadProduct("interrupted units", 3, interrupted(f"{EXP}/units/baseline/[dt]*")),
    BadProduct("interrupted recogniser", 4, interrupted(_RECOGNISER, _CUT_RECOGNISER)),
    BadProduct("interrupted recogniser, last one truncated", 4, interrupted(_RECOGNISER, checkpoints(cut_in_half, True))),
    BadProduct("interrupted recogniser, last one with NaN", 4, interrupted(_RECOGNISER, checkpoints(weights(nan), True))),
    BadProduct("interrupted recogniser, none readable", 4, interrupted(_RECOGNISER, checkpoints(emptied)), "none readable"),
    BadProduct("interrupted recogniser, code in them", 4, interrupted(_RECOGNISER, checkpoints(code)), "none readable"),
    BadProduct("interrupted recogniser, other shapes", 4, interrupted(_RECOGNISER, checkpoints(weights(smaller))), "shape|size"),
    BadProduct("interrupted decodings", 5, interrupted(f"{EXP}/decode/*/*/*/*/*", without_result("summary.json"))),
)  # fmt: skip
