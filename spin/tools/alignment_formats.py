"""Phone alignments in the formats of other programs, told by the name of the file.

.tsv: the Spin authors' labels every 10 ms. .TextGrid, or a folder of them: Praat's, one file per utterance, as the Montreal
Forced Aligner writes them (by praatio). .ctm: Kaldi's, times to 10 ms (by lhotse). .item: ZeroSpeech's ABX items (written only,
because they hold no whole alignments). .jsonl.gz: a manifest of stage 0 (read only).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lhotse import SupervisionSegment, SupervisionSet
from lhotse.supervision import AlignmentItem

from spin import artifacts
from spin.corpus.abx_item import items_of, write_items
from spin.corpus.alignment import items_from_labels, labels_from_items, plain_phone, read_tsv, write_tsv
from spin.data.cuts import read_records
from spin.errors import DataError
from spin.runtime.files import atomic_path

PHONES, WORDS = "phones", "words"  # names of tiers in a TextGrid
_OVERLAP_IN_S = 1e-4  # rounding of other programs
_DAY_IN_S = 86_400.0  # longer than any recording


@dataclass(frozen=True)
class Aligned:
    """An utterance's phones and words in order of time, in seconds from its start; words and speaker may be unknown."""

    id: str
    phones: list[AlignmentItem]
    words: tuple[AlignmentItem, ...] = ()
    speaker: str = ""

    @property
    def end(self) -> float:
        return max((item.end for item in (*self.phones, *self.words)), default=0.0)


def read_aligned(path: str | Path, tier: str = PHONES, keep_stress: bool = False) -> Iterator[Aligned]:
    """Yields utterances; those of a manifest that have no alignment are skipped.

    Args:
        path: file of a readable format, or a folder of TextGrids.
        tier: name of the phone tier in TextGrids; words are those of the tier `words`, where there is one.
        keep_stress: keeps phones as they are written; otherwise stress digits are removed, and silence becomes SIL.

    Raises:
        DataError: an unknown format, or a file that cannot be read; names the file.
    """
    for utterance in _function(path, _READERS)(Path(path), tier):
        phones = sorted(
            (_rename(item, keep_stress) for item in utterance.phones if item.duration > 0), key=lambda item: item.start
        )
        for one, other in itertools.pairwise(phones):
            if other.start < one.end - _OVERLAP_IN_S:
                found = f"{other.symbol} at {other.start:g} s, before the end of {one.symbol} at {one.end:g} s"
                raise DataError(f"{path}: {utterance.id}", found=found, expected="phones one after the other")
        yield Aligned(utterance.id, phones, utterance.words, utterance.speaker)


def write_aligned(
    path: str | Path, utterances: Iterable[Aligned], kind: str = "triphone", speaker_of: Callable[[str], str] = str
) -> int:
    """Writes utterances and returns their number. A file appears complete or not at all, TextGrids one by one.

    Args:
        path: file of a writable format; a name without a suffix is a folder of TextGrids.
        kind: triphone or phoneme, for .item files.
        speaker_of: utterance id -> speaker, for .item files, where an utterance names no speaker.

    Raises:
        DataError: an unknown format, or an utterance that it cannot hold.
    """
    write = _function(path, _WRITERS)
    count = itertools.count()
    named = (Aligned(one.id, one.phones, one.words, one.speaker or speaker_of(one.id)) for one in utterances)
    write(Path(path), (one for one, _ in zip(named, count)), kind)
    return next(count)


def _function(path: str | Path, table: dict) -> Callable:
    suffix = Path(path).suffix.lower()
    suffix = ".textgrid" if Path(path).is_dir() or not suffix else suffix.replace(".gz", ".jsonl")
    if suffix not in table:
        remedy = "rename the file, or choose another format"
        raise DataError(f"{path}", found=f"suffix {suffix}", expected=" ".join(table), remedy=remedy)
    return table[suffix]


def _rename(item: AlignmentItem, keep_stress: bool) -> AlignmentItem:
    plain = plain_phone(item.symbol)
    symbol = item.symbol.strip() if keep_stress and plain != artifacts.SILENCE else plain
    return AlignmentItem(symbol, item.start, item.duration)


def _read_tsv(path: Path, _: str) -> Iterator[Aligned]:
    for identity, labels in read_tsv(path):
        yield Aligned(identity, items_from_labels(labels))


def _read_textgrids(path: Path, tier: str) -> Iterator[Aligned]:
    files = [path] if not path.is_dir() else sorted(file for file in path.rglob("*") if file.suffix.lower() == ".textgrid")
    if not files:
        raise DataError(f"{path}", found="no TextGrid", expected="files such as 103-1240-0000.TextGrid, in any folder below")
    seen: dict[str, Path] = {}
    for file in files:
        if seen.setdefault(file.stem, file) != file:
            raise DataError(f"{file}", found=f"the name of {seen[file.stem]}", expected="one file per utterance")
        tiers = _read_tiers(file)
        if tier.lower() not in tiers:
            names = " ".join(map(repr, tiers)) or "none"
            raise DataError(f"{file}", found=f"interval tiers {names}", expected=f"one named {tier!r}", remedy="--tier NAME")
        words = [item for item in tiers.get(WORDS, []) if item.symbol.strip()]
        yield Aligned(file.stem, tiers[tier.lower()], tuple(words))


def _read_tiers(path: Path) -> dict[str, list[AlignmentItem]]:
    """Name in lower case -> intervals; point tiers are ignored."""
    from praatio import textgrid
    from praatio.utilities.errors import PraatioException

    try:
        grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=True, reportingMode="silence")
        tiers = [tier for tier in grid.tiers if isinstance(tier, textgrid.IntervalTier)]
    except OSError as error:
        raise DataError(f"{path}", found=error.strerror or str(error), expected="a TextGrid file") from error
    except (PraatioException, ValueError, LookupError, AttributeError, TypeError) as error:
        found = f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
        raise DataError(f"{path}", found=found, expected="a TextGrid of Praat", cause="a damaged file, or no TextGrid") from error
    for tier in tiers:  # praatio reads a truncated file as far as it goes; Praat's tiers are complete to their end
        if not tier.entries or tier.entries[-1].end < tier.maxTimestamp - _OVERLAP_IN_S:
            found = f"tier {tier.name!r} ends before {tier.maxTimestamp:g} s"
            raise DataError(f"{path}", found=found, expected="intervals to the end", cause="a truncated file")
    return {
        tier.name.lower(): [AlignmentItem(entry.label, entry.start, round(entry.end - entry.start, 9)) for entry in tier.entries]
        for tier in tiers
    }


def _read_ctm(path: Path, _: str) -> Iterator[Aligned]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        names = dict.fromkeys(line.split()[0] for line in lines if line.strip())
        segments = [SupervisionSegment(name, name, 0.0, _DAY_IN_S, 1) for name in names]
        aligned = SupervisionSet.from_segments(segments).with_alignment_from_ctm(path, type=artifacts.PHONE_TIER)
    except (OSError, ValueError, IndexError) as error:
        expected = "UTF-8 lines: utterance channel start duration symbol [confidence]"
        raise DataError(f"CTM file {path}", found=str(error), expected=expected) from error
    by_name = {segment.recording_id: segment.alignment[artifacts.PHONE_TIER] for segment in aligned}
    for name in names:
        yield Aligned(name, [AlignmentItem(*item[:3]) for item in by_name[name]])


def _read_cuts(path: Path, _: str) -> Iterator[Aligned]:
    for cut in read_records(path):
        for supervision in (cut.get("supervisions") or [])[:1]:
            tiers = supervision.get("alignment") or {}
            items = {name: [AlignmentItem(*item[:3]) for item in tiers[name]] for name in tiers}
            if items.get(artifacts.PHONE_TIER):
                words = tuple(items.get(artifacts.WORD_TIER, ()))
                yield Aligned(cut["id"], items[artifacts.PHONE_TIER], words, supervision.get("speaker") or "")


def _write_tsv(path: Path, utterances: Iterable[Aligned], _: str) -> None:
    shift = artifacts.PHONE_SHIFT_IN_S
    write_tsv(path, ((one.id, labels_from_items(one.phones, round(one.end / shift))) for one in utterances))


def _write_textgrids(path: Path, utterances: Iterable[Aligned], _: str) -> None:
    from praatio import textgrid

    path.mkdir(parents=True, exist_ok=True)
    for one in utterances:
        if Path(one.id).name != one.id or not one.end:
            raise DataError(f"utterance {one.id!r}", found="a slash, or no interval", expected="a file name, and phones")
        grid = textgrid.Textgrid(0, one.end)
        for name, items in ((PHONES, one.phones), (WORDS, one.words)):
            entries = [(round(item.start, 6), round(item.end, 6), item.symbol) for item in items]
            if entries:
                grid.addTier(textgrid.IntervalTier(name, entries, 0, one.end), reportingMode="silence")
        with atomic_path(path / f"{one.id}.TextGrid") as temporary:
            grid.save(str(temporary), "long_textgrid", includeBlankSpaces=True, reportingMode="silence")


def _write_ctm(path: Path, utterances: Iterable[Aligned], _: str) -> None:
    segments = []
    for one in utterances:
        if any(len(word.split()) != 1 for word in (one.id, *(item.symbol for item in one.phones))):
            raise DataError(f"CTM of {one.id!r}", found="an empty word, or a blank in one", expected="words without blanks")
        segments.append(SupervisionSegment(one.id, one.id, 0.0, one.end, 1, alignment={artifacts.PHONE_TIER: one.phones}))
    with atomic_path(path) as temporary:
        SupervisionSet.from_segments(segments).write_alignment_to_ctm(temporary, type=artifacts.PHONE_TIER)


def _write_items(path: Path, utterances: Iterable[Aligned], kind: str) -> None:
    write_items(path, (item for one in utterances for item in items_of(one.id, one.speaker, one.phones, kind)))


_READERS = {".tsv": _read_tsv, ".textgrid": _read_textgrids, ".ctm": _read_ctm, ".jsonl": _read_cuts}
_WRITERS = {".tsv": _write_tsv, ".textgrid": _write_textgrids, ".ctm": _write_ctm, ".item": _write_items}
