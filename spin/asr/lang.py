"""The lang folder, by the conventions of k2 and icefall.

tokens.txt, words.txt, lexicon.txt, lexicon_disambig.txt, bpe.model if any, and for phones pronunciations.txt: all words that can
be said, with which texts become phones. Token 0 is CTC's blank, word 0 is epsilon; #0 is
the symbol of the back-off arcs of G, #1 and up tell pronunciations apart that begin alike. The words are those of the LM text and
of the training transcripts, never those of a test.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from spin.asr.lang_files import lexicon_lines, read_lexicon, read_table, table
from spin.asr.tokens import BLANK, BOUNDARY, SPECIAL, UNKNOWN_ID, BpeTokens, CharacterTokens, PhoneTokens, pieces_to_text
from spin.config import AsrConfig
from spin.errors import DataError
from spin.runtime.files import write_text
from spin.runtime.logs import get_logger

EPSILON, UNKNOWN_WORD, BACK_OFF, SENTENCE_START, SENTENCE_END = "<eps>", "<UNK>", "#0", "<s>", "</s>"
FEW_WORDS = 2000  # asr.tokens=auto: below this many distinct training words, characters
TOKENS_FILE, WORDS_FILE, LEXICON_FILE, DISAMBIG_FILE, BPE_FILE, SAID_FILE = (
    "tokens.txt",
    "words.txt",
    "lexicon.txt",
    "lexicon_disambig.txt",
    "bpe.model",
    "pronunciations.txt",
)


Tokeniser: TypeAlias = "CharacterTokens | BpeTokens | PhoneTokens"
Lexicon = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Lang:
    """What a recogniser knows about the language.

    Attributes:
        tokeniser: CharacterTokens, BpeTokens or PhoneTokens.
        lexicon: (word, token ids) in the order of word ids; a word may stand there more than once.
        words: the word table without epsilon, unknown and the symbols of the grammar.
    """

    tokeniser: Tokeniser
    lexicon: Lexicon
    words: tuple[str, ...]

    @property
    def kind(self) -> str:
        """'characters', 'bpe' or 'phone'."""
        return self.tokeniser.kind

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
        """Text of token ids, words (of a phone model: phones) separated by single spaces."""
        pieces = (self.tokeniser.pieces[number] for number in ids)
        return " ".join(piece for piece in pieces if piece != BLANK) if self.kind == "phone" else pieces_to_text(pieces)

    def reference(self, text: str) -> str:
        """What a flawless best path decodes to: the text, or its phones; words without a pronunciation give none."""
        if self.kind != "phone":
            return text
        return self.decode(number for number in self.encode(text) if number != UNKNOWN_ID)

    def unpronounced(self, text: str) -> int:
        """How many words of a text have no pronunciation; 0 unless the tokens are phones."""
        return self.encode(text).count(UNKNOWN_ID) if self.kind == "phone" else 0


def make_lang(
    config: AsrConfig,
    transcripts: list[str],
    lm_sentences: Iterable[str],
    pronunciations: Mapping[str, Sequence[Sequence[str]]] | None = None,
) -> Lang:
    """Builds tokens and lexicon.

    Args:
        config: tokens and vocabulary_size are read.
        transcripts: of the training utterances; they alone teach the tokens.
        lm_sentences: text of the LM; gives words beside those of the transcripts.
        pronunciations: word -> its pronunciations in phones, the first of which is trained on; for tokens=phone.

    Raises:
        DataError: no text at all, words that the lang folder cannot hold, no pronunciation of any word.
    """
    spoken = {word for text in transcripts for word in text.split()}
    if not spoken:
        raise DataError("training transcripts", found="no word", expected="text in the supervisions of corpus.asr_train")
    words = sorted(spoken | {word for text in lm_sentences for word in text.split()})
    reserved = {word for word in words if _reserved(word)}
    if reserved:
        raise DataError(
            "LM text and transcripts",
            found=", ".join(sorted(reserved)[:5]),
            expected="words without <, # and the boundary symbol",
        )
    kind = config.tokens if config.tokens != "auto" else ("characters" if len(spoken) < FEW_WORDS else "bpe")
    if kind == "phone":
        tokeniser: Tokeniser = PhoneTokens.of(pronunciations or {}, spoken)
    elif kind == "characters":
        tokeniser = CharacterTokens.train(transcripts)
    else:
        tokeniser = BpeTokens.train(transcripts, config.vocabulary_size)
    lexicon = spell(tokeniser, words)
    if not lexicon:
        raise DataError("lexicon", found="no word", expected="words that the tokens can spell", remedy="see asr.lexicon")
    return Lang(tokeniser, lexicon, words_of(lexicon))


def spell(tokeniser: Tokeniser, words: list[str]) -> Lexicon:
    """The spellings of the words, in their order; words that the tokens cannot spell are left out, with a warning."""
    spelled = [(word, ids) for word in words for ids in tokeniser.spellings(word)]
    lexicon = tuple((word, ids) for word, ids in spelled if UNKNOWN_ID not in ids)
    left_out = sorted(set(words).difference(words_of(lexicon)))
    if left_out:
        get_logger("asr.lang").warning(
            "%d word(s) of the LM text cannot be spelled with the tokens of the training transcripts and are left out: %s",
            len(left_out),
            ", ".join(left_out[:5]),
        )
    return lexicon


def words_of(lexicon: Lexicon) -> tuple[str, ...]:
    """The words of a lexicon, each once."""
    return tuple(dict.fromkeys(word for word, _ in lexicon))


def extend_lang(lang: Lang, words: Iterable[str]) -> Lang:
    """The same tokens with more words: those of a given LM, where the tokens can spell them."""
    more = sorted({word for word in words if not _reserved(word)} - set(lang.words))
    if not more:
        return lang
    # Stable: a word's pronunciations keep their order, whatever the hashes of this process.
    both = tuple(sorted((*lang.lexicon, *spell(lang.tokeniser, more)), key=lambda entry: entry[0]))
    return Lang(lang.tokeniser, both, words_of(both))


def _reserved(word: str) -> bool:
    return word.startswith(("#", "<")) or BOUNDARY in word


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
    if isinstance(lang.tokeniser, PhoneTokens):
        write_text(folder / SAID_FILE, lexicon_lines(lang.tokeniser.pronunciations, tokens))
    write_text(folder / WORDS_FILE, table(lang.word_table))
    write_text(folder / LEXICON_FILE, lexicon_lines(lang.lexicon, tokens))
    write_text(folder / DISAMBIG_FILE, lexicon_lines(lang.disambiguated[0], tokens))
    write_text(folder / TOKENS_FILE, table(tokens))


def load_lang(folder: Path) -> Lang:
    """Reads and validates what save_lang wrote.

    Raises:
        DataError: a file is missing, a table has gaps or doubled entries, the lexicon names unknown words or tokens.
    """
    tokens = read_table(folder / TOKENS_FILE)
    words = read_table(folder / WORDS_FILE)
    pieces = tuple(token for token in tokens if not token.startswith("#"))
    if pieces[:2] != SPECIAL or tokens[: len(pieces)] != pieces:
        raise DataError(
            str(folder / TOKENS_FILE), found=" ".join(tokens[:3]), expected=f"{' '.join(SPECIAL)} first, #0 and up last"
        )
    if words[:2] != (EPSILON, UNKNOWN_WORD) or words[-3:] != (BACK_OFF, SENTENCE_START, SENTENCE_END):
        raise DataError(
            str(folder / WORDS_FILE), found=" ".join(words[:2]), expected=f"{EPSILON} {UNKNOWN_WORD} first, #0 <s> </s> last"
        )
    ids = {piece: number for number, piece in enumerate(pieces)}
    lexicon = tuple(read_lexicon(folder / LEXICON_FILE, ids, set(words[2:-3])))
    if (folder / BPE_FILE).exists():
        tokeniser: Tokeniser = BpeTokens.load(folder / BPE_FILE)
    elif BOUNDARY in pieces:
        tokeniser = CharacterTokens(pieces[len(SPECIAL) + 1 :])
    else:
        tokeniser = PhoneTokens(pieces[len(SPECIAL) :], read_lexicon(folder / SAID_FILE, ids))
    if tokeniser.pieces != pieces:
        raise DataError(
            str(folder), found=f"{len(pieces)} tokens, {len(tokeniser.pieces)} in the tokeniser", expected="the same tokens"
        )
    lang = Lang(tokeniser, lexicon, words[2:-3])
    if lang.token_table != tokens:
        raise DataError(
            str(folder / TOKENS_FILE), found=f"{len(tokens)} tokens", expected=f"{len(lang.token_table)} with this lexicon"
        )
    return lang
