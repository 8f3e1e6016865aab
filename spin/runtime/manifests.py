"""Manifests of cuts that can be entered anywhere: gzip members of a few cuts each, and beside them an index.

Any reader of .jsonl.gz reads such a manifest. The index holds what stages plan with (ids, speakers, durations) and where each
member begins, so that a stage on a million utterances begins its work at once, and finds utterance n without reading n others.
Where there is no index, or it is not of this manifest, its users read the manifest instead, with the same result.
"""

from __future__ import annotations

import functools
import io
import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spin.errors import DataError
from spin.runtime.files import atomic_path

BLOCK = 64  # cuts in a gzip member
SUFFIX, INDEX_SUFFIX = ".jsonl.gz", ".index.npz"
_TAIL = 1 << 16  # bytes at the end by which an index knows its manifest
_GZIP = 31  # zlib's window bits with a gzip header


@dataclass(frozen=True)
class Index:
    """What is known of the cuts of a manifest without reading it; arrays have an entry a cut, in their order.

    Attributes:
        path: of the manifest.
        ids: (cuts,) bytes, UTF-8.
        starts, durations: (cuts,) float64 seconds.
        rates: (cuts,) int64 Hz.
        speakers: (cuts,) int64 entries of `names`; -1 where the cut has no supervision.
        names: of the speakers.
        offsets: (members,) int64 bytes.
    """

    path: Path
    ids: np.ndarray
    starts: np.ndarray
    durations: np.ndarray
    rates: np.ndarray
    speakers: np.ndarray
    names: list[str]
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.durations)

    def lines(self, first: int = 0, last: int | None = None) -> Iterator[str]:
        """The lines of cuts [first, last), read from the member that holds the first."""
        last = len(self) if last is None else min(last, len(self))
        for block in range(first // BLOCK, -(-last // BLOCK)):
            begin = block * BLOCK
            yield from _member(self.path, block, tuple(self._extent(block)))[max(0, first - begin) : last - begin]

    def record(self, number: int) -> dict:
        """One cut as plain values."""
        return json.loads(next(self.lines(number, number + 1)))

    def _extent(self, block: int) -> Iterator[int]:
        yield int(self.offsets[block])
        yield int(self.offsets[block + 1]) if block + 1 < len(self.offsets) else -1


def write_manifest(path: str | Path, records: Iterable[dict]) -> int:
    """Writes cuts, given as plain values (MonoCut.to_dict), and their index; returns their number.

    The manifest appears whole or not at all, and before its index. It has no time stamp.
    """
    path, columns = Path(path), _Columns()
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        block: list[str] = []
        for record in records:
            columns.add(record)
            block.append(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
            if len(block) == BLOCK:
                columns.offsets.append(stream.tell())
                stream.write(_compressed(block))
                block = []
        if block or not columns.offsets:
            columns.offsets.append(stream.tell())
            stream.write(_compressed(block))
    with atomic_path(index_path(path)) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, made_of=_made_of(path), **columns.arrays())
    return len(columns.ids)


def index_path(path: Path) -> Path:
    """Where the index of a manifest lies."""
    return path.with_name(path.name.removesuffix(SUFFIX) + INDEX_SUFFIX)


def read_index(path: str | Path) -> Index | None:
    """The index of a manifest; None where there is none, it cannot be read, or it is not of these bytes."""
    path = Path(path)
    try:
        return _read_index(path, index_path(path).stat().st_mtime_ns, tuple(_made_of(path).tolist()))
    except OSError:
        return None


@functools.lru_cache(maxsize=4)
def _read_index(path: Path, version: int, made_of: tuple[int, int]) -> Index | None:
    try:
        with np.load(index_path(path), allow_pickle=False) as stored:
            if tuple(stored["made_of"].tolist()) != made_of:
                return None
            names = json.loads(str(stored["names"]))
            plain = {key: stored[key] for key in ("ids", "starts", "durations", "rates", "speakers", "offsets")}
    except (OSError, ValueError, TypeError, KeyError, EOFError, zlib.error, zipfile.BadZipFile):
        return None
    return Index(path, names=names, **plain)


class _Columns:
    def __init__(self) -> None:
        self.ids: list[bytes] = []
        self.values: list[tuple[float, float, int, int]] = []
        self.names: dict[str, int] = {}
        self.offsets: list[int] = []

    def add(self, cut: dict) -> None:
        said = cut.get("supervisions") or [{}]
        name = said[0].get("speaker")
        speaker = -1 if name is None else self.names.setdefault(name, len(self.names))
        self.ids.append(cut["id"].encode("utf-8", "backslashreplace"))
        self.values.append((cut["start"], cut["duration"], cut["recording"]["sampling_rate"], speaker))

    def arrays(self) -> dict[str, np.ndarray]:
        starts, durations, rates, speakers = zip(*self.values) if self.values else ((), (), (), ())
        return {
            "ids": np.array(self.ids, dtype=np.bytes_),
            "starts": np.array(starts, dtype=np.float64),
            "durations": np.array(durations, dtype=np.float64),
            "rates": np.array(rates, dtype=np.int64),
            "speakers": np.array(speakers, dtype=np.int64),
            "names": np.array(json.dumps(list(self.names))),
            "offsets": np.array(self.offsets, dtype=np.int64),
        }


def _compressed(lines: list[str]) -> bytes:
    compressor = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
    return compressor.compress("".join(lines).encode("utf-8", "backslashreplace")) + compressor.flush()


def _made_of(path: Path) -> np.ndarray:
    """(2,) int64: size of a file, and a checksum of its end."""
    with open(path, "rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - _TAIL))
        return np.array([size, zlib.crc32(stream.read())], dtype=np.int64)


@functools.lru_cache(maxsize=2)
def _member(path: Path, block: int, extent: tuple[int, int]) -> list[str]:
    # Kept: neighbours are asked for one after the other.
    begin, end = extent
    try:
        with open(path, "rb") as stream:
            stream.seek(begin)
            content = stream.read() if end < 0 else stream.read(end - begin)
        text = zlib.decompress(content, _GZIP).decode("utf-8")
    except (OSError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}, cuts {block * BLOCK} and after",
            found=str(error),
            expected="a whole manifest",
            remedy="its stage with --force",
        ) from error
    return list(io.StringIO(text))
