"""Runs of equal units with their durations, and the lines of units.jsonl of an experiment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from spin import artifacts
from spin.errors import DataError
from spin.runtime.files import read_jsonl


def find_runs(units: Iterable[int]) -> tuple[list[int], list[int]]:
    """Units of T frames -> (one unit per run of equal ones, frames of each run); no frames, no runs."""
    array = np.asarray(list(units), dtype=np.int64)
    starts = np.flatnonzero(np.diff(array, prepend=-1) != 0)  # units are at least 0
    return array[starts].tolist(), np.diff(starts, append=len(array)).tolist()


def read_sequences(path: str | Path) -> Iterator[tuple[str, list[int]]]:
    """(utterance id, units) of each line of a units.jsonl, in order.

    Raises:
        DataError: no such file; or a line without an id and units, or an id again.
    """
    path, seen = Path(path), set()
    if not path.is_file():
        remedy = "run stage 3, or correct the path"
        raise DataError(str(path), found="no such file", expected="units, one utterance per line of JSON", remedy=remedy)
    for number, record in enumerate(read_jsonl(path), start=1):
        name, units = record.get(artifacts.UNITS_ID), record.get(artifacts.UNITS_SEQUENCE)
        right = isinstance(units, list) and all(type(unit) is int and unit >= 0 for unit in units)
        if not isinstance(name, str) or not name or name in seen or not right:
            found = f"{name!r} again" if name in seen else f"id {name!r}, units {str(units)[:60]}"
            raise DataError(
                f"{path}, record {number}", found=found, expected="a new utterance with a list of whole numbers from 0 on"
            )
        seen.add(name)
        yield name, units


def experiment_units(exp: Path, system: str, part: str) -> Path:
    """The units.jsonl of a system and part of an experiment.

    Raises:
        DataError: stage 3 has not written it.
    """
    path = artifacts.units_lines(artifacts.units_folder(exp, system, part))
    if not path.is_file():
        expected = f"units of system {system}, part {part}"
        raise DataError(str(path), found="no such file", expected=expected, remedy="run stage 3, or check --system and --part")
    return path
