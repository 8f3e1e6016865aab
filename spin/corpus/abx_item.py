"""ZeroSpeech .item files: one line per item that an ABX test compares.

Form: a header `#file onset offset #phone prev-phone next-phone speaker`, then one line per item, its words separated by spaces;
onset and offset are seconds from the start of the file (ZeroSpeech 2021, libri-light). The items of a triphone test reach from
the start of the previous phone to the end of the next, those of a phoneme test over the phone alone; a file holds the one kind
or the other and does not say which.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lhotse.supervision import AlignmentItem

from spin import artifacts
from spin.corpus.text import shorten
from spin.errors import DataError
from spin.runtime.files import atomic_path

HEADER = "#file onset offset #phone prev-phone next-phone speaker"
KINDS = ("triphone", "phoneme")
_COLUMNS = HEADER.replace("#", "").split()
_GAP_IN_S = 0.01  # phones that are further apart are not neighbours


@dataclass(frozen=True)
class Item:
    """One item: the stretch of a file between two times, and its phones."""

    file: str
    onset: float
    offset: float
    phone: str
    before: str
    after: str
    speaker: str


def read_items(path: str | Path) -> Iterator[Item]:
    """Yields the items of a file in their order; further columns are ignored.

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
            words = (item.file, _seconds(item.onset), _seconds(item.offset), item.phone, item.before, item.after, item.speaker)
            line = " ".join(words)
            _check_span(f"item of {item.file!r}", float(words[1]), float(words[2]))
            if line.split() != list(words):
                found = f"{shorten(line)!r}: an empty word, or a blank in one"
                raise DataError(f"item of {item.file!r}", found=found, expected="words without blanks")
            stream.write(line + "\n")
            count += 1
    return count


def items_of(utterance: str, speaker: str, alignment: Iterable[AlignmentItem], kind: str = "triphone") -> Iterator[Item]:
    """The items of an aligned utterance: phones between two others, without silence and without a gap.

    Args:
        alignment: phones in seconds from the start of the utterance.
        kind: triphone (from the start of the previous to the end of the next phone) or phoneme (the phone alone).
    """
    phones = sorted(alignment, key=lambda phone: phone.start)
    for before, phone, after in zip(phones, phones[1:], phones[2:]):
        if artifacts.SILENCE in (before.symbol, phone.symbol, after.symbol):
            continue
        if max(phone.start - before.end, after.start - phone.end) > _GAP_IN_S:
            continue
        first, last = (before, after) if kind == "triphone" else (phone, phone)
        yield Item(utterance, first.start, last.end, phone.symbol, before.symbol, after.symbol, speaker)


def _columns(path: str | Path, header: str) -> list[int]:
    """Index of each column of HEADER; the first is named file or, by some programs, file_ID."""
    names = [name.lstrip("#").lower() for name in header.split()]
    names[:1] = ["file"] if names[:1] in (["file"], ["file_id"]) else names[:1]
    missing = [name for name in _COLUMNS if name not in names]
    if missing or not header.startswith("#"):
        found = repr(shorten(header.strip())) if header.strip() else "an empty line"
        raise DataError(f"{path} line 1", found=found, expected=HEADER, cause="not an .item file, or one without its header")
    return [names.index(name) for name in _COLUMNS]


def _parse(where: str, line: str, places: list[int]) -> Item:
    words = line.split()
    if len(words) <= max(places):
        raise DataError(where, found=repr(shorten(line.strip())), expected=f"{max(places) + 1} words: {HEADER}")
    file, onset, offset, phone, before, after, speaker = (words[place] for place in places)
    try:
        start, end = float(onset), float(offset)
    except ValueError as error:
        raise DataError(where, found=f"{onset} {offset}", expected="two times in seconds") from error
    _check_span(where, start, end)
    return Item(file, start, end, phone, before, after, speaker)


def _check_span(where: str, onset: float, offset: float) -> None:
    if not (math.isfinite(offset) and 0 <= onset < offset):
        raise DataError(where, found=f"onset {onset:g}, offset {offset:g}", expected="0 <= onset < offset, in seconds")


def _seconds(time: float) -> str:
    """At least two decimals, as the challenge's files have, and no more than are needed."""
    whole, _, decimals = f"{time:.6f}".partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"
