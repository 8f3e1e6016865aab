"""Features or units for the ABX command: a folder of arrays, a units.jsonl, or a manifest of stage 3."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from spin import artifacts
from spin.data.cuts import read_cuts
from spin.data.store import load_array
from spin.errors import DataError
from spin.runtime.files import read_jsonl
from spin.units.runs import read_sequences

SUFFIXES = (".npy", ".npz", ".pt")


class ArrayFolder:
    """FOLDER/<file>.npy, .npz or .pt, one array per file; the name of a file may hold folders.

    Args:
        folder: folder of the files.
        one_hot: whether they are units.
        key: name of the array in an .npz file or in a dictionary in a .pt file; None: it is the only one.

    Raises (all methods):
        DataError: a file is missing, there twice, unreadable, or of another shape.
    """

    def __init__(self, folder: str | Path, one_hot: bool = False, key: str | None = None):
        self.folder, self.one_hot, self.key = Path(folder), one_hot, key
        self._dim: tuple[int, str] | None = None
        if not self.folder.is_dir():
            raise DataError(f"features {folder}", found="no such folder", expected=f"a folder of {' '.join(SUFFIXES)} files")

    def frames(self, file: str) -> int:
        """T of a file; of an .npy file only the header is read."""
        path = self._path(file)
        values = self._read(path)
        return len(values) if values.ndim else len(as_features(path, values))

    def __call__(self, file: str) -> np.ndarray:
        """(T, D) finite floats, or with one_hot (T,) int64."""
        path = self._path(file)
        values = as_units(path, self._read(path)) if self.one_hot else as_features(path, self._read(path))
        dim, first = self._dim = self._dim or (values.shape[-1], path.name)
        if not self.one_hot and values.shape[1] != dim:
            raise DataError(str(path), found=f"{values.shape[1]} dimensions", expected=f"{dim}, as in {first}")
        return values

    def _path(self, file: str) -> Path:
        paths = [path for suffix in SUFFIXES if (path := self.folder / f"{file}{suffix}").is_file()]
        if len(paths) == 1:
            return paths[0]
        found, expected = " ".join(path.name for path in paths) or "no such file", f"one of {' '.join(SUFFIXES)}"
        raise DataError(str(self.folder / file), found=found, expected=expected, remedy="correct --features")

    def _read(self, path: Path) -> np.ndarray:
        try:
            if path.suffix == ".npy":
                return np.load(path, mmap_mode="r", allow_pickle=False)
            if path.suffix == ".npz":
                with np.load(path, allow_pickle=False) as archive:
                    return np.asarray(self._pick(path, dict(archive)))
            content = torch.load(path, map_location="cpu", weights_only=True)
            content = self._pick(path, content) if isinstance(content, dict) else content
            if not isinstance(content, torch.Tensor):
                raise DataError(str(path), found=f"a {type(content).__name__}", expected="a tensor")
            content = content.detach()
            return (content.float() if content.is_floating_point() else content).numpy()
        except (OSError, ValueError, EOFError, KeyError, RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
            found = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise DataError(str(path), found=found, expected="an array", cause="damaged, or of another program") from error

    def _pick(self, path: Path, arrays: dict):
        if self.key is None and len(arrays) == 1:
            return next(iter(arrays.values()))
        if self.key in arrays:
            return arrays[self.key]
        found = f"arrays {' '.join(map(str, arrays))}" if arrays else "no array"
        raise DataError(str(path), found=found, expected=self.key or "a single one", remedy="name one with --key")


class ArrayTable:
    """Arrays by utterance, from a units.jsonl or from a manifest of stage 3.

    Args:
        path: the file, for messages.
        arrays: utterance id -> function that loads its array.
    """

    def __init__(self, path: Path, arrays: dict[str, Callable[[], np.ndarray]]):
        self.path, self._arrays = path, arrays

    @classmethod
    def from_lines(cls, path: Path) -> ArrayTable:
        """Units of a units.jsonl; raises DataError for other lines."""
        return cls(path, {name: partial(np.asarray, units, np.int64) for name, units in read_sequences(path)})

    @classmethod
    def from_manifest(cls, path: Path, one_hot: bool) -> ArrayTable:
        """Features, or with one_hot units, of a manifest; raises DataError for a cut without them."""
        field = artifacts.UNITS_FIELD if one_hot else artifacts.HIDDEN_FIELD
        return cls(path, {cut.id: partial(load_array, cut, field) for cut in read_cuts(path)})

    def frames(self, file: str) -> int:
        """T of an utterance."""
        return len(self(file))

    def __call__(self, file: str) -> np.ndarray:
        """(T, D) float16 or (T,) integers."""
        if file not in self._arrays:
            expected, remedy = "every file of the item file", "correct --features or --item"
            raise DataError(str(self.path), found=f"no {file}", expected=expected, remedy=remedy)
        return self._arrays[file]()


def open_source(path: str | Path, one_hot: bool, key: str | None) -> tuple[ArrayFolder | ArrayTable, bool]:
    """The source at `path`, and whether it holds units: a units.jsonl can hold nothing else."""
    path = Path(path)
    if path.is_dir() or not path.name.endswith((".jsonl", ".jsonl.gz")):
        return ArrayFolder(path, one_hot, key), one_hot
    record = next(iter(read_jsonl(path)), None)
    if record is None:
        expected = "units.jsonl, or cuts of stage 3"
        raise DataError(f"features {path}", found="no such file, or an empty one", expected=expected)
    if artifacts.UNITS_SEQUENCE in record:
        return ArrayTable.from_lines(path), True
    return ArrayTable.from_manifest(path, one_hot), one_hot


def as_features(name: str | Path, values: np.ndarray) -> np.ndarray:
    """(T, D) finite floats, T and D at least 1."""
    if values.ndim != 2 or 0 in values.shape or values.dtype.kind not in "fiu":
        found = f"{values.dtype} of shape {values.shape}"
        remedy = "add --one-hot, if these are units" if values.ndim == 1 else ""
        raise DataError(str(name), found=found, expected="(frames, dim) numbers", remedy=remedy)
    values = values.astype(np.float32, copy=False)
    if not np.isfinite(values).all():
        raise DataError(
            str(name), found="features that are not finite", expected="finite numbers", cause="16 bits that overflowed"
        )
    return values


def as_units(name: str | Path, values: np.ndarray) -> np.ndarray:
    """(T,) int64 from (T,) or (T, 1) whole numbers, or from (T, K) one-hot rows."""
    if values.ndim == 2 and values.shape[1] > 1:
        hot = values != 0
        if not ((hot.sum(1) == 1).all() and (values[hot] == 1).all()):
            raise DataError(str(name), found="rows that are not one-hot", expected="units", remedy="leave out --one-hot")
        return hot.argmax(1).astype(np.int64)
    flat = values.reshape(-1) if values.ndim == 2 else values
    if flat.ndim != 1 or not len(flat) or flat.dtype.kind not in "fiu" or not (flat == np.round(flat)).all() or flat.min() < 0:
        found = f"{values.dtype} of shape {values.shape}"
        raise DataError(str(name), found=found, expected="(frames,) whole numbers from 0 on", remedy="leave out --one-hot")
    return flat.astype(np.int64)
