"""Files of torch.save read by a reader of our own, which builds tensors and plain containers and nothing else.

torch.load(weights_only=True) of torch 1.13.1, which k2's wheel needs, is no safe way: it hands TorchScript archives to
torch.jit.load, which runs what is in them (of that kind is CVE-2025-32434, mended in torch 2.6), and believes what a file says of
the sizes of its storages (CVE-2026-24747, mended in torch 2.10). Here a file is a zip of torch 1.6 and later, every name in its
pickle stands in a closed list, and storages are bytes copied out of it, as many as there are.
"""

from __future__ import annotations

import collections
import io
import pickle
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

# What reading a damaged or foreign file may raise, besides UnpicklingError for a name that is not in the list.
DAMAGE = (
    OSError,
    RuntimeError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    pickle.UnpicklingError,
)
_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def read_tensor_file(path: str | Path, stand_in: Callable[[str], type | None] = lambda name: None):
    """What torch.save wrote: tensors on the CPU in dicts, lists, tuples, with strings and numbers.

    Args:
        path: of the file.
        stand_in: for the full name of a class that is not known here, a harmless one to be built instead, or None.

    Raises:
        one of DAMAGE: no such file, cut off, of another format, or with an object of any other class, of which nothing is run.
    """
    with zipfile.ZipFile(path) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("compressed entries, which torch.save does not write")
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"{len(pickles)} objects where one is expected")
        folder = pickles[0].removesuffix("data.pkl")
        order = archive.read(f"{folder}byteorder") if f"{folder}byteorder" in archive.namelist() else b"little"
        if order.decode("ascii", "replace") != sys.byteorder:
            raise ValueError(f"numbers of byte order {order!r}")
        return _Reader(archive, folder, stand_in).load()


class _Reader(pickle.Unpickler):
    """Builds only what is listed here; whatever else the pickle asks for ends the reading before anything is called."""

    def __init__(self, archive: zipfile.ZipFile, folder: str, stand_in: Callable[[str], type | None]):
        super().__init__(io.BytesIO(archive.read(f"{folder}data.pkl")), encoding="utf-8")
        self._archive, self._folder, self._stand_in = archive, folder, stand_in
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str):
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        known = _KNOWN.get((module, name)) or self._stand_in(f"{module}.{name}")
        if known is None:
            raise pickle.UnpicklingError(f"an object of '{module}.{name}', which is never built")
        return known

    def persistent_load(self, pid) -> Tensor:
        """A storage as a tensor of one dimension; those of the same key are the same."""
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(key, str):
            raise pickle.UnpicklingError(f"{kind!r} instead of a storage")
        if key not in self._storages:
            content = bytearray(self._archive.read(f"{self._folder}data/{key}"))
            self._storages[key] = torch.frombuffer(content, dtype=dtype) if content else torch.zeros(0, dtype=dtype)
        storage = self._storages[key]
        if storage.dtype != dtype or len(storage) != count:
            raise ValueError(f"storage {key} has {len(storage)} values instead of {count}")
        return storage


def _tensor(storage: Tensor, offset: int, size: tuple, stride: tuple, *_) -> Tensor:
    """torch._utils._rebuild_tensor_v2; torch refuses what would reach beyond the storage."""
    if not isinstance(storage, Tensor) or min((*size, *stride, offset), default=0) < 0:
        raise pickle.UnpicklingError("a tensor of no storage")
    return storage.as_strided(size, stride, offset)


def _parameter(value: Tensor, *_) -> Tensor:
    """torch._utils._rebuild_parameter: the tensor alone."""
    return value


_KNOWN = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "Size"): tuple,
}
