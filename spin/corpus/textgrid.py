"""Praat TextGrid files: interval tiers, in the long and in the short text format, as UTF-8 or UTF-16.

Both formats hold the same values in the same order; what stands between them in the long one (`xmin =`, `intervals [3]:`) is
for people. As Praat does (manual, "TextGrid file formats"), the reader takes only what stands free: texts in double quotes
(a quote is doubled), flags such as <exists>, and numbers between blanks; from `!` to the end of the line is a comment.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lhotse.supervision import AlignmentItem

from spin.corpus.text import shorten
from spin.errors import DataError
from spin.runtime.files import atomic_path

ENCODINGS = ("utf-8", "utf-16")
_TOKEN = re.compile(r'"(?P<text>[^"]*(?:""[^"]*)*)"|<(?P<flag>[^<>\s]*)>|!(?P<comment>[^\n]*)|(?P<word>[^\s"]+)|(?P<open>")')
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_OVERLAP_IN_S = 1e-4  # rounding of other programs
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


@dataclass(frozen=True)
class Tier:
    """An interval tier: its intervals in order of time, in seconds; empty texts are kept."""

    name: str
    items: tuple[AlignmentItem, ...]


def read_textgrid(path: str | Path) -> list[Tier]:
    """The interval tiers of a file, in its order; point tiers are passed over.

    Raises:
        DataError: no such file, another encoding or kind of file, an early end, or intervals that overlap; names what was
            expected where.
    """
    values = _Values(path, _read(path))
    kind = [values.text("the kind of file"), values.text("the kind of object")]
    if not kind[0].startswith("ooTextFile") or kind[1] != "TextGrid":
        raise DataError(f"{path}", found=f"a file of kind {kind[0]!r}, {kind[1]!r}", expected="ooTextFile, TextGrid")
    values.number("xmin"), values.number("xmax")
    if values.flag("<exists>") != "exists":
        return []
    tiers = [_tier(values) for _ in range(values.count("the number of tiers"))]
    return [tier for tier in tiers if tier is not None]


def tier_named(tiers: Sequence[Tier], name: str, path: str | Path) -> Tier:
    """The tier of a name, upper and lower case alike.

    Raises:
        DataError: none, or several of that name.
    """
    found = [tier for tier in tiers if tier.name.lower() == name.lower()]
    if len(found) != 1:
        names = " ".join(repr(tier.name) for tier in tiers) or "none"
        raise DataError(f"{path}", found=f"interval tiers {names}", expected=f"one named {name!r}", remedy="--tier NAME")
    return found[0]


def write_textgrid(path: str | Path, tiers: Sequence[Tier], end: float, *, short: bool = False, encoding: str = "utf-8") -> None:
    """Writes interval tiers from 0 to `end` seconds, whole or not at all; gaps become intervals of empty text, as Praat needs.

    Args:
        short: the short format.
        encoding: utf-8, or utf-16 with a byte order mark (Praat's own choice for texts beyond ASCII).

    Raises:
        DataError: no end after 0, or an item that overlaps the one before or ends after `end`; names the tier.
    """
    if not 0 < end < math.inf:
        raise DataError(f"{path}", found=f"an end at {end} s", expected="above 0")
    filled = [(tier.name, list(_filled(tier, end))) for tier in tiers]
    lines = _short_lines(filled, end) if short else _long_lines(filled, end)
    with atomic_path(path) as temporary, open(temporary, "w", encoding=encoding, newline="\n") as stream:
        stream.writelines(f"{line}\n" for line in lines)


def _read(path: str | Path) -> str:
    try:
        raw = Path(path).read_bytes()
        encoding = next((name for mark, name in _MARKS if raw.startswith(mark)), "utf-8")
        return raw.decode(encoding)
    except OSError as error:
        raise DataError(f"{path}", found=error.strerror or str(error), expected="a TextGrid file") from error
    except UnicodeError as error:
        remedy = "save it again as UTF-8 (Praat: Text writing preferences)"
        raise DataError(f"{path}", found=str(error)[:120], expected="UTF-8, or UTF-16 with its mark", remedy=remedy) from error


class _Values:
    """The free-standing values of a file, one after the other."""

    def __init__(self, path: str | Path, content: str):
        self.path = path
        self._content = content
        self._tokens = self._scan()

    def _scan(self) -> Iterator[tuple[str, str]]:
        for match in _TOKEN.finditer(self._content):
            kind = match.lastgroup
            if kind == "text":
                yield kind, match["text"].replace('""', '"')
            elif kind == "flag" or (kind == "word" and _NUMBER.fullmatch(match["word"])):
                yield kind, match[kind]
            elif kind == "open":
                line = self._content.count("\n", 0, match.start()) + 1
                raise DataError(f"{self.path} line {line}", found="a text without its closing quote", expected='"text"')

    def _next(self, kind: str, wanted: str) -> str:
        found, value = next(self._tokens, ("end", ""))
        if found != kind:
            shown = "the end of the file" if found == "end" else repr(shorten(value))
            raise DataError(f"{self.path}", found=shown, expected=wanted, cause="a damaged file, or no TextGrid")
        return value

    def text(self, wanted: str) -> str:
        return self._next("text", wanted)

    def flag(self, wanted: str) -> str:
        return self._next("flag", wanted)

    def number(self, wanted: str) -> float:
        return float(self._next("word", f"{wanted}, a number"))

    def count(self, wanted: str) -> int:
        value = self.number(wanted)
        if value < 0 or value != int(min(value, 2**53)):
            raise DataError(f"{self.path}", found=f"{value:g}", expected=f"{wanted}, a whole number")
        return int(value)


def _tier(values: _Values) -> Tier | None:
    kind, name = values.text("IntervalTier or TextTier"), values.text("the name of a tier")
    values.number("xmin"), values.number("xmax")
    count = values.count(f"the number of intervals of {name!r}")
    if kind == "TextTier":
        for _ in range(count):
            values.number(f"a time of {name!r}"), values.text(f"a text of {name!r}")
        return None
    if kind != "IntervalTier":
        raise DataError(f"{values.path}", found=f"a tier of kind {shorten(kind)!r}", expected="IntervalTier or TextTier")
    items, before = [], -math.inf
    for _ in range(count):
        start, end = values.number(f"a start of {name!r}"), values.number(f"an end of {name!r}")
        if not (math.isfinite(end) and before - _OVERLAP_IN_S <= start <= end):
            place = f"{values.path}, tier {name!r}"
            raise DataError(place, found=f"an interval from {start:g} to {end:g} s", expected="one after the other")
        items.append(AlignmentItem(values.text(f"a text of {name!r}"), start, round(end - start, 9)))
        before = end
    return Tier(name, tuple(items))


def _filled(tier: Tier, end: float) -> Iterator[tuple[float, float, str]]:
    at = 0.0
    for item in sorted(tier.items, key=lambda item: item.start):
        start, stop = round(item.start, 6), round(item.start + item.duration, 6)
        if start < at - _OVERLAP_IN_S or stop > end + _OVERLAP_IN_S or stop <= start:
            found = f"{item.symbol!r} from {start:g} to {stop:g} s, after {at:g} s"
            raise DataError(f"tier {tier.name!r}", found=found, expected=f"one after the other, none after {end:g} s")
        if start > at + _OVERLAP_IN_S:
            yield at, start, ""
            at = start
        yield at, min(stop, end), item.symbol
        at = stop
    if at < end - _OVERLAP_IN_S or not tier.items:
        yield at, end, ""


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _seconds(time: float) -> str:
    return f"{round(time, 6):.6f}".rstrip("0").rstrip(".")


def _short_lines(tiers: list[tuple[str, list]], end: float) -> Iterable[str]:
    yield from ('File type = "ooTextFile"', 'Object class = "TextGrid"', "", "0", _seconds(end), "<exists>", str(len(tiers)))
    for name, intervals in tiers:
        yield from ('"IntervalTier"', _quoted(name), "0", _seconds(end), str(len(intervals)))
        for start, stop, text in intervals:
            yield from (_seconds(start), _seconds(stop), _quoted(text))


def _long_lines(tiers: list[tuple[str, list]], end: float) -> Iterable[str]:
    yield from ('File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0 ", f"xmax = {_seconds(end)} ")
    yield from ("tiers? <exists> ", f"size = {len(tiers)} ", "item []: ")
    for number, (name, intervals) in enumerate(tiers, 1):
        yield from (f"    item [{number}]:", '        class = "IntervalTier" ', f"        name = {_quoted(name)} ")
        yield from ("        xmin = 0 ", f"        xmax = {_seconds(end)} ", f"        intervals: size = {len(intervals)} ")
        for index, (start, stop, text) in enumerate(intervals, 1):
            yield f"        intervals [{index}]:"
            yield from (f"            xmin = {_seconds(start)} ", f"            xmax = {_seconds(stop)} ")
            yield f"            text = {_quoted(text)} "
