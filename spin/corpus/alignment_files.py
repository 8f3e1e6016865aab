"""Phone alignments in the formats of other programs: which format a path has, reading it, writing it.

tsv: the Spin authors' labels every 10 ms. textgrid: Praat's, one file an utterance, named after it, as the Montreal Forced
Aligner writes them. ctm: Kaldi's. item: ZeroSpeech's ABX items (written only, as it does not hold whole alignments). cuts: a
manifest of stage 0 (read only).
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lhotse.supervision import AlignmentItem

from spin import artifacts
from spin.corpus.alignment import items_from_labels, labels_from_items, plain_phone, read_tsv, write_tsv
from spin.corpus.ctm import read_ctm, write_ctm
from spin.corpus.item import items_of, write_items
from spin.corpus.textgrid import Tier, read_textgrid, tier_named, write_textgrid
from spin.errors import DataError
from spin.runtime.files import read_jsonl

TSV, TEXTGRID, CTM, ITEM, CUTS = "tsv", "textgrid", "ctm", "item", "cuts"
READABLE, WRITABLE = (TSV, TEXTGRID, CTM, CUTS), (TSV, TEXTGRID, CTM, ITEM)
PHONES, WORDS = "phones", "words"  # names of tiers in a TextGrid
_SUFFIXES = {".tsv": TSV, ".textgrid": TEXTGRID, ".ctm": CTM, ".item": ITEM, ".jsonl": CUTS, ".gz": CUTS}


@dataclass(frozen=True)
class Aligned:
    """An utterance's phones and words in order of time, in seconds from its start; words and speaker may be unknown."""

    id: str
    phones: list[AlignmentItem]
    words: tuple[AlignmentItem, ...] = ()
    speaker: str = ""


@dataclass(frozen=True)
class Writing:
    """How files are written.

    Args:
        speaker_of: utterance id -> speaker, for utterances that come without one (item).
        items: triphone or phoneme (item).
        short: the short format (textgrid).
        encoding: utf-8 or utf-16 (textgrid).
    """

    speaker_of: Callable[[str], str] = str
    items: str = "triphone"
    short: bool = False
    encoding: str = "utf-8"


def format_of(path: str | Path) -> str:
    """The format that a name tells; a folder, or a name without a suffix, is one of TextGrids.

    Raises:
        DataError: another suffix.
    """
    path = Path(path)
    kind = TEXTGRID if path.is_dir() or not path.suffix else _SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise DataError(f"{path}", found=f"suffix {path.suffix}", expected=" ".join(_SUFFIXES), remedy="--from, --to")
    return kind


def read_aligned(path: str | Path, kind: str, tier: str = PHONES, keep_stress: bool = False) -> Iterator[Aligned]:
    """Yields utterances, one at a time; those of a manifest that have no alignment are passed over.

    Args:
        kind: one of READABLE.
        tier: of the phones in a TextGrid; words are those of the tier `words`, where there is one.
        keep_stress: phones as they are written; else without stress digits, and silence as SIL (a TSV's are always so).

    Raises:
        DataError: names the file and what is wrong with it.
    """
    if kind not in READABLE:
        raise DataError(f"{path}", found=f"format {kind}", expected=" ".join(READABLE))
    for utterance in _READERS[kind](Path(path), tier):
        phones = [_named(item, keep_stress) for item in utterance.phones if item.duration > 0]
        yield Aligned(utterance.id, phones, utterance.words, utterance.speaker)


def write_aligned(path: str | Path, kind: str, utterances: Iterable[Aligned], how: Writing | None = None) -> int:
    """Writes utterances as they come; returns their number. A file appears whole or not at all, TextGrids one by one.

    Args:
        kind: one of WRITABLE; path is a folder for textgrid, else a file.

    Raises:
        DataError: what the format cannot hold; names the utterance.
    """
    if kind not in WRITABLE:
        raise DataError(f"{path}", found=f"format {kind}", expected=" ".join(WRITABLE))
    counted = _Counted(utterances)
    _WRITERS[kind](Path(path), counted, how or Writing())
    return counted.count


class _Counted:
    def __init__(self, utterances: Iterable[Aligned]):
        self._utterances, self.count = utterances, 0

    def __iter__(self) -> Iterator[Aligned]:
        for utterance in self._utterances:
            self.count += 1
            yield utterance


def _named(item: AlignmentItem, keep_stress: bool) -> AlignmentItem:
    plain = plain_phone(item.symbol)
    kept = item.symbol.strip() if keep_stress and plain != artifacts.SILENCE else plain
    return AlignmentItem(kept, item.start, item.duration)


def _read_tsv(path: Path, _: str) -> Iterator[Aligned]:
    for identity, labels in read_tsv(path):
        yield Aligned(identity, items_from_labels(labels))


def _read_textgrids(path: Path, tier: str) -> Iterator[Aligned]:
    paths = [path] if not path.is_dir() else sorted(found for found in path.rglob("*") if found.suffix.lower() == ".textgrid")
    if not paths:
        raise DataError(f"{path}", found="no TextGrid", expected="files such as 103-1240-0000.TextGrid, in any folder below")
    seen: dict[str, Path] = {}
    for file in paths:
        if file.stem in seen:
            raise DataError(f"{file}", found=f"the name of {seen[file.stem]}", expected="one file an utterance")
        seen[file.stem] = file
        tiers = read_textgrid(file)
        words = [item for found in tiers if found.name.lower() == WORDS for item in found.items if item.symbol.strip()]
        yield Aligned(file.stem, list(tier_named(tiers, tier, file).items), tuple(words))


def _read_ctm(path: Path, _: str) -> Iterator[Aligned]:
    for identity, items in read_ctm(path):
        yield Aligned(identity, items)


def _read_cuts(path: Path, _: str) -> Iterator[Aligned]:
    if not path.is_file():
        raise DataError(
            f"{path}", found="no such file", expected="a manifest of stage 0", remedy="data/<corpus>/cuts_<part>.jsonl.gz"
        )
    try:
        for cut in read_jsonl(path):
            for supervision in cut["supervisions"][:1]:
                tiers = supervision.get("alignment") or {}
                items = {name: [AlignmentItem(*item[:3]) for item in tiers[name]] for name in tiers}
                if items.get(artifacts.PHONE_TIER):
                    words = tuple(items.get(artifacts.WORD_TIER, ()))
                    yield Aligned(cut["id"], items[artifacts.PHONE_TIER], words, supervision.get("speaker") or "")
    except (KeyError, TypeError, AttributeError, gzip.BadGzipFile, EOFError) as error:
        raise DataError(f"{path}", found=f"{type(error).__name__}: {error}"[:120], expected="a manifest of stage 0") from error


def _write_tsv(path: Path, utterances: Iterable[Aligned], _: Writing) -> None:
    shift = artifacts.PHONE_SHIFT_IN_S
    write_tsv(path, ((one.id, labels_from_items(one.phones, round(_end(one) / shift))) for one in utterances))


def _write_textgrids(path: Path, utterances: Iterable[Aligned], how: Writing) -> None:
    path.mkdir(parents=True, exist_ok=True)
    for one in utterances:
        if Path(one.id).name != one.id:
            raise DataError(f"utterance {one.id!r}", found="no name of a file", expected="an id without slashes")
        tiers = [Tier(PHONES, tuple(one.phones)), *([Tier(WORDS, one.words)] if one.words else [])]
        write_textgrid(path / f"{one.id}.TextGrid", tiers, _end(one), short=how.short, encoding=how.encoding)


def _write_ctm(path: Path, utterances: Iterable[Aligned], _: Writing) -> None:
    write_ctm(path, ((one.id, one.phones) for one in utterances))


def _write_items(path: Path, utterances: Iterable[Aligned], how: Writing) -> None:
    found = (items_of(one.id, one.speaker or how.speaker_of(one.id), one.phones, how.items) for one in utterances)
    write_items(path, (item for items in found for item in items))


def _end(utterance: Aligned) -> float:
    return max((item.end for item in (*utterance.phones, *utterance.words)), default=0.0)


_READERS = {TSV: _read_tsv, TEXTGRID: _read_textgrids, CTM: _read_ctm, CUTS: _read_cuts}
_WRITERS = {TSV: _write_tsv, TEXTGRID: _write_textgrids, CTM: _write_ctm, ITEM: _write_items}
