"""Acoustic pieces: byte-pair encoding of deduplicated units (Ren et al. 2022, arXiv 2204.00352), by sentencepiece.

A unit is a character of a private plane of Unicode, so that sentencepiece neither normalises nor splits anything. All units are
characters of the model, seen in training or not: every sequence of units is encoded, and decoding gives it back.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import sentencepiece

from spin.errors import ConfigError, DataError
from spin.runtime.files import atomic_path

FIRST_CHARACTER = 0xF0000  # of the supplementary private use area A
MOST_UNITS = 65_533  # its characters, up to U+FFFFD
LONGEST_SENTENCE = 10_000  # characters; sentencepiece counts places in 16 bits, longer utterances are taught in parts
UNKNOWN = 1  # <unk>, which sentencepiece always has and which no unit ever gives


def text_of(units: Iterable[int]) -> str:
    """Units 0 to K - 1 as characters."""
    return "".join(chr(FIRST_CHARACTER + unit) for unit in units)


class Pieces:
    """A trained model.

    Args:
        content: of a model of train_pieces.

    Raises:
        DataError: no such model.
    """

    def __init__(self, content: bytes, subject: str = "pieces model"):
        try:
            self.processor = sentencepiece.SentencePieceProcessor()
            self.processor.load_from_serialized_proto(content)
            self.units = [self._units(piece) for piece in range(self.processor.get_piece_size())]
            if not any(self.units):
                raise ValueError("no pieces")
        except (RuntimeError, ValueError) as error:
            expected = "a model that `python -m spin unit-files --pieces` saved"
            raise DataError(subject, found=" ".join(str(error).split())[:200], expected=expected) from error
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
            DataError: a unit that the model's inventory does not have.
        """
        if units and not 0 <= min(units) <= max(units) < self.codebook_size:
            found, expected = f"units from {min(units)} to {max(units)}", f"0 to {self.codebook_size - 1}, the model's"
            raise DataError("units", found=found, expected=expected, cause="pieces of another model's units")
        return self.processor.encode(text_of(units), out_type=int)

    def decode(self, pieces: list[int]) -> list[int]:
        """The inverse of encode.

        Raises:
            DataError: a number that is no piece.
        """
        bad = next((piece for piece in pieces if not UNKNOWN <= piece < self.size), None)
        if bad is not None:
            raise DataError("pieces", found=str(bad), expected=f"{UNKNOWN} to {self.size - 1}", cause="another model's pieces")
        return [unit for piece in pieces for unit in self.units[piece]]


def train_pieces(sequences: Iterable[list[int]], codebook_size: int, vocabulary: int) -> Pieces:
    """Byte-pair encoding of deduplicated units; the same sequences give the same model.

    Args:
        sequences: of units below codebook_size; sentencepiece holds them in memory.
        vocabulary: pieces, single units included; fewer where the text has no more pairs that occur twice.

    Raises:
        ConfigError: a vocabulary that has no room for all units, or more units than there are characters.
        DataError: no units.
    """
    if codebook_size > MOST_UNITS:
        raise ConfigError("codebook size", found=str(codebook_size), expected=f"at most {MOST_UNITS}")
    if vocabulary <= codebook_size:
        expected = f"more than {codebook_size}, the number of units, each of which is a piece"
        raise ConfigError("--pieces", found=str(vocabulary), expected=expected)
    sequences = iter(sequences)
    first = next((units for units in sequences if units), None)
    if first is None:
        raise DataError("units to train pieces on", found="none", expected="utterances with units", remedy="name another part")
    sequences, model = itertools.chain([first], sequences), io.BytesIO()
    try:
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
    except RuntimeError as error:
        found = " ".join(str(error).split())[:300]
        raise DataError("units to train pieces on", found=found, expected="utterances with units") from error
    return Pieces(model.getvalue())


def _sentences(sequences: Iterable[list[int]], codebook_size: int) -> Iterator[str]:
    yield from (text_of([unit]) for unit in range(codebook_size))  # so that each is a character of the model; they make no pair
    for units in sequences:
        for start in range(0, len(units), LONGEST_SENTENCE):
            yield text_of(units[start : start + LONGEST_SENTENCE])


def save_pieces(path: str | Path, pieces: Pieces) -> None:
    """Writes a model that sentencepiece reads too."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(pieces.content)


def load_pieces(path: str | Path) -> Pieces:
    """The inverse of save_pieces.

    Raises:
        DataError: no such file, or no such model.
    """
    try:
        return Pieces(Path(path).read_bytes(), str(path))
    except OSError as error:
        found = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise DataError(str(path), found=found, expected="a sentencepiece model") from error
