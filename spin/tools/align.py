"""python -m spin align: phone alignments from one format into another.

python -m spin align --input LibriSpeech-alignments/dev-clean --output dev-clean.tsv   # for corpus.alignment_tsv, from the MFA
python -m spin align --input data/mini/cuts_test.jsonl.gz --output textgrids/          # a part of stage 0, to look at in Praat
python -m spin align --input data/mini/cuts_test.jsonl.gz --output test.item           # ABX items of a part

Formats: .tsv, the Spin authors' labels every 10 ms; .TextGrid of Praat, or a folder of them, one file per utterance, as the
Montreal Forced Aligner writes them (by praatio); .ctm of Kaldi and manifests of stage 0, .jsonl.gz (both read only); .item,
ZeroSpeech's ABX items (written only, because they hold no whole alignments).
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from lhotse.supervision import AlignmentItem

from spin import artifacts
from spin.corpus.abx_item import KINDS, items_of, write_items
from spin.corpus.alignment import items_from_labels, plain_phone, read_tsv, write_tsv
from spin.data.cuts import read_records
from spin.errors import DataError
from spin.runtime.files import atomic_path
from spin.units.phones import frame_labels

PHONES, WORDS = "phones", "words"  # names of tiers in a TextGrid
_OVERLAP_IN_S = 1e-4  # rounding of other programs


@dataclass(frozen=True)
class Aligned:
    """An utterance's phones and words in order of time, in seconds from its start; words may be unknown.

    Without a speaker, the name up to its first "-" stands for one, as in LibriSpeech.
    """

    id: str
    phones: list[AlignmentItem]
    words: tuple[AlignmentItem, ...] = ()
    speaker: str = ""

    @property
    def end(self) -> float:
        return max((item.end for item in (*self.phones, *self.words)), default=0.0)


def main(argv: list[str] | None = None) -> None:
    """Converts.

    Raises:
        SpinError: an unknown format, or an unreadable file.
    """
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m spin align", description=__doc__, formatter_class=raw, allow_abbrev=False)
    parser.add_argument("--input", required=True, help=".tsv, .ctm, .TextGrid or a folder of them, or a manifest of stage 0")
    parser.add_argument("--output", required=True, help="file .tsv or .item, or a folder for TextGrids")
    parser.add_argument("--items", default=KINDS[0], choices=KINDS, help="kind of an .item file: with neighbours, or phone alone")
    arguments = parser.parse_args(sys.argv[1:] if argv is None else argv)
    count = write_aligned(arguments.output, read_aligned(arguments.input), arguments.items)
    print(f"{arguments.output}: {count} utterance(s)")


def read_aligned(path: str | Path) -> Iterator[Aligned]:
    """Yields utterances with plain phones (no stress, SIL for silence); those of a manifest without an alignment are skipped.

    Raises:
        DataError: an unknown format, or a file that cannot be read; names the file.
    """
    for utterance in _function(path, _READERS)(Path(path)):
        plain = (AlignmentItem(plain_phone(item.symbol), item.start, item.duration) for item in utterance.phones)
        phones = sorted((item for item in plain if item.duration > 0), key=lambda item: item.start)
        for one, other in itertools.pairwise(phones):
            if other.start < one.end - _OVERLAP_IN_S:
                found = f"{other.symbol} at {other.start:g} s, before the end of {one.symbol} at {one.end:g} s"
                raise DataError(f"{path}: {utterance.id}", found=found, expected="phones one after the other")
        yield replace(utterance, phones=phones)


def write_aligned(path: str | Path, utterances: Iterable[Aligned], kind: str = KINDS[0]) -> int:
    """Writes utterances and returns their number. A file appears complete or not at all, TextGrids one by one.

    Args:
        path: file of a writable format; a name without a suffix is a folder of TextGrids.
        utterances: at most a part at a time is in memory.
        kind: triphone or phoneme, for .item files.

    Raises:
        DataError: an unknown format, or an utterance that it cannot hold.
    """
    count = itertools.count()
    _function(path, _WRITERS)(Path(path), (one for one, _ in zip(utterances, count)), kind)
    return next(count)


def _function(path: str | Path, table: dict) -> Callable:
    suffix = Path(path).suffix.lower()
    suffix = ".textgrid" if Path(path).is_dir() or not suffix else suffix.replace(".gz", ".jsonl")
    if suffix not in table:
        remedy = "rename the file, or choose another format"
        raise DataError(f"{path}", found=f"suffix {suffix}", expected=" ".join(table), remedy=remedy)
    return table[suffix]


def _read_tsv(path: Path) -> Iterator[Aligned]:
    for name, labels in read_tsv(path):
        yield Aligned(name, items_from_labels(labels))


def _read_textgrids(path: Path) -> Iterator[Aligned]:
    files = [path] if not path.is_dir() else sorted(file for file in path.rglob("*") if file.suffix.lower() == ".textgrid")
    if not files:
        raise DataError(f"{path}", found="no TextGrid", expected="files such as 103-1240-0000.TextGrid, in any folder below")
    seen: dict[str, Path] = {}
    for file in files:
        if seen.setdefault(file.stem, file) != file:
            raise DataError(f"{file}", found=f"the name of {seen[file.stem]}", expected="one file per utterance")
        tiers = _read_tiers(file)
        if PHONES not in tiers:
            names = " ".join(map(repr, tiers)) or "none"
            raise DataError(f"{file}", found=f"interval tiers {names}", expected=f"one named {PHONES!r}")
        yield Aligned(file.stem, tiers[PHONES], tuple(item for item in tiers.get(WORDS, []) if item.symbol.strip()))


def _read_tiers(path: Path) -> dict[str, list[AlignmentItem]]:
    """Name in lower case -> intervals; point tiers are ignored."""
    from praatio import textgrid
    from praatio.utilities.errors import PraatioException

    try:
        grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=True, reportingMode="silence")
        tiers = [tier for tier in grid.tiers if isinstance(tier, textgrid.IntervalTier)]
    except (OSError, PraatioException, ValueError, LookupError, AttributeError, TypeError) as error:
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


def _read_ctm(path: Path) -> Iterator[Aligned]:
    utterances: dict[str, list[AlignmentItem]] = {}
    try:
        for line in filter(str.strip, path.read_text(encoding="utf-8").splitlines()):
            name, _, start, duration, symbol, *_ = line.split()
            utterances.setdefault(name, []).append(AlignmentItem(symbol, float(start), float(duration)))
    except (OSError, ValueError) as error:
        expected = "UTF-8 lines: utterance channel start duration symbol [confidence]"
        raise DataError(f"CTM file {path}", found=str(error), expected=expected) from error
    yield from itertools.starmap(Aligned, utterances.items())


def _read_cuts(path: Path) -> Iterator[Aligned]:
    for cut in read_records(path):
        for supervision in (cut.get("supervisions") or [])[:1]:
            tiers = supervision.get("alignment") or {}
            items = {name: [AlignmentItem(*item[:3]) for item in tiers[name]] for name in tiers}
            if items.get(artifacts.PHONE_TIER):
                words = tuple(items.get(artifacts.WORD_TIER, ()))
                yield Aligned(cut["id"], items[artifacts.PHONE_TIER], words, supervision.get("speaker") or "")


def _write_tsv(path: Path, utterances: Iterable[Aligned], _: str) -> None:
    shift = artifacts.PHONE_SHIFT_IN_S
    write_tsv(path, ((one.id, frame_labels(one.phones, round(one.end / shift))) for one in utterances))


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


def _write_items(path: Path, utterances: Iterable[Aligned], kind: str) -> None:
    speakers = ((one, one.speaker or one.id.split("-")[0]) for one in utterances)
    write_items(path, (item for one, speaker in speakers for item in items_of(one.id, speaker, one.phones, kind)))


_READERS = {".tsv": _read_tsv, ".textgrid": _read_textgrids, ".ctm": _read_ctm, ".jsonl": _read_cuts}
_WRITERS = {".tsv": _write_tsv, ".textgrid": _write_textgrids, ".item": _write_items}
