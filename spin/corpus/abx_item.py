"""ZeroSpeech .item files: one line per item that an ABX test compares (ZeroSpeech 2021, libri-light).

After the header HEADER, an item per line, its words separated by spaces; onset and offset are seconds from the start of the file.
The items of a triphone test reach from the start of the previous phone to the end of the next, those of a phoneme test over the
phone alone; a file holds the one kind or the other and does not say which.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from lhotse.supervision import AlignmentItem

from spin import artifacts
from spin.errors import DataError
from spin.runtime.files import atomic_path

HEADER = "#file onset offset #phone prev-phone next-phone speaker"
KINDS = ("triphone", "phoneme")
_GAP_IN_S = 0.01  # phones that are further apart are not neighbours


class Item(NamedTuple):
    """One item: the stretch of a file between two times in seconds, and its phones."""

    file: str
    onset: float
    offset: float
    phone: str
    before: str
    after: str
    speaker: str


def read_items(path: str | Path) -> Iterator[Item]:
    """Yields the items of a file in their order; columns are found by name, and further ones are ignored.

    Raises:
        DataError: no such file, not UTF-8, another header, or a line of another form; names the file and the line.
    """
    try:
        with open(path, encoding="utf-8-sig") as stream:
            places = _columns(path, stream.readline())
            for number, line in enumerate(stream, 2):
                if line.strip():
                    yield _parse(f"{path} line {number}", line, places)
    except (OSError, UnicodeDecodeError) as error:
        found = getattr(error, "strerror", None) or str(error)
        raise DataError(f"item file {path}", found=found, expected=f"UTF-8 text that begins with {HEADER}") from error


def write_items(path: str | Path, items: Iterable[Item]) -> int:
    """Writes items completely or not at all, times to the microsecond; returns their number.

    Raises:
        DataError: a word that is empty or holds a blank, or an onset that is not before its offset.
    """
    count = 0
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as stream:
        stream.write(HEADER + "\n")
        for item in items:
            where, times = f"item of {item.file!r}", [_seconds(item.onset), _seconds(item.offset)]
            _check_span(where, *map(float, times))
            words = [item.file, *times, *item[3:]]
            line = " ".join(words)
            if line.split() != words:
                found = f"{line[:60]!r}: an empty word, or a blank in one"
                raise DataError(where, found=found, expected="words without blanks")
            stream.write(line + "\n")
            count += 1
    return count


def items_of(utterance: str, speaker: str, alignment: Iterable[AlignmentItem], kind: str = "triphone") -> Iterator[Item]:
    """The items of an aligned utterance: phones between two others, without silence and without a gap.

    Args:
        alignment: phones in seconds from the start of the utterance.
        kind: one of KINDS.
    """
    phones = sorted(alignment, key=lambda phone: phone.start)
    for before, phone, after in zip(phones, phones[1:], phones[2:]):
        gap = max(phone.start - before.end, after.start - phone.end)
        if artifacts.SILENCE not in (before.symbol, phone.symbol, after.symbol) and gap <= _GAP_IN_S:
            first, last = (before, after) if kind == "triphone" else (phone, phone)
            yield Item(utterance, first.start, last.end, phone.symbol, before.symbol, after.symbol, speaker)


def _columns(path: str | Path, header: str) -> list[int]:
    """Index of each column of HEADER; the first is named file or, by some programs, file_ID."""
    names = [name.lstrip("#").lower().replace("file_id", "file") for name in header.split()]
    columns = HEADER.replace("#", "").split()
    if not header.startswith("#") or not set(columns) <= set(names):
        found = repr(header.strip()[:60]) if header.strip() else "an empty line"
        raise DataError(f"{path} line 1", found=found, expected=HEADER, cause="not an .item file, or one without its header")
    return [names.index(name) for name in columns]


def _parse(where: str, line: str, places: list[int]) -> Item:
    words = line.split()
    if len(words) <= max(places):
        raise DataError(where, found=repr(line.strip()[:60]), expected=f"{max(places) + 1} words: {HEADER}")
    file, onset, offset, *names = (words[place] for place in places)
    try:
        item = Item(file, float(onset), float(offset), *names)
    except ValueError as error:
        raise DataError(where, found=f"{onset} {offset}", expected="two times in seconds") from error
    _check_span(where, item.onset, item.offset)
    return item


def _check_span(where: str, onset: float, offset: float) -> None:
    if not (math.isfinite(offset) and 0 <= onset < offset):
        raise DataError(where, found=f"onset {onset:g}, offset {offset:g}", expected="0 <= onset < offset, in seconds")


def _seconds(time: float) -> str:
    """At least two decimals, as the challenge's files have, and no more than are needed."""
    return re.sub(r"(\.\d\d\d*?)0+$", r"\1", f"{time:.6f}")
