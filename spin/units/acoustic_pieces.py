"""Acoustic pieces: byte-pair encoding of deduplicated units (Ren et al. 2022, arXiv 2204.00352), by sentencepiece.

python -m spin acoustic-pieces --exp exp/mini --system spin --vocabulary 500 --output data/mini/pieces

The command writes the frame labels of R-Spin (arXiv 2311.09117, section 2.5): units are deduplicated, encoded, and every piece is
spread over the frames it covers. Only pieces that occur become classes.

A unit is a character of a private plane of Unicode, so that sentencepiece neither normalises nor splits anything. All units are
characters of the model, seen in training or not, so every sequence can be encoded, and the units of its pieces restore it.
"""

import argparse
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import sentencepiece

from spin import artifacts
from spin.config_io import load_config
from spin.errors import ConfigError
from spin.runtime.files import atomic_path, write_json, write_jsonl
from spin.units.counts import check_units
from spin.units.units import find_runs, find_units, read_units

FIRST_CHARACTER = 0xF0000  # of a private plane with 65,536 characters, the largest spin.codebook_size
LONGEST_SENTENCE = 10_000  # characters; sentencepiece counts positions in 16 bits, so longer utterances are split
UNKNOWN = 1  # <unk>, which sentencepiece always has and no unit ever gives


class Pieces:
    """A trained model, from the bytes that train_pieces gave."""

    def __init__(self, content: bytes):
        self.processor = sentencepiece.SentencePieceProcessor(model_proto=content)
        pieces = self.processor.id_to_piece(list(range(UNKNOWN, self.processor.get_piece_size())))
        self.units = [[]]  # of each piece; <unk> has none
        self.units += [[ord(letter) - FIRST_CHARACTER for letter in piece] for piece in pieces]
        self.size = len(self.units)  # piece ids are below it
        self.codebook_size = sum(len(units) == 1 for units in self.units)  # every unit is a piece
        self.content = content

    def encode(self, units: Sequence[int] | np.ndarray) -> list[int]:
        """Deduplicated units -> ids of pieces, 1 to size - 1; raises DataError for a unit outside the model's codebook."""
        return self.processor.encode(_to_text(check_units(units, self.codebook_size)), out_type=int)

    def spread(self, units: Sequence[int] | np.ndarray) -> np.ndarray:
        """(T,) units of frames -> (T,) ids of the pieces that cover them."""
        runs, durations = find_runs(units)
        pieces = np.array(self.encode(runs), dtype=np.int64)
        sizes = np.array([len(units) for units in self.units])
        return np.repeat(np.repeat(pieces, sizes[pieces]), durations)


def _to_text(units: Iterable[int]) -> str:
    return "".join(chr(FIRST_CHARACTER + unit) for unit in units)


def train_pieces(sequences: Iterable[Sequence[int]], codebook_size: int, vocabulary: int) -> Pieces:
    """Byte-pair encoding of deduplicated units below codebook_size, which sentencepiece holds in memory.

    `vocabulary` is the number of pieces, single units included; fewer where no more pairs occur twice. ConfigError where it has
    no room for all units. The same sequences give the same model.
    """
    if vocabulary <= codebook_size:
        expected = f"more than {codebook_size}, the number of units, each of which is a piece"
        raise ConfigError("vocabulary of the pieces", found=str(vocabulary), expected=expected, remedy="--vocabulary N")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=_sentences(sequences, codebook_size),
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
    return Pieces(model.getvalue())


def _sentences(sequences: Iterable[Sequence[int]], codebook_size: int) -> Iterator[str]:
    yield from (_to_text([unit]) for unit in range(codebook_size))  # makes each a character of the model; they form no pair
    for units in sequences:
        for start in range(0, len(units), LONGEST_SENTENCE):
            yield _to_text(units[start : start + LONGEST_SENTENCE])


def write_labels(output: Path, parts: dict[str, Path], codebook_size: int, vocabulary: int) -> int:
    """Trains pieces on some parts (name -> units.jsonl) and writes their frame labels; returns the number of classes.

    The folder `output` gets labels.json, pieces.model and <part>.jsonl. Arguments and errors are those of train_pieces.
    """
    runs = (find_runs(units)[0] for path in parts.values() for _, units in read_units(path))
    pieces = train_pieces(runs, codebook_size, vocabulary)
    used = {piece for path in parts.values() for _, units in read_units(path) for piece in pieces.encode(find_runs(units)[0])}
    classes = np.array(sorted(used))
    with atomic_path(output / "pieces.model") as temporary:
        temporary.write_bytes(pieces.content)
    for part, path in parts.items():
        labels = ((name, np.searchsorted(classes, pieces.spread(units)).tolist()) for name, units in read_units(path))
        write_jsonl(output / f"{part}.jsonl", ({artifacts.UNITS_ID: name, artifacts.UNITS_SEQUENCE: own} for name, own in labels))
    note = {"classes": len(used), "vocabulary": pieces.size - UNKNOWN, "parts": list(parts), "pieces": sorted(used)}
    write_json(output / "labels.json", note)
    return len(used)


def main(argv: list[str] | None = None) -> None:
    """Writes the frame labels of some parts of an experiment; raises SpinError for missing units or too small a vocabulary."""
    description = __doc__.split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m spin acoustic-pieces", description=description, allow_abbrev=False)
    parser.add_argument("--exp", required=True, type=Path, help="an experiment whose stage 3 is finished")
    parser.add_argument("--system", default=artifacts.SPIN, help="the system whose units are encoded (default: spin)")
    parser.add_argument("--vocabulary", required=True, type=int, help="number of pieces, single units included")
    parser.add_argument("--part", nargs="+", help="parts to label (default: the parts that Spin trains on)")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for rspin.labels")
    arguments = parser.parse_args(argv)
    names = arguments.part or load_config(artifacts.config_file(arguments.exp)).corpus.spin_train
    parts, size = find_units(arguments.exp, arguments.system, names)
    classes = write_labels(arguments.output, parts, size, arguments.vocabulary)
    print(f"{arguments.output}: {classes} classes for {' '.join(parts)}")
