"""Sequences of units by utterance: strict reading of units.jsonl, and runs of equal units with their durations."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spin import artifacts
from spin.errors import DataError

DURATIONS = "durations"  # beside artifacts.UNITS_SEQUENCE in a line of JSON: frames of each of its symbols


@dataclass(frozen=True)
class Entry:
    """What a file says of one utterance.

    Args:
        id: of the utterance.
        symbols: units a frame, or with `durations` one of each run of equal units, or pieces of such runs.
        durations: frames of each run, at least 1; None: `symbols` are frames.
        audio: (path, number of samples) where it is known.
    """

    id: str
    symbols: list[int]
    durations: list[int] | None = None
    audio: tuple[str, int] | None = None


def runs(units: Iterable[int]) -> tuple[list[int], list[int]]:
    """Units of T frames -> (one unit a run of equal ones, frames of each run); the inverse of expand. No frames: no runs."""
    array = np.asarray(list(units), dtype=np.int64)
    starts = np.flatnonzero(np.diff(array, prepend=-1) != 0)  # units are at least 0
    return array[starts].tolist(), np.diff(starts, append=len(array)).tolist()


def expand(subject: str, units: list[int], durations: list[int]) -> list[int]:
    """The inverse of runs.

    Raises:
        DataError: another number of durations than of units, or a duration below 1; names `subject`.
    """
    if len(units) != len(durations):
        found, cause = f"{len(units)} units and {len(durations)} durations", "files of two exports, or units that are no runs"
        raise DataError(subject, found=found, expected="a duration for each unit", cause=cause)
    if any(duration < 1 for duration in durations):
        raise DataError(subject, found=f"a duration of {min(durations)} frames", expected="at least 1")
    return np.repeat(np.asarray(units, dtype=np.int64), durations).tolist()


def read_entries(path: str | Path) -> Iterator[Entry]:
    """The lines of units.jsonl, in their order; memory is that of the names.

    Raises:
        DataError: names the file, the line and what is wrong with it: no JSON, no id, no units, an id that came before.
    """
    path, seen = Path(path), set()
    for number, line in lines_of(path):
        subject = f"{path}, line {number}"
        try:
            record = json.loads(line)
        except ValueError as error:
            raise DataError(subject, found=str(error), expected="a JSON object", cause="a file that was cut off") from error
        name = record.get(artifacts.UNITS_ID) if isinstance(record, dict) else None
        if not isinstance(name, str) or not name:
            raise DataError(subject, found=f"{artifacts.UNITS_ID!r} {name!r}", expected="the name of an utterance")
        check_new(subject, name, seen)
        units = check_whole(subject, record.get(artifacts.UNITS_SEQUENCE), artifacts.UNITS_SEQUENCE)
        durations = check_whole(subject, record[DURATIONS], DURATIONS) if DURATIONS in record else None
        yield Entry(name, units, durations)


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, line without its end) of a UTF-8 text file; a line of nothing is a line.

    Raises:
        DataError: no such file, not readable, or no UTF-8.
    """
    try:
        with open(path, encoding="utf-8", newline="\n") as stream:
            for number, line in enumerate(stream, start=1):
                yield number, line.removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        found = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise DataError(str(path), found=found, expected="a readable UTF-8 text file") from error


def check_new(subject: str, name: str, seen: set[str]) -> None:
    """Adds the name to those seen; DataError when it is among them."""
    if name in seen:
        raise DataError(subject, found=f"utterance {name!r} again", expected="every utterance once")
    seen.add(name)


def check_whole(subject: str, values: object, what: str) -> list[int]:
    """The values when they are a list of whole numbers from 0 on, else DataError."""
    if not isinstance(values, list) or any(type(value) is not int or value < 0 for value in values):
        bad = next((v for v in values if type(v) is not int or v < 0), None) if isinstance(values, list) else values
        raise DataError(subject, found=f"{bad!r} in {what!r}", expected="a list of whole numbers from 0 on")
    return values


def parse_whole(subject: str, text: str) -> list[int]:
    """Whole numbers from 0 on, separated by single or more spaces.

    Raises:
        DataError: names the first word that is none.
    """
    words = text.split()
    bad = next((word for word in words if not (word.isascii() and word.isdigit())), None)
    if bad is not None:
        raise DataError(subject, found=f"{bad[:40]!r}", expected="whole numbers from 0 on, separated by spaces")
    return [int(word) for word in words]
