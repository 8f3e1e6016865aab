"""Many small arrays in one file, as a lhotse storage backend: lossless, compressed, read one at a time.

lhotse's own lossless backend makes a file an array, which is half a million files for the whole of LibriSpeech.
Importing this module registers the backend, so that lhotse can read the manifests.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from lhotse.features.io import FeaturesReader, FeaturesWriter, register_reader, register_writer

from spin.errors import DataError

NAME = "spin_packed"
LEVEL = 6  # of zlib
REMEDY = "run stage 1 with --force"


@register_writer
class PackedWriter(FeaturesWriter):
    """Appends arrays to an open file.

    Args:
        stream: open for writing in binary, at its start.
        path: where the file will be found by readers.
    """

    name = NAME

    def __init__(self, stream: BinaryIO, path: str | Path):
        super().__init__()
        self.stream, self.path, self.offset = stream, str(path), 0

    @property
    def storage_path(self) -> str:
        return self.path

    def write(self, key: str, value: np.ndarray) -> str:
        """Stores a one-dimensional array; returns its place, 'offset:bytes:type'."""
        value = np.ascontiguousarray(value)
        value = value.astype(value.dtype.newbyteorder("<"), copy=False)
        # All first bytes of the numbers, then all second ones, and so on: neighbours are alike in the high bytes.
        planes = value.view(np.uint8).reshape(len(value), value.itemsize).T
        place, size = self.offset, self.stream.write(zlib.compress(planes.tobytes(), LEVEL))
        self.offset += size
        return f"{place}:{size}:{value.dtype.str}"


@register_reader
class PackedReader(FeaturesReader):
    """Reads one array at a time; holds no file open, so that it can be copied into any process."""

    name = NAME

    def __init__(self, storage_path: str | Path, *args, **kwargs):
        super().__init__()
        self.path = Path(storage_path)

    def read(self, key: str, left_offset_frames: int = 0, right_offset_frames: int | None = None) -> np.ndarray:
        """The array at a place that PackedWriter returned, or a slice of it.

        Raises:
            DataError: the file is missing or damaged.
        """
        offset, size, kind = key.split(":")
        try:
            with open(self.path, "rb", buffering=0) as stream:
                stream.seek(int(offset))
                content = zlib.decompress(stream.read(int(size)))
        except OSError as error:
            raise DataError(str(self.path), found=str(error), expected="arrays of stage 1", remedy=REMEDY) from error
        except zlib.error as error:
            found = f"{error} at byte {offset}"
            raise DataError(
                str(self.path), found=found, expected=f"{size} good bytes", cause="a damaged file", remedy=REMEDY
            ) from error
        planes = np.frombuffer(content, dtype=np.uint8).reshape(np.dtype(kind).itemsize, -1)
        return np.array(planes.T, order="C").view(kind).reshape(-1)[left_offset_frames:right_offset_frames]
