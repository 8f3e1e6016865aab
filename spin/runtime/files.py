"""Files that appear whole or not at all: write beside, flush to the disk, rename."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import secrets
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from spin.errors import DataError

DAMAGED_GZIP = (EOFError, gzip.BadGzipFile, zlib.error)


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path` with the same suffixes; on success it is synced and renamed to `path`, else removed.

    A killed process leaves at most a file named `.tmp-*`, which sweep() removes.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{os.getpid()}-{secrets.token_hex(4)}-{path.name}")
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sweep(folder: str | Path) -> int:
    """Removes what killed writers left directly in `folder`; call it only under the folder's lock. Returns the number removed."""
    left = list(Path(folder).glob(".tmp-*")) if Path(folder).is_dir() else []
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# File names are bytes; what of them is no UTF-8 reaches Python as lone surrogates, and this writes those as JSON's own escapes.
_ERRORS = "backslashreplace"


def write_text(path: str | Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors=_ERRORS, newline="\n")


def write_json(path: str | Path, content) -> None:
    """Sorted only by insertion, indented, with a final line feed; NaN is an error, because JSON has none."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path):
    """Raises DataError that names the file when it is missing or no JSON."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(str(path), found="no such file", expected="JSON of an earlier stage", remedy="run that stage") from error
    except (ValueError, OSError) as error:
        raise DataError(
            str(path), found=str(error), expected="a readable JSON file", remedy="run its stage with --force"
        ) from error


def write_jsonl(path: str | Path, records: Iterable[dict]) -> int:
    """A line of JSON a record; names ending in .gz are compressed without a time stamp. Returns the number of records."""
    count = 0
    with atomic_path(path) as temporary, contextlib.ExitStack() as stack:
        raw = stack.enter_context(open(temporary, "wb"))
        if str(path).endswith(".gz"):
            raw = stack.enter_context(gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0))
        stream = stack.enter_context(io.TextIOWrapper(raw, encoding="utf-8", errors=_ERRORS, newline="\n"))
        for record in records:
            stream.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    return count


def append_jsonl(path: str | Path, record: dict) -> None:
    """Adds one line; a torn line of a killed writer is closed first, so that it cannot swallow the new one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab+") as stream:
        if stream.tell() > 0:
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                stream.write(b"\n")
        stream.write((json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", _ERRORS))
        stream.flush()
        os.fsync(stream.fileno())


def read_jsonl(path: str | Path) -> Iterator[dict]:
    """The records of a .jsonl or .jsonl.gz file; lines torn by a kill are passed over, a missing file has none.

    Raises:
        DataError: a compressed file, which always appears whole, is damaged.
    """
    path = Path(path)
    if not path.exists():
        return
    if path.suffix == ".gz":
        check_not_empty(path)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", errors="replace") as stream:
        lines = iter(stream)
        while (line := _next_line(lines, path)) is not None:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                yield record


def _next_line(lines: Iterator[str], path: Path) -> str | None:
    try:
        return next(lines, None)
    except DAMAGED_GZIP as error:
        raise damaged_gzip(path, str(error)) from error


def check_not_empty(path: str | Path) -> None:
    """DataError for a compressed file of no byte, which reads like one of no line; the shortest that is written has twenty."""
    if Path(path).stat().st_size == 0:
        raise damaged_gzip(path, "0 bytes")


def damaged_gzip(path: str | Path, found: str) -> DataError:
    """The error for a compressed file that DAMAGED_GZIP was raised for."""
    return DataError(
        str(path),
        found=found,
        expected="a whole gzip file",
        cause="a copy that was cut off, or a failing disk",
        remedy="the stage that wrote it, with --force",
    )
