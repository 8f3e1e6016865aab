"""Output tokens of the CTC model: characters with a word boundary symbol, sentencepiece BPE, or phones. Blank is 0.

Characters and BPE share sentencepiece's convention: a piece that begins with the boundary symbol begins a word. So one function
turns pieces of either kind back into text. Characters are not a sentencepiece model, because that orders them by frequency.
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence

from spin.asr import BLANK_ID
from spin.errors import DataError

BLANK, UNKNOWN, BOUNDARY = "<blk>", "<unk>", "\u2581"
UNKNOWN_ID = 1
SPECIAL = (BLANK, UNKNOWN)
Lexicon = tuple[tuple[str, tuple[int, ...]], ...]  # word and token ids


class Tokens(ABC):
    """One way to write a text as tokens; `pieces` are in the order of their ids."""

    kind: str  # characters, bpe or phone
    pieces: tuple[str, ...]

    @abstractmethod
    def spellings(self, word: str) -> list[tuple[int, ...]]:
        """The spellings of a word in token ids; what training never saw becomes the unknown token."""

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, never blank: the first spelling of each word."""
        return [number for word in text.split() for number in self.spellings(word)[0]]

    def decode(self, ids: Iterable[int]) -> str:
        """Words separated by single spaces; blanks are skipped."""
        joined = "".join(self.pieces[number] for number in ids if number != BLANK_ID)
        return " ".join(joined.replace(BOUNDARY, " ").split())


class CharacterTokens(Tokens):
    """Characters; each word is the boundary symbol and then its letters. Ids of letters follow blank, unknown and boundary."""

    kind = "characters"

    def __init__(self, characters: Iterable[str]):
        self.pieces = (*SPECIAL, BOUNDARY, *characters)
        self._ids = {piece: number for number, piece in enumerate(self.pieces)}

    @classmethod
    def train(cls, sentences: Iterable[str]) -> CharacterTokens:
        """The sorted characters of the sentences, without white space."""
        return cls(sorted({character for sentence in sentences for word in sentence.split() for character in word}))

    def spellings(self, word: str) -> list[tuple[int, ...]]:
        return [tuple(self._ids.get(piece, UNKNOWN_ID) for piece in (BOUNDARY, *word))]


class BpeTokens(Tokens):
    """A sentencepiece model, given as its serialized bytes."""

    kind = "bpe"

    def __init__(self, model: bytes):
        import sentencepiece

        self.model = model
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.pieces = tuple(self._processor.id_to_piece(number) for number in range(self._processor.get_piece_size()))

    @classmethod
    def train(cls, sentences: Iterable[str], vocabulary_size: int) -> BpeTokens:
        """The same text gives the same model; one that is too small for the vocabulary raises DataError."""
        import sentencepiece

        stream = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(sentences),
                model_writer=stream,
                model_type="bpe",
                vocab_size=vocabulary_size,
                character_coverage=1.0,
                normalization_rule_name="identity",
                pad_id=BLANK_ID,
                pad_piece=BLANK,
                unk_id=UNKNOWN_ID,
                unk_piece=UNKNOWN,
                bos_id=-1,
                eos_id=-1,
                num_threads=1,
                input_sentence_size=0,
                shuffle_input_sentence=False,
                minloglevel=2,
            )
        except RuntimeError as error:
            raise DataError(
                "sentencepiece training",
                found=" ".join(str(error).split()),
                expected=f"training transcripts for a vocabulary of {vocabulary_size} pieces",
                cause="too little text for asr.vocabulary_size",
                remedy=f"--set asr.tokens=characters, or --set asr.vocabulary_size={max(10, vocabulary_size // 2)}",
            ) from error
        return cls(stream.getvalue())

    def spellings(self, word: str) -> list[tuple[int, ...]]:
        return [tuple(self._processor.encode(word, out_type=int))]  # no piece reaches over a space, so words suffice


class PhoneTokens(Tokens):
    """Phones without word boundaries; their ids follow blank and unknown. Texts get the first of several pronunciations."""

    kind = "phone"

    def __init__(self, phones: Iterable[str], pronunciations: Lexicon):
        self.pieces, self.pronunciations = (*SPECIAL, *phones), pronunciations
        self._spellings: dict[str, list[tuple[int, ...]]] = {}
        for word, ids in pronunciations:
            self._spellings.setdefault(word, []).append(ids)

    @classmethod
    def train(cls, pronunciations: Mapping[str, Sequence[tuple[str, ...]]], spoken: Collection[str], source: str) -> PhoneTokens:
        """The phones of the training words (`spoken`), and every pronunciation that consists of these phones.

        Raises DataError, which names the `source`, where no training word has a pronunciation.
        """
        phones = sorted({phone for word in spoken for variant in pronunciations.get(word, ())[:1] for phone in variant})
        if not phones:
            raise DataError(
                source,
                found=f"none of the {len(spoken):,} training words (for example {min(spoken)})",
                expected="lines 'WORD PHONE PHONE ...' for most of them",
                cause="a lexicon of another language or spelling",
                remedy="--set asr.lexicon=FILE with these words, or --set asr.tokens=characters",
            )
        ids = {phone: number for number, phone in enumerate(phones, start=len(SPECIAL))}
        lexicon = (
            (word, tuple(ids[phone] for phone in variant))
            for word, variants in pronunciations.items()
            for variant in variants
            if all(phone in ids for phone in variant)
        )
        return cls(phones, tuple(lexicon))

    def decode(self, ids: Iterable[int]) -> str:
        """Phones separated by single spaces."""
        return " ".join(self.pieces[number] for number in ids if number != BLANK_ID)

    def spellings(self, word: str) -> list[tuple[int, ...]]:
        """The pronunciations of a word."""
        return self._spellings.get(word, [(UNKNOWN_ID,)])


def count_needed_frames(tokens: Sequence[int]) -> int:
    """The fewest frames in which CTC can emit the tokens: one each, and a blank between equal neighbours.

    >>> count_needed_frames([1, 1, 2])
    4
    """
    return len(tokens) + sum(first == second for first, second in zip(tokens, tokens[1:]))
