"""The lang folder, by the conventions of k2 and icefall.

tokens.txt, words.txt, lexicon.txt, lexicon_disambig.txt, and bpe.model if any. Token 0 is CTC's blank, word 0 is epsilon; #0 is
the symbol of the back-off arcs of G, #1 and up tell pronunciations apart that begin alike. The words are those of the LM text and
of the training transcripts, never those of a test.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from spin.asr.tokens import BOUNDARY, SPECIAL, UNKNOWN_ID, BpeTokens, CharacterTokens, pieces_to_text
from spin.config import AsrConfig
from spin.errors import DataError
from spin.runtime.files import write_text
from spin.runtime.logs import get_logger

EPSILON, UNKNOWN_WORD, BACK_OFF, SENTENCE_START, SENTENCE_END = "<eps>", "<UNK>", "#0", "<s>", "</s>"
FEW_WORDS = 2000  # asr.tokens=auto: below this many distinct training words, characters
TOKENS_FILE, WORDS_FILE, LEXICON_FILE, DISAMBIG_FILE, BPE_FILE = (
    "tokens.txt",
    "words.txt",
    "lexicon.txt",
    "lexicon_disambig.txt",
    "bpe.model",
)


@dataclass(frozen=True)
class Lang:
    """What a recogniser knows about the language.

    Attributes:
        tokeniser: CharacterTokens or BpeTokens.
        lexicon: (word, token ids) in the order of word ids; a word may stand there more than once.
        words: the word table without epsilon, unknown and the symbols of the grammar.
    """

    tokeniser: CharacterTokens | BpeTokens
    lexicon: tuple[tuple[str, tuple[int, ...]], ...]
    words: tuple[str, ...]

    @property
    def kind(self) -> str:
        """'characters' or 'bpe'."""
        return "bpe" if isinstance(self.tokeniser, BpeTokens) else "characters"

    @property
    def vocabulary_size(self) -> int:
        """Number of outputs of the CTC model, blank among them."""
        return len(self.tokeniser.pieces)

    @property
    def word_table(self) -> tuple[str, ...]:
        """Words in the order of their ids."""
        return (EPSILON, UNKNOWN_WORD, *self.words, BACK_OFF, SENTENCE_START, SENTENCE_END)

    @property
    def token_table(self) -> tuple[str, ...]:
        """Tokens in the order of their ids, disambiguation symbols last."""
        return (*self.tokeniser.pieces, *(f"#{number}" for number in range(self.disambiguated[1] + 1)))

    @property
    def disambiguated(self) -> tuple[list[tuple[str, tuple[int, ...]]], int]:
        """disambiguate(lexicon): pronunciations with the ids of disambiguation symbols, and the highest number among these."""
        return disambiguate(self.lexicon, self.vocabulary_size)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, blank never among them."""
        return self.tokeniser.encode(text)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of token ids, words separated by single spaces."""
        return pieces_to_text(self.tokeniser.pieces[number] for number in ids)


def make_lang(config: AsrConfig, transcripts: list[str], lm_sentences: Iterable[str]) -> Lang:
    """Builds tokens and lexicon.

    Args:
        config: tokens and vocabulary_size are read.
        transcripts: of the training utterances; they alone teach the tokens.
        lm_sentences: text of the LM; gives words beside those of the transcripts.

    Raises:
        DataError: no text at all.
    """
    spoken = {word for text in transcripts for word in text.split()}
    if not spoken:
        raise DataError("training transcripts", found="no word", expected="text in the supervisions of corpus.asr_train")
    words = sorted(spoken | {word for text in lm_sentences for word in text.split()})
    reserved = {word for word in words if word.startswith(("#", "<")) or BOUNDARY in word}
    if reserved:
        raise DataError(
            "LM text and transcripts",
            found=", ".join(sorted(reserved)[:5]),
            expected="words without <, # and the boundary symbol",
        )
    kind = config.tokens if config.tokens != "auto" else ("characters" if len(spoken) < FEW_WORDS else "bpe")
    tokeniser = (
        CharacterTokens.train(transcripts) if kind == "characters" else BpeTokens.train(transcripts, config.vocabulary_size)
    )
    spelled = [(word, tuple(tokeniser.encode(word))) for word in words]
    lexicon = tuple((word, ids) for word, ids in spelled if UNKNOWN_ID not in ids)
    if len(lexicon) < len(words):
        left_out = sorted(set(words) - {word for word, _ in lexicon})
        get_logger("asr.lang").warning(
            "%d word(s) of the LM text cannot be spelled with the tokens of the training transcripts and are left out: %s",
            len(left_out),
            ", ".join(left_out[:5]),
        )
    return Lang(tokeniser, lexicon, tuple(word for word, _ in lexicon))


def disambiguate(
    lexicon: Iterable[tuple[str, tuple[int, ...]]], vocabulary_size: int
) -> tuple[list[tuple[str, tuple[int, ...]]], int]:
    """Adds #1, #2, ... after pronunciations that another word shares or begins with, so that L o G can be determinised.

    Args:
        lexicon: (word, token ids).
        vocabulary_size: the id of #0; that of #n is vocabulary_size + n.

    Returns:
        The new lexicon in the same order, and the highest n used (0 when none was).
    """
    lexicon = list(lexicon)
    count = collections.Counter(ids for _, ids in lexicon)
    beginnings = {ids[:size] for _, ids in lexicon for size in range(1, len(ids))}
    used: collections.Counter = collections.Counter()
    result = []
    for word, ids in lexicon:
        if count[ids] > 1 or ids in beginnings:
            used[ids] += 1
            ids = (*ids, vocabulary_size + used[ids])
        result.append((word, ids))
    return result, max(used.values(), default=0)


def save_lang(lang: Lang, folder: Path) -> None:
    """Writes the text files, and bpe.model; tokens.txt comes last, so that a folder that has it is whole."""
    tokens = lang.token_table
    if isinstance(lang.tokeniser, BpeTokens):
        lang.tokeniser.save(folder / BPE_FILE)
    write_text(folder / WORDS_FILE, _table(lang.word_table))
    write_text(folder / LEXICON_FILE, _lexicon_lines(lang.lexicon, tokens))
    write_text(folder / DISAMBIG_FILE, _lexicon_lines(lang.disambiguated[0], tokens))
    write_text(folder / TOKENS_FILE, _table(tokens))


def load_lang(folder: Path) -> Lang:
    """Reads and validates what save_lang wrote.

    Raises:
        DataError: a file is missing, a table has gaps or doubled entries, the lexicon names unknown words or tokens.
    """
    tokens = _read_table(folder / TOKENS_FILE)
    words = _read_table(folder / WORDS_FILE)
    pieces = tuple(token for token in tokens if not token.startswith("#"))
    if pieces[:2] != SPECIAL or tokens[: len(pieces)] != pieces:
        raise DataError(
            str(folder / TOKENS_FILE), found=" ".join(tokens[:3]), expected=f"{' '.join(SPECIAL)} first, #0 and up last"
        )
    if words[:2] != (EPSILON, UNKNOWN_WORD) or words[-3:] != (BACK_OFF, SENTENCE_START, SENTENCE_END):
        raise DataError(
            str(folder / WORDS_FILE), found=" ".join(words[:2]), expected=f"{EPSILON} {UNKNOWN_WORD} first, #0 <s> </s> last"
        )
    tokeniser = BpeTokens.load(folder / BPE_FILE) if (folder / BPE_FILE).exists() else CharacterTokens(pieces[3:])
    if tokeniser.pieces != pieces:
        raise DataError(
            str(folder), found=f"{len(pieces)} tokens, {len(tokeniser.pieces)} in the tokeniser", expected="the same tokens"
        )
    lexicon = tuple(
        _read_lexicon(folder / LEXICON_FILE, {piece: number for number, piece in enumerate(pieces)}, set(words[2:-3]))
    )
    lang = Lang(tokeniser, lexicon, words[2:-3])
    if lang.token_table != tokens:
        raise DataError(
            str(folder / TOKENS_FILE), found=f"{len(tokens)} tokens", expected=f"{len(lang.token_table)} with this lexicon"
        )
    return lang


def _table(symbols: Iterable[str]) -> str:
    return "".join(f"{symbol} {number}\n" for number, symbol in enumerate(symbols))


def _lexicon_lines(lexicon, tokens: tuple[str, ...]) -> str:
    return "".join(f"{word} {' '.join(tokens[number] for number in ids)}\n" for word, ids in lexicon)


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(str(path), found=str(error), expected="a file of the lang folder", remedy="run stage 4") from error


def _read_table(path: Path) -> tuple[str, ...]:
    symbols = []
    for number, line in enumerate(_read_lines(path)):
        fields = line.split()
        if len(fields) != 2 or fields[1] != str(number):
            raise DataError(
                f"{path}, line {number + 1}",
                found=repr(line),
                expected=f"a symbol and {number}",
                remedy="run stage 4 with --force",
            )
        symbols.append(fields[0])
    if len(set(symbols)) < len(symbols):
        twice = next(symbol for symbol, count in collections.Counter(symbols).items() if count > 1)
        raise DataError(str(path), found=f"'{twice}' twice", expected="every symbol once")
    return tuple(symbols)


def _read_lexicon(path: Path, token_ids: dict[str, int], words: set[str]):
    for number, line in enumerate(_read_lines(path), start=1):
        word, *pieces = line.split() or [""]
        if word not in words or not pieces or any(piece not in token_ids for piece in pieces):
            raise DataError(f"{path}, line {number}", found=repr(line), expected="a word of words.txt and tokens of tokens.txt")
        yield word, tuple(token_ids[piece] for piece in pieces)
