"""A part's arrays in shards: runs of neighbouring utterances, each worked on by one process and finished or not there.

A shard's record file names the arrays of each of its utterances, or why there are none. It is written last, so that a killed
stage goes on with the shards that are missing, and it does not say who made it, so that the result does not depend on the
number of processes.
"""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lhotse import MonoCut
from lhotse.array import TemporalArray
from lhotse.features.io import NumpyFilesWriter
from lhotse.serialization import deserialize_item

from spin import artifacts
from spin.errors import DataError
from spin.runtime.arrays import Home
from spin.runtime.files import check_not_empty, read_jsonl, write_jsonl
from spin.runtime.manifests import read_index

SHARD_UTTERANCES = 128
ID, ARRAYS, REASON = "id", "arrays", "reason"  # keys of a record; arrays: system -> field -> manifest of a TemporalArray


@dataclass(frozen=True)
class Shard:
    """Utterances [first, last) of a part's manifest; `kind` tells apart the passes over the part."""

    part: str
    kind: str
    first: int
    last: int

    def records(self, exp: Path) -> Path:
        return artifacts.units_shards(exp, self.part) / f"{self.kind}-{self.first:08d}-{self.last:08d}.jsonl"


def count_lines(path: Path) -> int:
    """Lines of a .jsonl or .jsonl.gz file.

    Raises:
        DataError: no such file, or not a complete one.
    """
    try:
        if path.suffix == ".gz":
            check_not_empty(path)
        with _open(path) as stream:
            return sum(1 for line in stream if line.strip())
    except FileNotFoundError as error:
        raise DataError(str(path), found="no such file", expected="a manifest of stage 0", remedy="run stage 0") from error
    except (OSError, EOFError, ValueError) as error:
        raise DataError(str(path), found=str(error), expected="a readable manifest", remedy="run stage 0 with --force") from error


def _open(path: Path):
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8")


def read_cuts(path: Path, first: int = 0, last: int | None = None) -> Iterator[MonoCut]:
    """Cuts [first, last) of a manifest, one at a time; earlier lines are not parsed, and where there is an index not read."""
    yield from Home(path.parent).cuts(_read_cuts(path, first, last))


def _read_cuts(path: Path, first: int, last: int | None) -> Iterator[MonoCut]:
    index = read_index(path)
    if index is not None:
        yield from (deserialize_item(json.loads(line)) for line in index.lines(first, last))
        return
    with _open(path) as stream:
        for line in itertools.islice(filter(str.strip, stream), first, last):
            yield deserialize_item(json.loads(line))


def plan(cuts: Path, part: str, kind: str) -> list[Shard]:
    """The shards of a part, the same for every run."""
    index = read_index(cuts)
    count = count_lines(cuts) if index is None else len(index)
    return [Shard(part, kind, first, min(first + SHARD_UTTERANCES, count)) for first in range(0, count, SHARD_UTTERANCES)]


class ArrayStore:
    """Writes and describes the arrays of one system and part."""

    def __init__(self, exp: Path, system: str, part: str):
        self.folder = artifacts.units_arrays(exp, system, part).resolve()
        self.writers: dict[str, NumpyFilesWriter] = {}  # one for each field that there is

    def hidden(self, cut: MonoCut, values: np.ndarray, name: str = artifacts.HIDDEN_FIELD) -> dict:
        """(T, D), or for LAYERS_FIELD (T, L + 1, D) -> float16 on disk; the manifest as plain values.

        Raises:
            DataError: values that float16 cannot hold.
        """
        with np.errstate(over="ignore"):
            small = np.asarray(values, dtype=np.float16)
        if not np.isfinite(small).all():
            found = f"a value of {np.abs(values).max():g} in {cut.id}"
            raise DataError("features", found=found, expected="finite values below 65,504", cause="a diverged model or odd layer")
        return self._store(name, cut, small)

    def units(self, cut: MonoCut, values: np.ndarray) -> dict:
        """(T,) -> int32 on disk; the manifest as plain values."""
        return self._store(artifacts.UNITS_FIELD, cut, np.asarray(values, dtype=np.int32))

    def _store(self, name: str, cut: MonoCut, values: np.ndarray) -> dict:
        shift = artifacts.FRAME_SHIFT_IN_S
        if name not in self.writers:
            self.writers[name] = NumpyFilesWriter(self.folder / name)
        return self.writers[name].store_array(cut.id, values, frame_shift=shift, temporal_dim=0, start=cut.start).to_dict()


def part_records(exp: Path, shards: list[Shard]) -> Iterator[dict]:
    """The records of finished shards, in the order of the part's utterances.

    Raises:
        DataError: one does not hold all of its shard.
    """
    homes: dict[str, Home] = {}
    for shard in shards:
        path, count = shard.records(exp), 0
        for record in read_jsonl(path):
            count += 1
            for system, arrays in record.get(ARRAYS, {}).items():
                home = homes.setdefault(system, Home(artifacts.units_folder(exp, system)))
                record[ARRAYS][system] = home.described(arrays)
            yield record
        if count != shard.last - shard.first:
            found, expected = f"{count} records", f"{shard.last - shard.first}, one an utterance"
            raise DataError(
                str(path), found=found, expected=expected, cause="a failing disk", remedy="remove it, and run stage 3 again"
            )


def write_part(exp: Path, system: str, part: str, cuts: Path, shard_lists: list[list[Shard]]) -> int:
    """A system's manifest and units.jsonl of one part, in the order of `cuts`, from the records of one or several passes.

    Utterances that any pass rejected are left out. Returns the number written. The manifest is written last.
    """

    def complete() -> Iterator[MonoCut]:
        streams = [part_records(exp, shards) for shards in shard_lists]
        for cut, *records in zip(read_cuts(cuts), *streams, strict=True):
            arrays = {}
            for record in records:
                if record[ID] != cut.id:
                    found = f"the arrays of {record[ID]} at the place of {cut.id}"
                    raise DataError(str(cuts), found=found, cause="the manifest was changed", remedy="run stage 3 with --force")
                arrays |= record.get(ARRAYS, {}).get(system, {})
            if arrays:
                cut.custom = (cut.custom or {}) | {name: TemporalArray.from_dict(array) for name, array in arrays.items()}
                yield cut

    lines = ({artifacts.UNITS_ID: cut.id, artifacts.UNITS_SEQUENCE: units_of(cut).tolist()} for cut in complete())
    write_jsonl(artifacts.units_lines(exp, system, part), lines)
    return write_jsonl(artifacts.units_cuts(exp, system, part), (cut.to_dict() for cut in complete()))


def units_of(cut: MonoCut) -> np.ndarray:
    """(T,) int32, all of them: no rounding of the cut's duration to frames comes between."""
    return load_array(cut.id, cut.custom[artifacts.UNITS_FIELD])


def hidden_of(cut: MonoCut) -> np.ndarray:
    """(T, D) float16."""
    return load_array(cut.id, cut.custom[artifacts.HIDDEN_FIELD])


def load_array(utterance: str, array: TemporalArray) -> np.ndarray:
    """A stored array.

    Raises:
        DataError: it is gone, or damaged.
    """
    try:
        return array.load()
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{array.array.storage_path}/{array.array.storage_key} ({utterance})",
            found=" ".join(str(error).split())[:200],
            expected="an array of stage 3",
            cause="removed, or damaged by a full or failing disk",
            remedy="run stage 3 with --force",
        ) from error
