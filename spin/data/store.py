"""The one array store: many arrays in one file, lossless, of any shape, read one at a time.

Importing this module registers it as a storage backend of lhotse, so that lhotse can load the arrays of a cut. A writer gives
paths relative to the folder it writes into. spin/data/cuts.py makes them absolute when it reads the manifest in that folder.
"""

import contextlib
import math
import os
import zlib
from pathlib import Path

import numpy as np
from lhotse.array import Array, TemporalArray
from lhotse.cut import Cut
from lhotse.features.io import FeaturesReader, register_reader

from spin.errors import DataError

NAME = "spin_packed"
RAW, ZLIB = "raw", "zlib"
LEVEL = 6  # of zlib
REBUILD = "or, if the recipe wrote it, ./run.sh --stage N --stop-stage N --force (N: 0 cuts, 1 pitch, 3 features, units)"


class ArrayWriter(contextlib.AbstractContextManager):
    """Packs arrays into the file `<folder>/<name>.bin`, next to the manifest that will name them; a context manager.

    Each process writes a file of its own. To compress pays for arrays that repeat themselves; features in float16 hardly shrink.
    """

    def __init__(self, folder: str | Path, name: str, compress: bool = False):
        self.path = Path(folder) / f"{name}.bin"
        self.codec, self.offset = ZLIB if compress else RAW, 0
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = open(self.path, "wb")

    def write(self, key: str, array: np.ndarray, frame_shift: float | None = None, start: float = 0.0) -> Array | TemporalArray:
        """Appends one array of numbers, and returns a manifest of it for a custom field of the cut with that `key`.

        Of an array with a time axis, `frame_shift` has the seconds between rows, and `start` those before the first.
        """
        if array.dtype.kind not in "iufb":
            raise ValueError(f"array of {key}: found type {array.dtype}, expected numbers")
        array = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
        content = array.tobytes()
        if self.codec == ZLIB:
            # All first bytes of the numbers, then all second ones, and so on: neighbours are alike in the high bytes.
            planes = np.frombuffer(content, np.uint8).reshape(-1, array.itemsize).T
            content = zlib.compress(planes.tobytes(), LEVEL)
        place = f"{self.offset}:{len(content)}:{self.codec}:{array.dtype.str}:{'x'.join(map(str, array.shape))}"
        self._stream.write(content)
        self.offset += len(content)
        stored = Array(storage_type=NAME, storage_path=self.path.name, storage_key=place, shape=list(array.shape))
        return stored if frame_shift is None else TemporalArray(stored, temporal_dim=0, frame_shift=frame_shift, start=start)

    def close(self) -> None:
        """Writes everything to the disk."""
        if not self._stream.closed:
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._stream.close()

    def __exit__(self, *_) -> None:
        self.close()


@register_reader
class PackedReader(FeaturesReader):
    """Reads one array at a time and keeps no file open, so that it can be copied into any process."""

    name = NAME

    def __init__(self, storage_path: str | Path, *args, **kwargs):
        super().__init__()
        self.path = Path(storage_path)

    def read(self, key: str, left_offset_frames: int = 0, right_offset_frames: int | None = None) -> np.ndarray:
        """The array at a place that ArrayWriter wrote into its manifest, or a slice of its rows.

        Raises DataError where the file is missing or damaged.
        """
        offset, size, codec, kind, shape = key.split(":")
        dtype, shape = np.dtype(kind), tuple(map(int, filter(None, shape.split("x"))))
        try:
            content = np.fromfile(self.path, np.uint8, int(size), offset=int(offset))
            if codec == ZLIB:
                content = np.frombuffer(zlib.decompress(content), np.uint8)
            if content.size != dtype.itemsize * math.prod(shape):
                raise EOFError(f"{content.size} bytes at byte {offset}")
        except (OSError, EOFError, zlib.error) as error:
            expected, remedy = f"an array of shape {shape}, type {dtype}", f"copy it again with its manifest, {REBUILD}"
            cause = "a damaged file, or a manifest copied without its arrays"
            raise DataError(str(self.path), found=str(error), expected=expected, cause=cause, remedy=remedy) from error
        if codec == ZLIB:
            content = content.reshape(dtype.itemsize, -1).T.flatten()
        array = content.view(dtype).reshape(shape)
        return array[left_offset_frames:right_offset_frames] if shape else array


def load_array(cut: Cut, field: str) -> np.ndarray:
    """The whole array of a custom field, whatever stretch of it the cut covers.

    Raises DataError where the cut has no such array, or its file is missing or damaged.
    """
    value = (cut.custom or {}).get(field)
    array = getattr(value, "array", value)
    if not isinstance(array, Array):
        raise DataError(
            f"utterance {cut.id}",
            found=f"no array '{field}' in its cut",
            expected="a manifest whose cuts carry it",
            cause="the manifest of an earlier stage",
            remedy="read the manifest of stage 1 (pitch, pulses) or stage 3 (features, units)",
        )
    return array.load()
