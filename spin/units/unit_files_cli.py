"""python -m spin unit-files: units for the next model, in the formats of other programs, and back.

python -m spin unit-files --exp exp/mini --format kaldi --output DIR                 # DIR/SYSTEM/PART/text
python -m spin unit-files --exp exp/mini --format fairseq --deduplicate --output DIR
python -m spin unit-files --exp exp/mini --format s3prl --pieces 500 --output DIR    # trains DIR/SYSTEM/pieces.model
python -m spin unit-files --restore DIR/spin/test --format kaldi --output units.jsonl
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from spin import artifacts
from spin.errors import DataError
from spin.runtime.files import write_jsonl
from spin.runtime.settings import load_config
from spin.units.pieces import Pieces, load_pieces, save_pieces, train_pieces
from spin.units.sequences import Entry, runs
from spin.units.unit_export import experiment_source, parts_of, restored, transformed, units_source
from spin.units.unit_files import UNIT_FILES, read_entries_of, write_entries

FORMATS = ("jsonl", *UNIT_FILES)
PIECES_MODEL = "pieces.model"


@dataclass(frozen=True)
class Inventory:
    """Units of one origin: written below one folder, pieces are theirs together."""

    folder: Path
    size: int
    parts: dict[str, Callable[[], Iterator[Entry]]]
    teachers: list[str]  # the parts that pieces are trained on


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m spin unit-files",
        description=__doc__.split(": ", 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    origin = parser.add_mutually_exclusive_group(required=True)
    origin.add_argument("--exp", type=Path, help="an experiment whose stage 3 is done")
    origin.add_argument("--units", type=Path, metavar="FILE", help="a units.jsonl, such as `python -m spin units` writes")
    origin.add_argument("--restore", type=Path, metavar="STEM", help="what this command wrote, without the ending")
    parser.add_argument("--format", required=True, choices=FORMATS)
    parser.add_argument("--output", required=True, type=Path, help="a folder; with --restore a units.jsonl")
    parser.add_argument(
        "--system", nargs="+", default=artifacts.SYSTEMS, choices=artifacts.SYSTEMS, help="of --exp (default: both)"
    )
    parser.add_argument("--part", nargs="+", help="of --exp (default: all)")
    parser.add_argument("--cuts", type=Path, help="with --units: the manifest of their audio, for fairseq")
    parser.add_argument("--codebook-size", type=int, metavar="K", help="with --units (default: one more than the largest unit)")
    parser.add_argument("--deduplicate", action="store_true", help="runs of equal units, with their durations beside")
    parser.add_argument("--pieces", type=int, metavar="N", help="trains and applies byte-pair encoding of N pieces")
    parser.add_argument("--pieces-model", type=Path, metavar="FILE", help="applies, or with --restore undoes, one that is there")
    parser.add_argument("--train-part", nargs="+", help="of --exp, for --pieces (default: the recogniser's training parts)")
    arguments = parser.parse_args(argv)
    if arguments.pieces is not None and arguments.pieces_model:
        parser.error("--pieces trains a model, --pieces-model names one: give one of them")
    if arguments.restore and (arguments.deduplicate or arguments.pieces is not None):
        parser.error("--restore finds deduplicated units by itself and takes --pieces-model for pieces")
    return arguments


def main(argv: list[str] | None = None) -> None:
    """Writes or restores.

    Raises:
        SpinError: names the file, the utterance or the option and what is wrong with it.
    """
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    if arguments.restore:
        restore(arguments)
        return
    for inventory in _of_experiment(arguments) if arguments.exp else [_of_file(arguments)]:
        pieces = _pieces(arguments, inventory)
        for part, source in inventory.parts.items():
            stem = inventory.folder / part
            size = inventory.size if pieces is None else pieces.size
            count = write_entries(arguments.format, stem, _prepared(source, arguments.deduplicate, pieces), size)
            print(f"{stem}: {arguments.format}, {count} utterances")


def restore(arguments: argparse.Namespace) -> None:
    """Units of frames, from any of the formats."""
    pieces = load_pieces(arguments.pieces_model) if arguments.pieces_model else None
    entries = restored(read_entries_of(arguments.format, arguments.restore), pieces)
    lines = ({artifacts.UNITS_ID: entry.id, artifacts.UNITS_SEQUENCE: entry.symbols} for entry in entries)
    print(f"{arguments.output}: units of {write_jsonl(arguments.output, lines)} utterances")


def _prepared(source: Callable, deduplicate: bool, pieces: Pieces | None) -> Callable[[], Iterator[Entry]]:
    return lambda: transformed(source(), deduplicate, pieces)


def _of_experiment(arguments: argparse.Namespace) -> Iterator[Inventory]:
    config = load_config(artifacts.config_file(arguments.exp))
    known, audio = parts_of(config), arguments.format == "fairseq"
    teachers = arguments.train_part or list(config.corpus.asr_train)
    for part in (*(arguments.part or ()), *teachers):
        if part not in known:
            raise DataError(part, found="no part of this experiment", expected=" ".join(known), remedy="--part, --train-part")
    for system in arguments.system:
        wanted = arguments.part or known
        parts = {part: experiment_source(arguments.exp, system, part, audio) for part in wanted}
        yield Inventory(arguments.output / system, config.spin.codebook_size, parts, teachers)


def _of_file(arguments: argparse.Namespace) -> Inventory:
    source = units_source(arguments.units, arguments.cuts if arguments.format == "fairseq" else None)
    size = arguments.codebook_size or 1 + max((max(entry.symbols, default=0) for entry in source()), default=0)
    part = arguments.units.name.removesuffix(".jsonl")
    return Inventory(arguments.output, size, {part: source}, [part])


def _pieces(arguments: argparse.Namespace, inventory: Inventory) -> Pieces | None:
    """The model that is given, or one that is trained and saved; None where no pieces are asked for."""
    if arguments.pieces_model:
        return load_pieces(arguments.pieces_model)
    if arguments.pieces is None:
        return None
    system = inventory.folder.name
    sources = [inventory.parts.get(part) or experiment_source(arguments.exp, system, part, False) for part in inventory.teachers]
    sequences = (runs(entry.symbols)[0] for source in sources for entry in source())
    pieces = train_pieces(sequences, inventory.size, arguments.pieces)
    save_pieces(inventory.folder / PIECES_MODEL, pieces)
    print(f"{inventory.folder / PIECES_MODEL}: {pieces.size} pieces from {' '.join(inventory.teachers)}")
    return pieces
