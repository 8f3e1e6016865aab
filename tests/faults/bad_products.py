"""Kinds of damage to what a stage leaves for another, or for itself after a kill: manifests, indices, arrays, models, graphs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from spin import artifacts
from tests.faults.bad_checkpoints import EXP, Code, cut_in_half
from tests.faults.layouts import remove

DATA = Path("data/c")
SETTINGS = (
    "asr.tokens=characters", "asr.batch_seconds=4", "asr.hidden=16", "asr.max_steps=4", "asr.valid_every_steps=2",
    "asr.checkpoint_every_steps=1", "asr.seeds=[0]", "units.kmeans_starts=1",
)  # fmt: skip
# What must be as in an undisturbed run where a stage goes on in spite of the damage.
SAME = {
    1: ("data/c/speaker_pitch.json",),
    2: ("exp/t/spin/model.safetensors",),
    3: ("exp/t/units/*/units_*.jsonl", "exp/t/units/*/kmeans.safetensors"),
    4: ("exp/t/asr_*/seed*/history.jsonl",),
    5: ("exp/t/scores.json", "exp/t/asr_*/seed*/decode/*/*/*.txt"),
}
ASR = artifacts.asr_seed_folder(EXP, "baseline", 0)
BEST = artifacts.asr_model(EXP, "baseline", 0)
AGAIN = "--force"  # the whole stage; without it the stage goes on as after a kill


@dataclass(frozen=True)
class BadProduct:
    """A kind.

    Attributes:
        name: for people.
        stage: that meets it.
        make: given a folder with stages 0 to 5 done, damages the product.
        expected: a regular expression that the message must contain; "" where the stage must end with the same products.
        options: of the command.
    """

    name: str
    stage: int
    make: Callable[[Path], object]
    expected: str = ""
    options: tuple[str, ...] = ()


def _each(pattern: str, change: Callable[[Path], object]) -> Callable[[Path], object]:
    """Changes every file of a pattern, of which there must be one."""

    def make(folder: Path) -> None:
        paths = sorted(folder.glob(pattern))
        assert paths, pattern
        for path in paths:
            change(path)

    return make


def _together(*makes: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda folder: [make(folder) for make in makes]


def killed(stage: int, *patterns: str) -> Callable[[Path], object]:
    """As after a kill of the stage before it had made the files of these patterns."""

    def make(folder: Path) -> None:
        home = folder / (EXP if stage >= 2 else DATA)
        artifacts.done_mark(home, stage).rename(artifacts.started_mark(home, stage))
        for pattern in patterns:
            for path in folder.glob(pattern):
                remove(path)

    return make


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_bytes(b"hello\n" * 100)


def _flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(255 - value for value in content[middle : middle + 64])
    path.write_bytes(content)


def _with_objects(path: Path) -> None:
    np.savez(path, made_of=np.array([Code()], dtype=object))


def _state(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    """Changes the weights of a checkpoint of a recogniser."""

    def make(path: Path) -> None:
        content = torch.load(path, weights_only=True)
        content["state"]["model"] = {name: change(value) for name, value in content["state"]["model"].items()}
        torch.save(content, path)

    return make


def _nan(value: torch.Tensor) -> torch.Tensor:
    return value * float("nan") if value.is_floating_point() else value


def _smaller(value: torch.Tensor) -> torch.Tensor:
    return value[..., :1].clone()


def _code(path: Path) -> None:
    torch.save({"step": 1, "state": Code()}, path)


def _script(path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)


def _centres(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with safetensors.safe_open(path, framework="pt") as opened:
            note, centres = opened.metadata(), {name: change(opened.get_tensor(name)) for name in opened.keys()}
        safetensors.torch.save_file(centres, path, metadata=note)

    return make


_INDEX, _PITCH_INDEX = f"{DATA}/cuts_train.index.npz", f"{DATA}/cuts_train_pitch.index.npz"
_CUTS, _PITCH_CUTS = f"{DATA}/cuts_train.jsonl.gz", f"{DATA}/cuts_train_pitch.jsonl.gz"
_PITCH_ARRAYS = f"{artifacts.pitch_arrays(DATA, 'train')}/*.bin"
_KMEANS, _SHARDS, _UNIT_CUTS = f"{EXP}/units/*/kmeans.safetensors", f"{EXP}/units/**/kmeans-*.jsonl", f"{EXP}/units/*/cuts_*.gz"
_RECORDS, _UNITS = f"{EXP}/units/**/features-*.jsonl", f"{EXP}/units/baseline/**/units/**/*.npy"
_SUMMARIES = f"{EXP}/asr_*/seed*/decode/**/*.json"
_FEATURES = f"{EXP}/units/baseline/**/hidden/**/*.npy"
_STEPS, _GRAPH = f"{ASR}/step-*.pt", f"{EXP}/lang/HLG*"


def _last_step(change: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda folder: change(sorted(folder.glob(_STEPS))[-1])


_NO_KMEANS_YET = killed(3, _SHARDS, _UNIT_CUTS)
_NOT_MEASURED = killed(3, str(artifacts.unit_quality(EXP)))
_CUT_OFF, _NOT_DECODED = killed(4), killed(5, f"{EXP}/asr_*/seed*/decode", str(artifacts.scores(EXP)))


def _checkpoint(name: str, change: Callable[[Path], object], expected: str = "none readable") -> BadProduct:
    return BadProduct(f"recogniser's checkpoints {name}", 4, _together(_each(_STEPS, change), _CUT_OFF), expected)


def _recogniser(name: str, change: Callable[[Path], object], expected: str = "best.pt") -> BadProduct:
    return BadProduct(f"recogniser {name}", 5, _together(_each(str(BEST), change), _NOT_DECODED), expected)


KINDS = (
    BadProduct("index truncated", 1, _each(_INDEX, cut_in_half), options=(AGAIN,)),
    BadProduct("index of no byte", 1, _each(_INDEX, _emptied), options=(AGAIN,)),
    BadProduct("index with code in it", 1, _each(_INDEX, _with_objects), options=(AGAIN,)),
    BadProduct(
        "index of another manifest", 1, lambda folder: (folder / f"{DATA}/cuts_dev.index.npz").replace(folder / _INDEX),
        options=(AGAIN,),
    ),
    BadProduct("manifest truncated", 1, _each(_CUTS, cut_in_half), "cuts_train.*", (AGAIN,)),
    BadProduct("manifest damaged in the middle", 1, _each(_CUTS, _flipped), "cuts_train.*", (AGAIN,)),
    BadProduct("manifest of no byte", 1, _each(_CUTS, _emptied), "cuts_train.*", (AGAIN,)),
    BadProduct("manifest that is text", 1, _each(_CUTS, _text), "cuts_train.*", (AGAIN,)),
    BadProduct("pitch index truncated", 2, _each(_PITCH_INDEX, cut_in_half), options=(AGAIN,)),
    BadProduct("pitch manifest truncated", 2, _each(_PITCH_CUTS, cut_in_half), "cuts_train_pitch", (AGAIN,)),
    BadProduct("pitch manifest of no byte", 2, _each(_PITCH_CUTS, _emptied), "cuts_train_pitch", (AGAIN,)),
    BadProduct("pitch arrays truncated", 2, _each(_PITCH_ARRAYS, cut_in_half), r"\.bin", (AGAIN,)),
    BadProduct("pitch arrays missing", 2, _each(_PITCH_ARRAYS, remove), r"\.bin", (AGAIN,)),
    BadProduct("manifest truncated, features", 3, _each(_CUTS, cut_in_half), "cuts_train.*", (AGAIN,)),
    BadProduct("manifest of no byte, features", 3, _each(_CUTS, _emptied), "cuts_train.*", (AGAIN,)),
    BadProduct("k-means truncated", 3, _together(_each(_KMEANS, cut_in_half), _NO_KMEANS_YET), "kmeans.safetensors"),
    BadProduct("k-means of no byte", 3, _together(_each(_KMEANS, _emptied), _NO_KMEANS_YET), "kmeans.safetensors"),
    BadProduct("k-means with NaN", 3, _together(_each(_KMEANS, _centres(_nan)), _NO_KMEANS_YET), "finite"),
    BadProduct("k-means of other shape", 3, _together(_each(_KMEANS, _centres(_smaller)), _NO_KMEANS_YET), "kmeans.safetensors"),
    BadProduct("shard's records truncated", 3, _together(_each(_RECORDS, cut_in_half), _NO_KMEANS_YET), "features-.*jsonl"),
    BadProduct("stored units truncated", 3, _together(_each(_UNITS, cut_in_half), _NOT_MEASURED), r"\.npy"),
    BadProduct("stored features truncated", 3, _together(_each(_FEATURES, cut_in_half), _NOT_MEASURED), r"\.npy"),
    BadProduct("stored features truncated, training", 4, _each(_FEATURES, cut_in_half), "features of", (AGAIN,)),
    BadProduct("stored features missing, training", 4, _each(_FEATURES, remove), "features of", (AGAIN,)),
    BadProduct("stored features of no byte, training", 4, _each(_FEATURES, _emptied), "features of", (AGAIN,)),
    BadProduct("manifest of features truncated", 4, _each(_UNIT_CUTS, cut_in_half), "cuts_", (AGAIN,)),
    BadProduct("manifest of features of no byte", 4, _each(_UNIT_CUTS, _emptied), "cuts_", (AGAIN,)),
    BadProduct("recogniser's last checkpoint truncated", 4, _together(_last_step(cut_in_half), _CUT_OFF)),
    BadProduct("recogniser's last checkpoint with NaN", 4, _together(_last_step(_state(_nan)), _CUT_OFF)),
    _checkpoint("truncated", cut_in_half),
    _checkpoint("of no byte", _emptied),
    _checkpoint("with NaN", _state(_nan)),
    _checkpoint("with code in them", _code),
    _checkpoint("of TorchScript", _script),
    _checkpoint("of another shape", _state(_smaller), "size mismatch"),
    BadProduct("lexicon's FST truncated", 4, _together(_each(f"{EXP}/lang/L*.pt", cut_in_half), _CUT_OFF)),
    _recogniser("truncated", cut_in_half),
    _recogniser("of no byte", _emptied),
    _recogniser("with NaN", _state(_nan), "finite"),
    _recogniser("with code in it", _code),
    _recogniser("of TorchScript", _script),
    _recogniser("of another shape", _state(_smaller), "size mismatch"),
    _recogniser("missing", remove),
    BadProduct("HLG truncated", 5, _together(_each(_GRAPH, cut_in_half), _NOT_DECODED)),
    BadProduct("HLG of no byte", 5, _together(_each(_GRAPH, _emptied), _NOT_DECODED)),
    BadProduct("HLG that is text", 5, _together(_each(_GRAPH, _text), _NOT_DECODED)),
    BadProduct("language model truncated", 5, _together(_each(f"{EXP}/lang/*.arpa*", cut_in_half), _NOT_DECODED)),
    BadProduct("decoding's summary truncated", 5, _together(_each(_SUMMARIES, cut_in_half), killed(5)), r"\.json"),
    BadProduct("stored features truncated, decoding", 5, _together(_each(_FEATURES, cut_in_half), _NOT_DECODED), "features of"),
)  # fmt: skip
