"""python -m spin align: phone alignments of the Montreal Forced Aligner, as a TSV for corpus.alignment_tsv.

python -m spin align --input LibriSpeech-alignments/dev-clean --output dev-clean.tsv

Reads the TextGrids in a folder and below it, one file per utterance with a tier "phones", by praatio.
"""

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

from lhotse.supervision import AlignmentItem

from spin import artifacts
from spin.corpus.alignment import plain_phone, write_tsv
from spin.errors import DataError
from spin.units.units import frame_labels

TIER = "phones"
_ROUNDING_IN_S = 1e-4  # of other programs


def main(argv: list[str] | None = None) -> None:
    """Writes the TSV; raises SpinError for a folder without TextGrids, or one that cannot be read."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m spin align", description=__doc__, formatter_class=raw, allow_abbrev=False)
    parser.add_argument("--input", required=True, type=Path, metavar="DIR", help="folder of TextGrids")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE.tsv")
    arguments = parser.parse_args(argv)
    shift = artifacts.PHONE_SHIFT_IN_S
    lines = ((name, frame_labels(phones, round(phones[-1].end / shift))) for name, phones in read_folder(arguments.input))
    print(f"{arguments.output}: {write_tsv(arguments.output, lines)} utterance(s)")


def read_folder(folder: Path) -> Iterator[tuple[str, list[AlignmentItem]]]:
    """(utterance id, plain phones in order of time) of every TextGrid below `folder`; DataError for none, or two of one name."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() == ".textgrid")
    if not files:
        raise DataError(f"{folder}", found="no TextGrid", expected="files such as 103-1240-0000.TextGrid, in any folder below")
    seen: dict[str, Path] = {}
    for file in files:
        if seen.setdefault(file.stem, file) != file:
            raise DataError(f"{file}", found=f"the name of {seen[file.stem]}", expected="one file per utterance")
        yield file.stem, read_phones(file)


def read_phones(path: Path) -> list[AlignmentItem]:
    """The phones of one TextGrid without stress, SIL for silence; DataError where it is damaged or has no such tier."""
    from praatio import textgrid
    from praatio.utilities.errors import PraatioException

    try:
        grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=True, reportingMode="silence")
        tiers = {tier.name.lower(): tier for tier in grid.tiers if isinstance(tier, textgrid.IntervalTier)}
    except (OSError, PraatioException, ValueError, LookupError, AttributeError, TypeError) as error:
        found = f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
        raise DataError(f"{path}", found=found, expected="a TextGrid of Praat", cause="a damaged file, or no TextGrid") from error
    if TIER not in tiers:
        raise DataError(f"{path}", found=f"interval tiers {' '.join(map(repr, tiers))}", expected=f"one named {TIER!r}")
    entries, end = tiers[TIER].entries, tiers[TIER].maxTimestamp
    # praatio reads a truncated file as far as it goes; Praat's tiers are complete to their end.
    if not entries or entries[-1].end < end - _ROUNDING_IN_S:
        expected, cause = "intervals to the end", "a truncated file"
        raise DataError(f"{path}", found=f"phones that end before {end:g} s", expected=expected, cause=cause)
    for one, other in itertools.pairwise(entries):
        if other.start < one.end - _ROUNDING_IN_S:
            found = f"{other.label} at {other.start:g} s, before the end of {one.label} at {one.end:g} s"
            raise DataError(f"{path}", found=found, expected="phones one after the other")
    return [AlignmentItem(plain_phone(entry.label), entry.start, round(entry.end - entry.start, 9)) for entry in entries]
