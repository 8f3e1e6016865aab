"""Manifests of cuts (.jsonl or .jsonl.gz): read lazily, in order, with errors that name the file and the line.

Cuts may carry arrays (spin/data/store.py). A manifest stores their paths relative to its own folder, so that folders can be
renamed, copied and moved. Reading makes the paths absolute.
"""

import gzip
import itertools
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from lhotse.cut import Cut
from lhotse.serialization import deserialize_item

from spin.data.store import NAME as PACKED  # the import also registers the reader of packed arrays
from spin.data.store import REBUILD
from spin.errors import DataError
from spin.runtime.files import write_jsonl


def read_records(path: str | Path, first: int = 0, last: int | None = None) -> Iterator[dict]:
    """Cuts [first, last) of a manifest as plain values, with absolute array paths; several times faster than read_cuts.

    Raises DataError for a missing, truncated or damaged file, or a line that is not a JSON object.
    """
    path = Path(path).absolute()
    for number, line in itertools.islice(enumerate(_lines(path), start=1), first, last):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise _bad_line(path, number, f"not JSON ({error})") from error
        if not isinstance(record, dict):
            raise _bad_line(path, number, f"JSON of type {type(record).__name__}")
        yield _with_paths(record, lambda stored: os.path.normpath(path.parent / stored))


def read_cuts(path: str | Path, first: int = 0, last: int | None = None) -> Iterator[Cut]:
    """Cuts [first, last) of a manifest, lazily; raises DataError as read_records, or for a line that is not a cut."""
    for number, record in enumerate(read_records(path, first, last), start=first + 1):
        try:
            cut = deserialize_item(record)
        except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
            raise _bad_line(path, number, f"not a cut ({type(error).__name__}: {error})") from error
        if not isinstance(cut, Cut):
            raise _bad_line(path, number, f"a {type(cut).__name__}")
        yield cut


def write_cuts(path: str | Path, cuts: Iterable[Cut]) -> int:
    """Writes a manifest that appears whole or not at all and has no time stamp; returns the number of cuts.

    Absolute paths of packed arrays become relative to the folder of the manifest.
    """
    folder = os.path.abspath(Path(path).parent)

    def relative(stored: str) -> str:
        return os.path.relpath(stored, folder) if os.path.isabs(stored) else stored

    return write_jsonl(path, (_with_paths(cut.to_dict(), relative) for cut in cuts))


def pair_cuts(path: str | Path, others: Iterable[tuple[str, Any]]) -> Iterator[tuple[Cut, Any]]:
    """Each cut of a manifest with the content of its (id, content), in one order; raises DataError where the ids differ."""
    for cut, other in itertools.zip_longest(read_cuts(path), others):
        if cut is None or other is None or cut.id != other[0]:
            found, expected = "its end" if cut is None else cut.id, "its end" if other is None else other[0]
            cause = "the manifest, or what a stage made of it, was changed"
            raise DataError(str(path), found=found, expected=expected, cause=cause, remedy=f"undo the change, {REBUILD}")
        yield cut, other[1]


def count_cuts(path: str | Path) -> int:
    """Number of cuts of a manifest; raises DataError when it is missing or damaged."""
    return sum(1 for _ in _lines(Path(path)))


def without_words(record: dict) -> dict:
    """A copy of a record without alignments and text, most of its bytes; the speaker stays."""
    supervisions = [{key: item[key] for key in item.keys() - {"alignment", "text"}} for item in record.get("supervisions") or ()]
    return {**record, "supervisions": supervisions}


def _lines(path: Path) -> Iterator[bytes]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        if path.suffix == ".gz" and path.stat().st_size == 0:
            raise EOFError("0 bytes")  # gzip reads an empty file as one without lines
        with opener(path, "rb") as stream:
            yield from stream
    except FileNotFoundError as error:
        remedy = "correct the path, or ./run.sh with the same --conf, --set and --exp-dir makes the manifests of its parts"
        raise DataError(str(path), found="no such file", expected="a manifest of cuts", remedy=remedy) from error
    except (EOFError, OSError, zlib.error) as error:
        cause, remedy = "an incomplete copy, or a failing disk", f"copy it again, {REBUILD}"
        raise DataError(str(path), found=str(error), expected="a complete manifest", cause=cause, remedy=remedy) from error


def _with_paths(record: dict, change: Callable[[str], str]) -> dict:
    """The record with the paths of its packed arrays changed, in place."""
    for value in (record.get("custom") or {}).values():
        array = value.get("array", value) if isinstance(value, dict) else {}
        if isinstance(array, dict) and array.get("storage_type") == PACKED:
            array["storage_path"] = change(array["storage_path"])
    return record


def _bad_line(path: Path, number: int, found: str) -> DataError:
    expected, cause, remedy = "a lhotse cut as JSON", "an edit by hand, or another kind of file", f"correct the line, {REBUILD}"
    return DataError(f"{path}, line {number}", found=found[:300], expected=expected, cause=cause, remedy=remedy)
