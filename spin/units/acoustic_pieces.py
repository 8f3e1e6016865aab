"""Acoustic pieces: byte-pair encoding of deduplicated units (Ren et al. 2022, arXiv 2204.00352), by sentencepiece.

python -m spin acoustic-pieces --exp exp/mini --system spin --vocabulary 500 --output data/mini/pieces

The command writes the frame labels of R-Spin (arXiv 2311.09117, section 2.5): units are deduplicated, encoded, and every piece is
spread over the frames it covers. Only pieces that occur become classes.

A unit is a character of a private plane of Unicode, so that sentencepiece neither normalizes nor splits anything. All units are
characters of the model, seen in training or not, so every sequence can be encoded, and decoding restores it.
"""

from __future__ import annotations

import argparse
import io
import itertools
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import sentencepiece

from spin import artifacts
from spin.errors import ConfigError, DataError
from spin.runtime.config_io import load_config
from spin.runtime.files import atomic_path, read_json, write_json, write_jsonl
from spin.units.runs import experiment_units, find_runs, read_sequences

FIRST_CHARACTER = 0xF0000  # of the supplementary private use area A
MOST_UNITS = 65_533  # its characters, up to U+FFFFD
LONGEST_SENTENCE = 10_000  # characters; sentencepiece counts positions in 16 bits, so longer utterances are split
UNKNOWN = 1  # <unk>, which sentencepiece always has and no unit ever gives
MODEL_FILE, LABELS_FILE = "pieces.model", "labels.json"


def to_text(units: Iterable[int]) -> str:
    """Units 0 to K - 1 as characters."""
    return "".join(chr(FIRST_CHARACTER + unit) for unit in units)


class Pieces:
    """A trained model.

    Args:
        content: bytes of a model from train_pieces.
        subject: its name in errors.

    Raises:
        DataError: another kind of content.
    """

    def __init__(self, content: bytes, subject: str = "pieces model"):
        try:
            self.processor = sentencepiece.SentencePieceProcessor()
            self.processor.load_from_serialized_proto(content)
            self.units = [self._units(piece) for piece in range(self.processor.get_piece_size())]
            if not any(self.units):
                raise ValueError("no pieces")
        except (RuntimeError, ValueError) as error:
            found = " ".join(str(error).split())[:200]
            raise DataError(subject, found=found, expected="a model of `python -m spin acoustic-pieces`") from error
        self.size = len(self.units)  # piece ids are below it
        self.codebook_size = sum(len(units) == 1 for units in self.units)  # every unit is a piece
        self.content = content

    def _units(self, piece: int) -> list[int]:
        if piece < UNKNOWN:
            return []
        units = [ord(letter) - FIRST_CHARACTER for letter in self.processor.id_to_piece(piece)]
        if not units or min(units) < 0:
            raise ValueError(f"piece {self.processor.id_to_piece(piece)!r} is not made of units")
        return units

    def encode(self, units: list[int]) -> list[int]:
        """Deduplicated units -> ids of pieces, 1 to size - 1.

        Raises:
            DataError: a unit outside the model's codebook.
        """
        if units and not 0 <= min(units) <= max(units) < self.codebook_size:
            found, expected = f"units from {min(units)} to {max(units)}", f"0 to {self.codebook_size - 1}, the model's"
            raise DataError("units", found=found, expected=expected, cause="pieces of another model's units")
        return self.processor.encode(to_text(units), out_type=int)

    def decode(self, pieces: list[int]) -> list[int]:
        """The inverse of encode."""
        return [unit for piece in pieces for unit in self.units[piece]]

    def spread(self, units: list[int]) -> list[int]:
        """(T,) units of frames -> (T,) ids of the pieces that cover them."""
        runs, durations = find_runs(units)
        pieces = self.encode(runs)
        per_run = np.repeat(pieces, [len(self.units[piece]) for piece in pieces])
        return np.repeat(per_run, durations).astype(np.int64).tolist()


def train_pieces(sequences: Iterable[list[int]], codebook_size: int, vocabulary: int) -> Pieces:
    """Byte-pair encoding of deduplicated units; the same sequences give the same model.

    Args:
        sequences: deduplicated units below codebook_size; sentencepiece holds them in memory.
        codebook_size: K.
        vocabulary: number of pieces, single units included; fewer where no more pairs occur twice.

    Raises:
        ConfigError: a vocabulary without room for all units, or more units than there are characters.
        DataError: no units.
    """
    if codebook_size > MOST_UNITS:
        raise ConfigError("codebook size", found=str(codebook_size), expected=f"at most {MOST_UNITS}")
    if vocabulary <= codebook_size:
        expected = f"more than {codebook_size}, the number of units, each of which is a piece"
        raise ConfigError("vocabulary of the pieces", found=str(vocabulary), expected=expected)
    sequences = iter(sequences)
    first = next((units for units in sequences if units), None)
    if first is None:
        raise DataError("units to train pieces on", found="none", expected="utterances with units", remedy="name another part")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_sentences(itertools.chain([first], sequences), codebook_size),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocabulary + UNKNOWN,
            hard_vocab_limit=False,
            character_coverage=1.0,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            split_by_unicode_script=False,
            split_by_number=False,
            split_by_whitespace=False,
            max_sentence_length=8 * LONGEST_SENTENCE,
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        found = " ".join(str(error).split())[:300]
        raise DataError("units to train pieces on", found=found, expected="utterances with units") from error
    return Pieces(model.getvalue())


def _sentences(sequences: Iterable[list[int]], codebook_size: int) -> Iterator[str]:
    yield from (to_text([unit]) for unit in range(codebook_size))  # makes each a character of the model; they form no pair
    for units in sequences:
        for start in range(0, len(units), LONGEST_SENTENCE):
            yield to_text(units[start : start + LONGEST_SENTENCE])


def load_pieces(path: str | Path) -> Pieces:
    """Reads a model that write_labels saved.

    Raises:
        DataError: no such file, or not such a model.
    """
    try:
        return Pieces(Path(path).read_bytes(), str(path))
    except OSError as error:
        found = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise DataError(str(path), found=found, expected="a sentencepiece model of units") from error


def write_labels(output: Path, parts: dict[str, Path], codebook_size: int, vocabulary: int) -> int:
    """Trains pieces on the units of some parts and writes their frame labels; returns the number of classes.

    Args:
        output: folder of labels.json, pieces.model and <part>.jsonl.
        parts: name -> units.jsonl.
        codebook_size: K.
        vocabulary: number of pieces.

    Raises:
        ConfigError, DataError: as train_pieces.
    """
    runs = (find_runs(units)[0] for path in parts.values() for _, units in read_sequences(path))
    pieces = train_pieces(runs, codebook_size, vocabulary)
    used = {piece for path in parts.values() for _, units in read_sequences(path) for piece in pieces.encode(find_runs(units)[0])}
    classes = {piece: number for number, piece in enumerate(sorted(used))}
    with atomic_path(output / MODEL_FILE) as temporary:
        temporary.write_bytes(pieces.content)
    for part, path in parts.items():
        labels = ((name, [classes[piece] for piece in pieces.spread(units)]) for name, units in read_sequences(path))
        write_jsonl(output / f"{part}.jsonl", ({artifacts.UNITS_ID: name, artifacts.UNITS_SEQUENCE: own} for name, own in labels))
    note = {"classes": len(classes), "vocabulary": pieces.size - UNKNOWN, "parts": list(parts), "pieces": sorted(used)}
    write_json(output / LABELS_FILE, note)
    return len(classes)


def main(argv: list[str] | None = None) -> None:
    """Writes the frame labels of some parts of an experiment.

    Raises:
        SpinError: units are missing, or a vocabulary that is too small.
    """
    description = __doc__.split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m spin acoustic-pieces", description=description, allow_abbrev=False)
    parser.add_argument("--exp", required=True, type=Path, help="an experiment whose stage 3 is finished")
    parser.add_argument("--system", default=artifacts.SPIN, help="the system whose units are encoded (default: spin)")
    parser.add_argument("--vocabulary", required=True, type=int, help="number of pieces, single units included")
    parser.add_argument("--part", nargs="+", help="parts to label (default: the parts that Spin trains on)")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for rspin.labels")
    arguments = parser.parse_args(sys.argv[1:] if argv is None else argv)
    names = arguments.part or load_config(artifacts.config_file(arguments.exp)).corpus.spin_train
    parts = {part: experiment_units(arguments.exp, arguments.system, part) for part in names}
    size = read_json(artifacts.codebook_in(next(iter(parts.values())).parent))["codebook_size"]
    classes = write_labels(arguments.output, parts, size, arguments.vocabulary)
    print(f"{arguments.output}: {classes} classes for {' '.join(parts)}")
