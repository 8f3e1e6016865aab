"""Many small arrays in one file, as a lhotse storage backend: exact, lazily read, two files a thousand utterances.

lhotse's own lossless backend makes a file an array, which is half a million files for the whole of LibriSpeech.
Importing this module registers the backend, so that lhotse can read the manifests.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
from lhotse.features.io import FeaturesReader, FeaturesWriter, register_reader, register_writer

from spin.errors import DataError

NAME = "spin_packed"
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
        """Stores a one-dimensional array; returns its place, 'offset:count:type'."""
        value = np.ascontiguousarray(value)
        value = value.astype(value.dtype.newbyteorder("<"), copy=False)
        place = f"{self.offset}:{len(value)}:{value.dtype.str}"
        self.offset += self.stream.write(value.tobytes())
        return place


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
            DataError: the file is missing or too short.
        """
        offset, count, kind = key.split(":")
        try:
            with open(self.path, "rb", buffering=0) as stream:
                stream.seek(int(offset))
                wanted = int(count) * np.dtype(kind).itemsize
                content = stream.read(wanted)
        except OSError as error:
            raise DataError(str(self.path), found=str(error), expected="arrays of stage 1", remedy=REMEDY) from error
        if len(content) != wanted:
            found = f"{len(content)} bytes at {offset}"
            raise DataError(str(self.path), found=found, expected=f"{wanted} bytes", cause="a damaged file", remedy=REMEDY)
        return np.frombuffer(content, dtype=kind).copy()[left_offset_frames:right_offset_frames]
