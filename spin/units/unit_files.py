"""Units in the text formats of other programs, and back. Each writer streams; each reader gives what was written.

    jsonl    STEM.jsonl                          {"id": .., "units": [..]} a line
    kaldi    STEM/text                           `utterance u1 u2 ...`, sorted as Kaldi demands (bytes)
    s3prl    STEM.txt                            `utterance|u1 u2 ...`, as of s3prl and textless
    fairseq  STEM.km, STEM.tsv, dict.km.txt      a line of units an utterance; a manifest of audio; every unit with the count 1
             STEM.ids                            the utterances' names, which fairseq does not know; where it is missing, the
                                                 names of the audio files without suffix are taken

Deduplicated units go into the same files, their durations in frames into a second one of the same layout (DURATION_FILES; for
jsonl into the same line), from which the reader tells the two apart.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from spin import artifacts
from spin.errors import DataError
from spin.runtime.files import atomic_path, write_jsonl, write_text
from spin.units.sequences import DURATIONS, Entry, check_new, lines_of, parse_whole, read_entries

Source = Callable[[], Iterable[Entry]]  # a fresh pass over the entries
UNIT_FILES = {"kaldi": "/text", "s3prl": ".txt", "fairseq": ".km"}  # after the stem
DURATION_FILES = {"kaldi": "/durations", "s3prl": ".durations.txt", "fairseq": ".durations"}
JSONL, MANIFEST, NAMES, DICTIONARY = ".jsonl", ".tsv", ".ids", "dict.km.txt"
SEPARATORS = {"kaldi": " ", "s3prl": "|"}  # between the name and the units


def file_of(stem: Path, ending: str) -> Path:
    """stem + ending, where the ending may name a file in a folder called stem."""
    return stem.with_name(stem.name + ending) if not ending.startswith("/") else stem / ending[1:]


def write_entries(kind: str, stem: Path, source: Source, size: int) -> int:
    """Writes one part; every file whole or not at all.

    Args:
        kind: jsonl, kaldi, s3prl or fairseq.
        stem: see the module's docstring; dict.km.txt lies beside it.
        source: the entries; all of them with durations, or none. fairseq needs their audio.
        size: of the inventory; symbols are below it.

    Returns:
        The number of utterances.

    Raises:
        DataError: a symbol outside the inventory, or a name that the format cannot hold.
    """
    if kind == "jsonl":
        return write_jsonl(file_of(stem, JSONL), (_record(_check(entry, kind, size)) for entry in source()))
    durations = file_of(stem, DURATION_FILES[kind])
    durations.unlink(missing_ok=True)  # of an earlier export, it would be read with the new units
    with_durations: set[bool] = set()

    def symbols() -> Iterator[str]:
        for entry in source():
            with_durations.add(entry.durations is not None)
            yield _line(kind, _check(entry, kind, size).id, entry.symbols)

    if kind == "fairseq":
        _write_manifest(stem, source, size)
    count = _write_lines(file_of(stem, UNIT_FILES[kind]), symbols(), kind)
    if len(with_durations) == 2:
        raise DataError(str(stem), found="durations of some utterances only", expected="of all, or of none")
    if with_durations == {True}:
        _write_lines(durations, (_line(kind, entry.id, entry.durations) for entry in source()), kind)
    return count


def _record(entry: Entry) -> dict:
    record = {artifacts.UNITS_ID: entry.id, artifacts.UNITS_SEQUENCE: entry.symbols}
    return record if entry.durations is None else record | {DURATIONS: entry.durations}


def _line(kind: str, name: str, values: list[int]) -> str:
    text = " ".join(map(str, values))
    return text if kind == "fairseq" else f"{name}{SEPARATORS[kind]}{text}".rstrip(" ")


def _check(entry: Entry, kind: str, size: int) -> Entry:
    if entry.symbols and max(entry.symbols) >= size:
        cause = "a model of another size of the codebook"
        raise DataError(entry.id, found=f"unit {max(entry.symbols)}", expected=f"units from 0 to {size - 1}", cause=cause)
    bad = next((letter for letter in entry.id if _forbidden(letter, kind)), None)
    if bad:
        remedy = "write another format, or rename the utterance"
        raise DataError(entry.id, found=f"{bad!r} in a name", expected=f"a name that the format {kind} can hold", remedy=remedy)
    return entry


def _forbidden(letter: str, kind: str) -> bool:
    if kind == "jsonl":
        return False
    return letter in "\n\r" or (kind == "kaldi" and letter.isspace()) or (kind == "s3prl" and letter == SEPARATORS[kind])


def _write_lines(path: Path, lines: Iterable[str], kind: str = "") -> int:
    """One line each; for kaldi sorted by their first word. Returns their number."""
    with atomic_path(path) as temporary, open(temporary, "w+b") as stream:
        places = []
        for line in lines:
            content = line.encode()
            places.append((content.split(b" ", 1)[0] if kind == "kaldi" else b"", stream.tell(), len(content) + 1))
            stream.write(content + b"\n")
        if kind == "kaldi":
            _reorder(stream, sorted(places))
    return len(places)


def _reorder(stream: IO[bytes], places: list[tuple[bytes, int, int]]) -> None:
    """Rewrites the file with its lines in the order of `places` (key, start, length); memory is that of the places."""
    with tempfile.TemporaryFile() as unsorted:
        stream.seek(0)
        shutil.copyfileobj(stream, unsorted)
        stream.seek(0)
        for _, start, length in places:
            unsorted.seek(start)
            stream.write(unsorted.read(length))


def _write_manifest(stem: Path, source: Source, size: int) -> None:
    """fairseq's files beside the units: the manifest, our names, the dictionary."""
    root = None
    for entry in source():
        if entry.audio is None:
            remedy = "write from an experiment (--exp), or name its manifest (--cuts)"
            raise DataError(entry.id, found="no audio file", expected="one for fairseq's manifest", remedy=remedy)
        if any(letter in entry.audio[0] for letter in "\t\n\r"):
            raise DataError(entry.id, found=f"{entry.audio[0]!r}", expected="an audio file without tab or line feed in its name")
        folder = os.path.dirname(os.path.abspath(entry.audio[0]))
        root = folder if root is None else os.path.commonpath([root, folder])
    root = root or os.getcwd()
    audio = ((os.path.relpath(os.path.abspath(entry.audio[0]), root), entry.audio[1]) for entry in source())
    _write_lines(file_of(stem, MANIFEST), itertools.chain([root], (f"{path}\t{samples}" for path, samples in audio)))
    _write_lines(file_of(stem, NAMES), (_check(entry, "fairseq", size).id for entry in source()))
    write_text(stem.with_name(DICTIONARY), "".join(f"{unit} 1\n" for unit in range(size)))


def read_entries_of(kind: str, stem: Path) -> Iterator[Entry]:
    """The entries of one part, in the order of the file.

    Raises:
        DataError: names the file, the line, and what is wrong with it.
    """
    if kind == "jsonl":
        yield from read_entries(file_of(stem, JSONL))
        return
    read = _read_fairseq if kind == "fairseq" else _read_named
    entries = read(kind, stem, file_of(stem, UNIT_FILES[kind]))
    path = file_of(stem, DURATION_FILES[kind])
    if not path.is_file():
        yield from entries
        return
    for entry, other in _in_step(entries, read(kind, stem, path), path):
        if entry.id != other.id:
            raise DataError(str(path), found=f"utterance {other.id!r}", expected=f"{entry.id!r}, as in the file of units")
        yield dataclasses.replace(entry, durations=other.symbols)


def _in_step(one: Iterable, other: Iterable, path: Path) -> Iterator[tuple]:
    for pair in itertools.zip_longest(one, other):
        if None in pair:
            what = "more" if pair[0] is None else "fewer"
            raise DataError(str(path), found=f"{what} lines than in the file beside it", cause="files of two exports")
        yield pair


def _read_named(kind: str, stem: Path, path: Path) -> Iterator[Entry]:
    seen: set[str] = set()
    for number, line in lines_of(path):
        subject = f"{path}, line {number}"
        name, separator, units = line.partition(SEPARATORS[kind])
        if not name or (kind == "s3prl" and not separator):
            shown = f"utterance{SEPARATORS[kind]}units"
            raise DataError(subject, found=repr(line[:60]), expected=shown, cause=f"a file that is not of the format {kind}")
        check_new(subject, name, seen)
        yield Entry(name, parse_whole(subject, units))


def _read_fairseq(kind: str, stem: Path, path: Path) -> Iterator[Entry]:
    manifest, names, seen = file_of(stem, MANIFEST), file_of(stem, NAMES), set()
    known = (name for _, name in lines_of(names)) if names.is_file() else None
    units = ((number, parse_whole(f"{path}, line {number}", line)) for number, line in lines_of(path))
    for (number, symbols), audio in _in_step(units, _read_manifest(manifest), manifest):
        name = Path(audio[0]).stem if known is None else next(known, None)
        if not name:
            raise DataError(str(names), found="fewer lines than units", cause="files of two exports")
        check_new(f"{path}, line {number}", name, seen)
        yield Entry(name, symbols, audio=audio)
    if known is not None and next(known, None):
        raise DataError(str(names), found="more lines than units", cause="files of two exports")


def _read_manifest(path: Path) -> Iterator[tuple[str, int]]:
    lines = lines_of(path)
    _, root = next(lines, (0, ""))
    if not root:
        raise DataError(str(path), found="no first line", expected="the folder of the audio files")
    for number, line in lines:
        name, _, samples = line.partition("\t")
        if not name or not (samples.isascii() and samples.isdigit()):
            raise DataError(f"{path}, line {number}", found=repr(line[:60]), expected="a path, a tab, a number of samples")
        yield os.path.join(root, name), int(samples)
