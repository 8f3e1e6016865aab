"""Units for other programs. Every writer takes the utterances of one part: (utterance id, units, durations or None).

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
from collections.abc import Callable, Iterator
from pathlib import Path

from spin import artifacts
from spin.data.cuts import read_cuts
from spin.errors import DataError
from spin.runtime.config_io import load_config
from spin.runtime.files import read_json, write_jsonl, write_text
from spin.units.runs import experiment_units, find_runs, read_sequences

Entry = tuple[str, list[int], list[int] | None]  # utterance id; units of frames, or of runs with their durations in frames


def read_entries(path: Path, deduplicate: bool = False) -> Iterator[Entry]:
    """The utterances of a units.jsonl."""
    for name, units in read_sequences(path):
        yield (name, *find_runs(units)) if deduplicate else (name, units, None)


def write_json_lines(stem: Path, entries: list[Entry]) -> None:
    """The format of stage 3."""
    names = (artifacts.UNITS_ID, artifacts.UNITS_SEQUENCE, "durations")
    records = ({key: value for key, value in zip(names, entry) if value is not None} for entry in entries)
    write_jsonl(stem.with_name(f"{stem.name}.jsonl"), records)


def write_kaldi(stem: Path, entries: list[Entry]) -> None:
    """A text file and, for runs, a file of durations. Kaldi sorts by bytes and splits at white space."""
    _check_names(entries, "kaldi", lambda letter: letter.isspace())
    entries = sorted(entries, key=lambda entry: entry[0].encode())
    _write(stem / "text", (f"{name} {_join(units)}".rstrip() for name, units, _ in entries))
    if any(durations is not None for _, _, durations in entries):
        _write(stem / "durations", (f"{name} {_join(durations)}".rstrip() for name, _, durations in entries))


def write_s3prl(stem: Path, entries: list[Entry]) -> None:
    """Names and units separated by a bar."""
    _check_names(entries, "s3prl", lambda letter: letter in "|\r\n")
    _write(stem.with_name(f"{stem.name}.txt"), (f"{name}|{_join(units)}" for name, units, _ in entries))
    if any(durations is not None for _, _, durations in entries):
        _write(stem.with_name(f"{stem.name}.durations.txt"), (f"{name}|{_join(own)}" for name, _, own in entries))


def write_fairseq(stem: Path, entries: list[Entry]) -> None:
    """Units without names, in the order of the manifest that write_fairseq_manifest writes."""
    _write(stem.with_name(f"{stem.name}.km"), (_join(units) for _, units, _ in entries))
    if any(durations is not None for _, _, durations in entries):
        _write(stem.with_name(f"{stem.name}.durations"), (_join(durations) for _, _, durations in entries))


WRITERS: dict[str, Callable[[Path, list[Entry]], None]] = {
    "jsonl": write_json_lines,
    "kaldi": write_kaldi,
    "s3prl": write_s3prl,
    "fairseq": write_fairseq,
}


def write_fairseq_manifest(stem: Path, cuts: Path, codebook_size: int) -> None:
    """fairseq's manifest of the audio and its dictionary.

    Raises:
        DataError: a cut that is not one whole audio file, or a file name with a tab.
    """
    audio = [_audio_of(cut) for cut in read_cuts(cuts)]
    root = os.path.commonpath([os.path.dirname(path) for path, _ in audio]) if audio else os.getcwd()
    _write(stem.with_name(f"{stem.name}.tsv"), [root, *(f"{os.path.relpath(path, root)}\t{count}" for path, count in audio)])
    write_text(stem.with_name("dict.km.txt"), "".join(f"{unit} 1\n" for unit in range(codebook_size)))


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


def _join(numbers: list[int] | None) -> str:
    return " ".join(map(str, numbers or ()))


def _write(path: Path, lines) -> None:
    write_text(path, "".join(f"{line}\n" for line in lines))


def _check_names(entries: list[Entry], kind: str, is_forbidden: Callable[[str], bool]) -> None:
    for name, _, _ in entries:
        bad = next((letter for letter in name if is_forbidden(letter)), None)
        if bad:
            expected, remedy = f"a name that the format {kind} can hold", "use another --format, or rename the utterance"
            raise DataError(name, found=f"{bad!r} in a name", expected=expected, remedy=remedy)


def main(argv: list[str] | None = None) -> None:
    """Writes the units of one system.

    Raises:
        SpinError: missing units, or a name that the format cannot hold.
    """
    parser = argparse.ArgumentParser(
        prog="python -m spin unit-files",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--exp", required=True, type=Path, help="an experiment whose stage 3 is finished")
    parser.add_argument("--system", default=artifacts.SPIN, help="the system whose units are written (default: spin)")
    parser.add_argument("--part", nargs="+", help="parts to write (default: the recogniser's training parts and the test parts)")
    parser.add_argument("--format", required=True, choices=WRITERS)
    parser.add_argument("--deduplicate", action="store_true", help="write runs of equal units, with their durations")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    arguments = parser.parse_args(sys.argv[1:] if argv is None else argv)
    corpus = load_config(artifacts.config_file(arguments.exp)).corpus
    for part in arguments.part or dict.fromkeys((*corpus.asr_train, *corpus.test)):
        path = experiment_units(arguments.exp, arguments.system, part)
        entries = list(read_entries(path, arguments.deduplicate))
        WRITERS[arguments.format](arguments.output / part, entries)
        if arguments.format == "fairseq":
            size = read_json(artifacts.codebook_in(path.parent))["codebook_size"]
            write_fairseq_manifest(arguments.output / part, artifacts.cuts_in(path.parent), size)
        print(f"{arguments.output / part}: {arguments.format}, {len(entries)} utterances")
