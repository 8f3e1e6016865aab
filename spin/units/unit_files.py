"""Units for other programs.

python -m spin unit-files --exp exp/mini --system spin --format kaldi --output DIR     # DIR/<part>/text
python -m spin unit-files --exp exp/mini --system spin --format fairseq --deduplicate --output DIR

    jsonl    DIR/<part>.jsonl                            {"id": .., "units": [..]} per line, with "durations" if deduplicated
    kaldi    DIR/<part>/text, durations                  `utterance u1 u2 ...`, sorted by bytes as Kaldi demands
    s3prl    DIR/<part>.txt, <part>.durations.txt        `utterance|u1 u2 ...`, as in s3prl and textless-lib
    fairseq  DIR/<part>.km, .durations, .tsv, dict.km.txt    lines of units, a manifest of the audio, every unit with the count 1
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from spin import artifacts
from spin.data.cuts import read_cuts
from spin.errors import DataError
from spin.runtime.config_io import load_config
from spin.runtime.files import write_jsonl, write_text
from spin.units.units import find_runs, find_units, read_units

Entry = tuple[str, list[int], list[int] | None]  # utterance id; units of frames, or of runs with their durations in frames
FORMATS = ("jsonl", "kaldi", "s3prl", "fairseq")


def read_entries(path: Path, deduplicate: bool = False) -> list[Entry]:
    """The utterances of a units.jsonl."""
    if not deduplicate:
        return [(name, units.tolist(), None) for name, units in read_units(path)]
    return [(name, *(own.tolist() for own in find_runs(units))) for name, units in read_units(path)]


def write_entries(stem: Path, entries: list[Entry], kind: str) -> None:
    """Files of one part, named after its stem.

    Args:
        kind: one of FORMATS. fairseq's files name no utterance; write_fairseq_manifest gives their order.

    Raises:
        DataError: an utterance id that the format cannot hold.
    """
    if kind == "jsonl":
        names = (artifacts.UNITS_ID, artifacts.UNITS_SEQUENCE, "durations")
        records = ({key: value for key, value in zip(names, entry) if value is not None} for entry in entries)
        write_jsonl(stem.with_name(f"{stem.name}.jsonl"), records)
        return
    if kind == "kaldi":
        _check_names(entries, kind, str.isspace)
        entries = sorted(entries, key=lambda entry: entry[0].encode())
        paths, separator = (stem / "text", stem / "durations"), " "
    elif kind == "s3prl":
        _check_names(entries, kind, lambda letter: letter in "|\r\n")
        paths, separator = (stem.with_name(f"{stem.name}.txt"), stem.with_name(f"{stem.name}.durations.txt")), "|"
    else:
        entries = [("", units, durations) for _, units, durations in entries]
        paths, separator = (stem.with_name(f"{stem.name}.km"), stem.with_name(f"{stem.name}.durations")), ""
    _write(paths[0], (_line(name, separator, units) for name, units, _ in entries))
    if any(durations is not None for _, _, durations in entries):
        _write(paths[1], (_line(name, separator, durations or ()) for name, _, durations in entries))


def write_fairseq_manifest(stem: Path, cuts: Path, codebook_size: int) -> None:
    """fairseq's manifest of the audio and its dictionary.

    Raises:
        DataError: a cut that is not one whole audio file, or a file name with a tab.
    """
    audio = [_audio_of(cut) for cut in read_cuts(cuts)]
    root = os.path.commonpath([os.path.dirname(path) for path, _ in audio]) if audio else os.getcwd()
    _write(stem.with_name(f"{stem.name}.tsv"), [root, *(f"{os.path.relpath(path, root)}\t{count}" for path, count in audio)])
    _write(stem.with_name("dict.km.txt"), (f"{unit} 1" for unit in range(codebook_size)))


def _audio_of(cut) -> tuple[str, int]:
    sources = cut.recording.sources
    whole = len(sources) == 1 and sources[0].type == "file" and cut.start == 0 and cut.num_samples == cut.recording.num_samples
    path = os.path.abspath(sources[0].source) if whole else ""
    if not whole or set(path) & set("\t\r\n"):
        raise DataError(
            cut.id,
            found=path or "a part of a recording",
            expected="one whole audio file, without a tab in its name",
            cause="utterances cut out of longer recordings",
            remedy="use another --format",
        )
    return path, cut.recording.num_samples


def _line(name: str, separator: str, numbers: Iterable[int]) -> str:
    return f"{name}{separator}{' '.join(map(str, numbers))}".rstrip(" ")


def _write(path: Path, lines: Iterable[str]) -> None:
    write_text(path, "".join(f"{line}\n" for line in lines))


def _check_names(entries: list[Entry], kind: str, is_forbidden: Callable[[str], bool]) -> None:
    for name, _, _ in entries:
        bad = next((letter for letter in name if is_forbidden(letter)), None)
        if bad:
            expected, remedy = f"a name that the format {kind} can hold", "use another --format, or rename the utterance"
            raise DataError(name, found=f"{bad!r} in a name", expected=expected, remedy=remedy)


def main(argv: list[str] | None = None) -> None:
    """Writes the units of one system; raises SpinError for missing units, or a name that the format cannot hold."""
    parser = argparse.ArgumentParser(
        prog="python -m spin unit-files",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--exp", required=True, type=Path, help="an experiment whose stage 3 is finished")
    parser.add_argument("--system", default=artifacts.SPIN, help="the system whose units are written (default: spin)")
    parser.add_argument("--part", nargs="+", help="parts to write (default: the recogniser's training parts and the test parts)")
    parser.add_argument("--format", required=True, choices=FORMATS)
    parser.add_argument("--deduplicate", action="store_true", help="write runs of equal units, with their durations")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    arguments = parser.parse_args(sys.argv[1:] if argv is None else argv)
    corpus = load_config(artifacts.config_file(arguments.exp)).corpus
    for part in arguments.part or dict.fromkeys((*corpus.asr_train, *corpus.test)):
        path, size = find_units(arguments.exp, arguments.system, part)
        entries = read_entries(path, arguments.deduplicate)
        write_entries(arguments.output / part, entries, arguments.format)
        if arguments.format == "fairseq":
            write_fairseq_manifest(arguments.output / part, artifacts.cuts_in(path.parent), size)
        print(f"{arguments.output / part}: {arguments.format}, {len(entries)} utterances")
