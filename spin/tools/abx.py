"""python -m spin abx: the ABX error of features or units on a ZeroSpeech .item file.

python -m spin abx --features DIR --item dev-clean.item                           # DIR/<file>.npy, (frames, dim) at 50 Hz
python -m spin abx --features DIR --item phoneme-dev-clean.item --context any     # phones in any context
python -m spin abx --features units.jsonl --item dev-clean.item --json            # units as one-hot vectors
python -m spin abx --features exp/mini/features/spin/test/cuts.jsonl.gz --item test.item
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from spin import artifacts
from spin.corpus.abx_item import Item, read_items
from spin.data.cuts import read_cuts
from spin.data.store import load_array
from spin.errors import DataError
from spin.runtime.files import read_jsonl
from spin.units.abx import abx
from spin.units.abx_design import Design, Triphone, design, frames_inside
from spin.units.units import read_units

_LATEST_IN_S = 0.1  # an item may begin this much after the last frame: encoders give none for the last samples of a file


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Options of the command."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m spin abx", description=__doc__, formatter_class=raw, allow_abbrev=False)
    parser.add_argument("--features", required=True, help="a folder of .npy files, a units.jsonl, or a manifest of stage 3")
    parser.add_argument("--item", required=True, help="a ZeroSpeech .item file: of triphones, or of phonemes")
    context = "whether A, B and X are between the same phones"
    parser.add_argument("--context", default="within", choices=("within", "any"), help=context)
    parser.add_argument("--one-hot", action="store_true", help="units: equal or not, instead of the angle")
    parser.add_argument("--frame-rate", type=float, default=50.0, metavar="HZ", help="frames per second (50)")
    parser.add_argument("--libri-light", action="store_true", help="items end a frame earlier, as in the code of ZeroSpeech 2021")
    parser.add_argument("--max-group", type=int, default=10, metavar="N", help="items per phone, speaker and context (10)")
    parser.add_argument("--max-x-speakers", type=int, default=5, metavar="N", help="speakers X per A and B, across (5)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the sampling (0)")
    parser.add_argument("--nj", type=int, default=1, help="threads (1); the result does not depend on it")
    parser.add_argument("--json", action="store_true", help="JSON instead of text")
    arguments = parser.parse_args(argv)
    for name, least in (("frame_rate", 1e-3), ("max_group", 2), ("max_x_speakers", 1), ("nj", 1)):
        if not least <= getattr(arguments, name) < math.inf:
            parser.error(f"--{name.replace('_', '-')}: found {getattr(arguments, name)}, expected {least} or more")
    return arguments


def main(argv: list[str] | None = None) -> None:
    """Prints the errors.

    Raises:
        SpinError: a file that is missing, damaged or does not fit.
    """
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    source = Source(arguments.features, arguments.one_hot)
    items = list(read_items(arguments.item))
    triphones = list(on_frames(items, source, arguments.frame_rate, arguments.context, arguments.libri_light))
    plan = lay_out(triphones, arguments)
    measured = dataclasses.asdict(abx(plan, source, arguments.nj))
    result = {
        "features": str(arguments.features),
        "item": str(arguments.item),
        "one_hot": source.one_hot,
        "context": arguments.context,
        "frame_rate": arguments.frame_rate,
        "libri_light": arguments.libri_light,
        **{name: None if math.isnan(value) else value for name, value in measured.items()},  # NaN: nothing was compared
        "items": len(items),
        "items_without_frame": len(items) - len(triphones),
        "items_compared": len(plan.items),
        "items_per_group": plan.items_per_group,
        "max_x_speakers": arguments.max_x_speakers,
        "seed": arguments.seed,
    }
    print(json.dumps(result, indent=2) if arguments.json else _text(result))


class Source:
    """Arrays by file name: (T, D) finite floats, or (T,) int64 units.

    Args:
        path: a folder of <file>.npy, where the name may hold folders; a units.jsonl; or a manifest of stage 3.
        one_hot: whether to read units; a units.jsonl holds nothing else.

    Raises (both methods):
        DataError: a file is missing, unreadable, or of another shape.
    """

    def __init__(self, path: str | Path, one_hot: bool):
        self.path, self.one_hot, self._arrays, self._width = Path(path), one_hot, None, None
        if self.path.is_dir():
            return
        lines = read_jsonl(self.path) if self.path.name.endswith((".jsonl", ".jsonl.gz")) else iter(())
        record = next(lines, None)
        if record is None:
            expected = "a folder of .npy files, a units.jsonl, or cuts of stage 3"
            raise DataError(f"features {path}", found="no such folder, no such file, or an empty one", expected=expected)
        if artifacts.UNITS_SEQUENCE in record:
            self.one_hot = True
            self._arrays = {name: partial(np.asarray, units, np.int64) for name, units in read_units(self.path)}
        else:
            field = artifacts.UNITS_FIELD if one_hot else artifacts.HIDDEN_FIELD
            self._arrays = {cut.id: partial(load_array, cut, field) for cut in read_cuts(self.path)}

    def __call__(self, file: str) -> np.ndarray:
        if self._arrays is None:
            return self._read(self.path / f"{file}.npy")
        if file not in self._arrays:
            expected, remedy = "every file of the item file", "correct --features or --item"
            raise DataError(str(self.path), found=f"no {file}", expected=expected, remedy=remedy)
        return self._arrays[file]()

    def _read(self, path: Path) -> np.ndarray:
        try:
            values = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            found, cause = f"{type(error).__name__}: {error}"[:200], "a missing or damaged file"
            raise DataError(str(path), found=found, expected="an array", cause=cause, remedy="correct --features") from error
        if self.one_hot:
            return as_units(path, values)
        values = as_features(path, values)
        width, first = self._width = self._width or (values.shape[1], path.name)
        if values.shape[1] != width:
            raise DataError(str(path), found=f"{values.shape[1]} dimensions", expected=f"{width}, as in {first}")
        return values


def as_features(path: Path, values: np.ndarray) -> np.ndarray:
    """(T, D) finite floats, T and D at least 1."""
    if values.ndim != 2 or 0 in values.shape or values.dtype.kind not in "fiu":
        found = f"{values.dtype} of shape {values.shape}"
        remedy = "add --one-hot, if these are units" if values.ndim == 1 else ""
        raise DataError(str(path), found=found, expected="(frames, dim) numbers", remedy=remedy)
    values = values.astype(np.float32, copy=False)
    if not np.isfinite(values).all():
        cause = "16 bits that overflowed"
        raise DataError(str(path), found="features that are not finite", expected="finite numbers", cause=cause)
    return values


def as_units(path: Path, values: np.ndarray) -> np.ndarray:
    """(T,) int64 from (T,) or (T, 1) whole numbers."""
    flat = values.reshape(-1) if values.ndim == 2 and values.shape[1] == 1 else values
    if flat.ndim != 1 or not len(flat) or flat.dtype.kind not in "fiu" or not (flat == np.round(flat)).all() or flat.min() < 0:
        found, expected = f"{values.dtype} of shape {values.shape}", "(frames,) whole numbers from 0 on"
        raise DataError(str(path), found=found, expected=expected, remedy="leave out --one-hot")
    return flat.astype(np.int64)


def on_frames(items: Iterable[Item], source: Source, rate: float, context: str, libri_light: bool = False) -> Iterator[Triphone]:
    """Items as frames: those whose middle, (i + 1/2) / rate, lies in the item. Items without a frame are left out.

    Args:
        items: items of the item file.
        source: file -> array of T frames; called once per file.
        rate: frames per second.
        context: within (the neighbours are kept) or any (they are dropped: all items of a phone and speaker are one group).
        libri_light: without the last of these frames, as in libri-light's eval_ABX, from which published figures come.

    Raises:
        DataError: an item begins where the features have long ended.
    """
    lengths: dict[str, int] = {}
    for item in items:
        frames = lengths[item.file] if item.file in lengths else lengths.setdefault(item.file, len(source(item.file)))
        if item.onset > frames / rate + _LATEST_IN_S:
            raise DataError(
                f"item of {item.file} at {item.onset:g} s",
                found=f"features that end at {frames / rate:.2f} s ({frames} frames, {rate:g} per second)",
                expected="features of the whole file",
                cause="another frame rate, or features of other audio",
                remedy="set --frame-rate",
            )
        first, count = frames_inside(item.onset, item.offset, rate, frames, int(libri_light))
        if count > 0:
            before, after = (item.before, item.after) if context == "within" else ("", "")
            yield Triphone(item.file, item.speaker, first, count, before, item.phone, after)


def lay_out(items: list[Triphone], arguments: argparse.Namespace) -> Design:
    """The comparisons that the options ask for.

    Raises:
        DataError: there are none.
    """
    plan = design(items, arguments.max_group, arguments.max_x_speakers, sys.maxsize, seed=arguments.seed)
    if not len(plan.within) + len(plan.across):
        raise DataError(
            f"item file {arguments.item}",
            found=f"{len(items)} items, but nothing to compare",
            expected="two phones of one speaker in one context, and another item of one of them",
            cause="too few items",
            remedy="use --context any",
        )
    return plan


def _text(result: dict) -> str:
    names = {"within": "within speakers", "across": "across speakers"}
    shown = [(name, result[key], result[f"{key}_cells"]) for key, name in names.items() if result[key] is not None]
    lines = [f"ABX error {name}: {error:.2f} % ({cells} cells)" for name, error, cells in shown]
    kept = f"{result['items_compared']} of {result['items']} items compared, at most {result['items_per_group']} per group"
    return "\n".join([*lines, f"{kept}; {result['items_without_frame']} without a frame"])
