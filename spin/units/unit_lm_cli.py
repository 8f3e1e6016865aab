"""python -m spin unit-lm: n-gram perplexity of the units of each system of an experiment, on parts held out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from spin import artifacts
from spin.errors import DataError
from spin.runtime.files import write_json
from spin.runtime.settings import load_config
from spin.units.sequences import Entry, runs
from spin.units.unit_export import experiment_source, parts_of
from spin.units.unit_lm import MOST_ORDER, UnitLm, train_unit_lm

REPORT = "unit_lm.json"


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Options of the command."""
    parser = argparse.ArgumentParser(prog="python -m spin unit-lm", description=__doc__.split(": ", 1)[1], allow_abbrev=False)
    parser.add_argument("--exp", required=True, type=Path, help="an experiment whose stage 3 is done")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help=f"folder of {REPORT} and the ARPA files")
    parser.add_argument("--order", type=int, nargs="+", default=[3], help=f"of the n-grams, 2 to {MOST_ORDER} (default: 3)")
    parser.add_argument("--system", nargs="+", default=artifacts.SYSTEMS, choices=artifacts.SYSTEMS, help="default: both")
    parser.add_argument("--train-part", nargs="+", help="default: the recogniser's training parts")
    parser.add_argument("--test-part", nargs="+", help="default: the test parts")
    parser.add_argument("--frames", action="store_true", help="units of frames as they are, not deduplicated")
    arguments = parser.parse_args(argv)
    if not all(2 <= order <= MOST_ORDER for order in arguments.order):
        parser.error(f"--order {' '.join(map(str, arguments.order))}: 2 to {MOST_ORDER}")
    return arguments


def main(argv: list[str] | None = None) -> None:
    """Trains, measures, writes REPORT and prints a table.

    Raises:
        SpinError: names the part or the file and what is wrong with it.
    """
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    config = load_config(artifacts.config_file(arguments.exp))
    train = arguments.train_part or list(config.corpus.asr_train)
    test = arguments.test_part or list(config.corpus.test)
    known = parts_of(config)
    for part in (*train, *test):
        if part not in known or (part in train and part in test):
            found = "no part of this experiment" if part not in known else "to train and to test on"
            raise DataError(part, found=found, expected=f"different parts among {' '.join(known)}")
    report = {"train": train, "test": test, "deduplicated": not arguments.frames, "systems": {}}
    print(f"{'system':<10}{'order':>6}{'perplexity':>12}{'bits/s':>9}{'units/s':>9}")
    for system in arguments.system:
        for order in arguments.order:
            figures = measure(arguments, system, train, test, order, config.spin.codebook_size)
            report["systems"].setdefault(system, {})[str(order)] = figures
            row = (figures["perplexity"], figures["bits_per_second"], figures["units_per_second"])
            print(f"{system:<10}{order:>6}{row[0]:>12.2f}{row[1]:>9.1f}{row[2]:>9.2f}")
    write_json(arguments.output / REPORT, report)


def measure(arguments: argparse.Namespace, system: str, train: list[str], test: list[str], order: int, size: int) -> dict:
    """One model, trained and measured."""

    def units(parts: list[str]) -> Iterator[tuple[list[int], float]]:
        for part in parts:
            for entry in experiment_source(arguments.exp, system, part, False)():
                yield prepared(entry, arguments.frames), len(entry.symbols) * artifacts.FRAME_SHIFT_IN_S

    path = arguments.output / f"{system}_{order}gram.arpa"
    utterances = train_unit_lm((sequence for sequence, _ in units(train)), size, order, path)
    found = UnitLm(path).held_out(units(test))
    if not found.utterances or not found.seconds:
        raise DataError(" ".join(test), found="no units", expected="utterances to measure on", remedy="--test-part")
    return {
        "perplexity": found.perplexity,
        "bits_per_second": found.bits_per_second,
        "units_per_second": found.units / found.seconds,
        "train_utterances": utterances,
        "test_utterances": found.utterances,
        "test_units": found.units,
        "K": size,
    }


def prepared(entry: Entry, frames: bool) -> list[int]:
    """The units as the model sees them."""
    return entry.symbols if frames else runs(entry.symbols)[0]
