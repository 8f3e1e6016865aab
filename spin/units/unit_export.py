"""From units of frames to what a file holds and back: deduplicated, as acoustic pieces, with the audio they come from."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from lhotse import MonoCut

from spin import artifacts
from spin.config import Config
from spin.errors import DataError
from spin.units.pieces import Pieces
from spin.units.sequences import Entry, expand, read_entries, runs
from spin.units.shards import read_cuts


def parts_of(config: Config) -> list[str]:
    """Every part that stage 3 gives units to, each once."""
    corpus = config.corpus
    return list(dict.fromkeys((*corpus.spin_train, *corpus.asr_train, *corpus.valid, *corpus.test)))


def transformed(entries: Iterable[Entry], deduplicate: bool, pieces: Pieces | None) -> Iterator[Entry]:
    """Entries of frames as they are written; durations are kept, so that restored() gives the frames back.

    Args:
        deduplicate: runs of equal units and their durations.
        pieces: encodes the runs; durations stay those of the runs.
    """
    for entry in entries:
        if not deduplicate and pieces is None:
            yield entry
            continue
        if entry.durations is not None:
            found, expected = "units that are deduplicated already", "units of frames"
            raise DataError(entry.id, found=found, expected=expected, remedy="--restore them first")
        units, durations = runs(entry.symbols)
        yield dataclasses.replace(entry, symbols=units if pieces is None else pieces.encode(units), durations=durations)


def restored(entries: Iterable[Entry], pieces: Pieces | None) -> Iterator[Entry]:
    """The inverse of transformed; entries without durations are frames already.

    Raises:
        DataError: names the utterance whose symbols and durations do not belong together.
    """
    for entry in entries:
        if entry.durations is None and pieces is not None:
            remedy = "keep the file of durations beside"
            raise DataError(entry.id, found="pieces without durations", expected="durations of their units", remedy=remedy)
        if entry.durations is None:
            yield entry
            continue
        units = entry.symbols if pieces is None else pieces.decode(entry.symbols)
        yield dataclasses.replace(entry, symbols=expand(entry.id, units, entry.durations), durations=None)


def with_audio(entries: Iterable[Entry], cuts: Path) -> Iterator[Entry]:
    """Entries with the audio files of the manifest, whose cuts are the same utterances in the same order.

    Raises:
        DataError: another utterance, or a cut that is no whole file.
    """
    if not cuts.is_file():
        raise DataError(str(cuts), found="no such file", expected="the manifest of the units' audio", remedy="run stage 3")
    for entry, cut in itertools.zip_longest(entries, read_cuts(cuts)):
        if entry is None or cut is None or entry.id != cut.id:
            names = ["nothing" if one is None else repr(one.id) for one in (cut, entry)]
            found = f"{names[0]} where the units have {names[1]}"
            raise DataError(str(cuts), found=found, expected="the manifest that the units were made from")
        yield dataclasses.replace(entry, audio=audio_of(cut))


def audio_of(cut: MonoCut) -> tuple[str, int]:
    """(path, samples) of a cut that is one whole file."""
    sources = cut.recording.sources
    if len(sources) != 1 or sources[0].type != "file" or cut.start != 0 or cut.num_samples != cut.recording.num_samples:
        expected, cause = "a cut that is one whole audio file", "utterances cut out of longer recordings"
        raise DataError(cut.id, found="a part of a recording", expected=expected, cause=cause, remedy="write another format")
    return str(sources[0].source), cut.recording.num_samples


def units_source(lines: Path, cuts: Path | None) -> Callable[[], Iterator[Entry]]:
    """Fresh passes over a file of units, with the audio of a manifest where one is given."""
    return lambda: read_entries(lines) if cuts is None else with_audio(read_entries(lines), cuts)


def experiment_source(exp: Path, system: str, part: str, audio: bool) -> Callable[[], Iterator[Entry]]:
    """Fresh passes over the units of a system and a part of an experiment.

    Raises:
        DataError: stage 3 did not write them.
    """
    lines = artifacts.units_lines(exp, system, part)
    if not lines.is_file():
        raise DataError(str(lines), found="no such file", expected=f"units of {part}", remedy="run stage 3")
    return units_source(lines, artifacts.units_cuts(exp, system, part) if audio else None)
