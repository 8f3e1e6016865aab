"""Units as text for other programs: `utterance u1 u2 ...` per line, sorted by bytes, as Kaldi and many others read them.

python -m spin unit-files --exp exp/mini --system spin --deduplicate --output DIR

    DIR/<part>/text         units of frames of 20 ms, or of runs of equal ones with --deduplicate
    DIR/<part>/durations    the lengths of these runs in frames
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from spin import artifacts
from spin.errors import DataError
from spin.runtime.config_io import load_config
from spin.runtime.files import write_text
from spin.units.units import find_runs, find_units, read_units


def write_part(folder: Path, lines: Path, deduplicate: bool) -> int:
    """Writes the files of one part from its units.jsonl; returns the number of utterances.

    Raises:
        DataError: an utterance id with white space.
    """
    entries = sorted(read_units(lines), key=lambda entry: entry[0].encode(errors="backslashreplace"))
    for name, _ in entries:
        if any(map(str.isspace, name)):
            remedy = f"rename the utterance, or read {lines}"
            raise DataError(name, found="white space in a name", expected="a word", remedy=remedy)
    if deduplicate:
        runs = [(name, *find_runs(units)) for name, units in entries]
        _write(folder / "durations", ((name, durations) for name, _, durations in runs))
        entries = [(name, units) for name, units, _ in runs]
    _write(folder / "text", entries)
    return len(entries)


def _write(path: Path, entries: Iterable) -> None:
    write_text(path, "".join(" ".join([name, *map(str, numbers)]) + "\n" for name, numbers in entries))


def main(argv: list[str] | None = None) -> None:
    """Writes the units of one system; raises SpinError for missing units, or a name with white space."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m spin unit-files", description=__doc__, formatter_class=raw, allow_abbrev=False
    )
    parser.add_argument("--exp", required=True, type=Path, help="an experiment whose stage 3 is finished")
    parser.add_argument("--system", default=artifacts.SPIN, help="the system whose units are written (default: spin)")
    parser.add_argument("--part", nargs="+", help="parts to write (default: the recogniser's training parts and the test parts)")
    parser.add_argument("--deduplicate", action="store_true", help="write runs of equal units, with their durations")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    arguments = parser.parse_args(sys.argv[1:] if argv is None else argv)
    corpus = load_config(artifacts.config_file(arguments.exp)).corpus
    for part in arguments.part or dict.fromkeys((*corpus.asr_train, *corpus.test)):
        lines, _ = find_units(arguments.exp, arguments.system, part)
        count = write_part(arguments.output / part, lines, arguments.deduplicate)
        print(f"{arguments.output / part}: {count} utterances")
