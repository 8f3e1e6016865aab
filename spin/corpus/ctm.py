"""CTM files (NIST; Kaldi writes them for words and phones): a line an item, `file channel start duration symbol [confidence]`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from lhotse.supervision import AlignmentItem

from spin.corpus.text import shorten
from spin.errors import DataError
from spin.runtime.files import atomic_path

_FORM = "file channel start duration symbol [confidence]"
_CHANNEL = "1"
_OVERLAP_IN_S = 1e-4  # rounding of other programs


def read_ctm(path: str | Path) -> Iterator[tuple[str, list[AlignmentItem]]]:
    """Yields (file, items in order of time, seconds), reading one file's lines at a time; `;;` begins a comment.

    Raises:
        DataError: no such file, not UTF-8, a line of another form, items of a file that overlap, two channels of a file, or a
            file whose lines do not stand together; names the line or the file.
    """
    seen: set[str] = set()
    for file, lines in groupby(_lines(path), key=lambda line: line[0]):
        if file in seen:
            raise DataError(f"{path}", found=f"lines of {file} in two places", expected="a file's lines together", remedy="sort")
        seen.add(file)
        items, channels = [], set()
        for _, channel, item in lines:
            channels.add(channel)
            items.append(item)
        if len(channels) > 1:
            raise DataError(f"{path}: {file}", found=f"channels {' '.join(sorted(channels))}", expected="one channel a file")
        items.sort(key=lambda item: item.start)
        for before, after in zip(items, items[1:]):
            if after.start < before.end - _OVERLAP_IN_S:
                found = f"{after.symbol} at {after.start:g} s, before the end of {before.symbol} at {before.end:g} s"
                raise DataError(f"{path}: {file}", found=found, expected="items one after the other")
        yield file, items


def write_ctm(path: str | Path, utterances: Iterable[tuple[str, Iterable[AlignmentItem]]]) -> int:
    """Writes (file, items) whole or not at all, times to the microsecond; returns the number of files with an item.

    Raises:
        DataError: a name or symbol that is empty or holds a blank, a name that begins with ;; or times that are no span.
    """
    count = 0
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as stream:
        for file, items in utterances:
            lines = [_line(file, item) for item in items]
            stream.writelines(lines)
            count += bool(lines)
    return count


def _line(file: str, item: AlignmentItem) -> str:
    words = (file, _CHANNEL, _seconds(item.start), _seconds(item.duration), item.symbol)
    line = " ".join(words)
    if line.split() != list(words) or file.startswith(";;"):
        found = f"{shorten(line)!r}: an empty word, a blank in one, or a comment"
        raise DataError(f"CTM of {file!r}", found=found, expected="words without blanks")
    if not (item.start >= 0 and 0 <= item.duration < math.inf):
        found = f"start {item.start:g}, duration {item.duration:g}"
        raise DataError(f"CTM of {file!r}", found=found, expected="0 or more seconds")
    return line + "\n"


def _lines(path: str | Path) -> Iterator[tuple[str, str, AlignmentItem]]:
    try:
        with open(path, encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip() and not line.startswith(";;"):
                    yield _parse(f"{path} line {number}", line)
    except (OSError, UnicodeDecodeError) as error:
        found = getattr(error, "strerror", None) or str(error)
        raise DataError(f"CTM file {path}", found=found, expected=f"UTF-8 text, {_FORM}") from error


def _parse(where: str, line: str) -> tuple[str, str, AlignmentItem]:
    words = line.split()
    if len(words) not in (5, 6):
        raise DataError(where, found=repr(shorten(line.strip())), expected=_FORM)
    try:
        start, duration = float(words[2]), float(words[3])
    except ValueError as error:
        raise DataError(where, found=f"{words[2]} {words[3]}", expected="start and duration in seconds") from error
    if not (math.isfinite(start) and start >= 0 and 0 <= duration < math.inf):
        raise DataError(where, found=f"start {start:g}, duration {duration:g}", expected="0 or more seconds")
    return words[0], words[1], AlignmentItem(words[4], start, duration)


def _seconds(time: float) -> str:
    """At least two decimals, as Kaldi writes them, and no more than are needed."""
    whole, _, decimals = f"{time:.6f}".partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"
