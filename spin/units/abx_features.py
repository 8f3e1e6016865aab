"""Where the ABX command finds the features or units of a file: a folder of arrays, a units.jsonl, or a manifest of stage 3."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import torch

from spin import artifacts
from spin.errors import DataError
from spin.runtime.files import read_jsonl
from spin.units.sequences import read_entries
from spin.units.shards import read_cuts

SUFFIXES = (".npy", ".npz", ".pt")
_REMEDY = "one array a file, (frames, dim) or with --one-hot (frames,)"


class ArrayFolder:
    """FOLDER/<file>.npy, .npz or .pt, one array a file; the name of a file may hold folders.

    Args:
        key: of the array in an .npz file or in a dictionary in a .pt file; None: there is only one.

    Raises (all methods):
        DataError: names the file that is missing, there twice, unreadable, or of another shape.
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
        found = [path for suffix in SUFFIXES if (path := self.folder / f"{file}{suffix}").is_file()]
        if len(found) == 1:
            return found[0]
        what = " ".join(path.name for path in found) or "no such file"
        raise DataError(str(self.folder / file), found=what, expected=f"one of {' '.join(SUFFIXES)}", remedy="--features")

    def _read(self, path: Path) -> np.ndarray:
        try:
            if path.suffix == ".npy":
                return np.load(path, mmap_mode="r", allow_pickle=False)
            if path.suffix == ".npz":
                with np.load(path, allow_pickle=False) as archive:
                    return np.asarray(self._pick(path, dict(archive)))
            loaded = torch.load(path, map_location="cpu", weights_only=True)
            loaded = self._pick(path, loaded) if isinstance(loaded, dict) else loaded
            if not isinstance(loaded, torch.Tensor):
                raise DataError(str(path), found=f"a {type(loaded).__name__}", expected="a tensor", remedy=_REMEDY)
            loaded = loaded.detach()
            return (loaded.float() if loaded.is_floating_point() else loaded).numpy()
        except (OSError, ValueError, EOFError, KeyError, RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
            found = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise DataError(str(path), found=found, expected="an array", cause="damaged, or of another program") from error

    def _pick(self, path: Path, arrays: dict):
        if self.key is None and len(arrays) == 1:
            return next(iter(arrays.values()))
        if self.key in arrays:
            return arrays[self.key]
        found = f"arrays {' '.join(map(str, arrays))}" if arrays else "no array"
        raise DataError(str(path), found=found, expected=self.key or "a single one", remedy="--key NAME")


class Lines:
    """Units of a units.jsonl, held in memory; deduplicated units with their durations are frames again.

    Raises:
        DataError: a line of another form, or a file that is not there.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._units = {entry.id: np.repeat(entry.symbols, entry.durations or 1) for entry in read_entries(self.path)}

    def frames(self, file: str) -> int:
        return len(self(file))

    def __call__(self, file: str) -> np.ndarray:
        """(T,) int64."""
        if file not in self._units:
            raise _absent(self.path, file)
        return self._units[file].astype(np.int64)


class Manifest:
    """The hidden features or the units in a manifest of stage 3.

    Raises:
        DataError: a cut without them, or a file that is not there.
    """

    def __init__(self, path: str | Path, one_hot: bool = False):
        self.path = Path(path)
        self.field = artifacts.UNITS_FIELD if one_hot else artifacts.HIDDEN_FIELD
        self._arrays = {}
        for cut in read_cuts(self.path):
            if self.field not in (cut.custom or {}):
                raise DataError(
                    f"{path}: {cut.id}", found=f"no {self.field}", expected="a manifest of stage 3", remedy="exp/*/units"
                )
            self._arrays[cut.id] = cut.custom[self.field]

    def frames(self, file: str) -> int:
        return self._array(file).shape[0]

    def __call__(self, file: str) -> np.ndarray:
        """(T, D) float16 or (T,) int32."""
        return self._array(file).load()

    def _array(self, file: str):
        if file not in self._arrays:
            raise _absent(self.path, file)
        return self._arrays[file]


Source = ArrayFolder | Lines | Manifest


def open_source(path: str | Path, one_hot: bool, key: str | None) -> tuple[Source, bool]:
    """What lies at `path`, and whether it holds units: a units.jsonl can hold nothing else."""
    path = Path(path)
    if path.is_dir() or not path.name.endswith((".jsonl", ".jsonl.gz")):
        return ArrayFolder(path, one_hot, key), one_hot
    record = next(iter(read_jsonl(path)), None)
    if record is None:
        raise DataError(f"features {path}", found="no such file, or an empty one", expected="units.jsonl, or stage 3's cuts")
    if artifacts.UNITS_SEQUENCE in record:
        return Lines(path), True
    return Manifest(path, one_hot), one_hot


def as_features(name: str | Path, values: np.ndarray) -> np.ndarray:
    """(T, D) finite floats, T and D at least 1."""
    if values.ndim != 2 or 0 in values.shape or values.dtype.kind not in "fiu":
        found = f"{values.dtype} of shape {values.shape}"
        remedy = "--one-hot, if these are units" if values.ndim == 1 else ""
        raise DataError(str(name), found=found, expected="(frames, dim) numbers", remedy=remedy)
    values = values.astype(np.float32, copy=False)
    if not np.isfinite(values).all():
        raise DataError(str(name), found="features that are not finite", expected="numbers", cause="16 bits that overflowed")
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


def _absent(path: Path, file: str) -> DataError:
    return DataError(str(path), found=f"no {file}", expected="every file of the item file", remedy="--features, --item")
