"""The lang folder of an experiment, made from training transcripts, LM text and lexicon by the conventions of k2 and icefall.

tokens.txt, words.txt, lexicon.txt, lexicon_disambig.txt, bpe.model if any, and for phones pronunciations.txt: all words with a
pronunciation, which turns texts into phones. Token 0 is CTC's blank, word 0 is epsilon. #0 is the symbol of the back-off arcs of
G; #1 and up separate pronunciations that begin alike. The words come from the LM text and the training transcripts, never from a
test.
"""

import collections
import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from spin import artifacts, products
from spin.asr.batches import text_of
from spin.asr.tokens import BOUNDARY, SPECIAL, UNKNOWN_ID, BpeTokens, CharacterTokens, Lexicon, PhoneTokens, Tokens
from spin.config import AsrConfig
from spin.data.cuts import read_cuts
from spin.errors import DataError, rerun
from spin.runtime.files import atomic_path, write_text
from spin.runtime.logs import get_logger
from spin.runtime.product import Context

EPSILON, UNKNOWN_WORD, BACK_OFF, SENTENCE_START, SENTENCE_END = "<eps>", "<UNK>", "#0", "<s>", "</s>"
FEW_WORDS = 2000  # asr.tokens=auto: characters below this many distinct training words
TOKENS_FILE, WORDS_FILE, LEXICON_FILE = "tokens.txt", "words.txt", "lexicon.txt"
DISAMBIG_FILE, BPE_FILE, PRONUNCIATIONS_FILE = "lexicon_disambig.txt", "bpe.model", "pronunciations.txt"
Pronunciations = dict[str, list[tuple[str, ...]]]


@dataclass(frozen=True)
class Lang:
    """Tokens, words and lexicon of a recogniser; `lexicon` is in the order of word ids, and may hold a word several times."""

    tokens: Tokens
    lexicon: Lexicon

    @functools.cached_property
    def words(self) -> tuple[str, ...]:
        """The word table without epsilon, unknown and the symbols of the grammar."""
        return tuple(dict.fromkeys(word for word, _ in self.lexicon))

    @property
    def vocabulary_size(self) -> int:
        """Number of outputs of the CTC model, blank included."""
        return len(self.tokens.pieces)

    @property
    def word_table(self) -> tuple[str, ...]:
        """Words in the order of their ids."""
        return (EPSILON, UNKNOWN_WORD, *self.words, BACK_OFF, SENTENCE_START, SENTENCE_END)

    @property
    def back_off(self) -> int:
        """The id of #0 in the word table."""
        return len(self.words) + 2

    @property
    def token_table(self) -> tuple[str, ...]:
        """Tokens in the order of their ids, disambiguation symbols last."""
        return (*self.tokens.pieces, *(f"#{number}" for number in range(self.disambiguated[1] + 1)))

    @functools.cached_property
    def disambiguated(self) -> tuple[Lexicon, int]:
        """Pronunciations with the ids of disambiguation symbols, and the highest of their numbers."""
        return disambiguate(self.lexicon, self.vocabulary_size)

    def reference(self, text: str) -> str:
        """The text that a perfect best path decodes to: the text itself, or its phones without those of unknown words."""
        if self.tokens.kind != "phone":
            return text
        return self.tokens.decode(number for number in self.tokens.encode(text) if number != UNKNOWN_ID)


def prepare_lang(context: Context) -> Lang:
    """Builds the lang folder, or loads it when it is up to date; raises DataError without text or lexicon."""
    product, asr = products.lang(context), context.config.asr
    if product.needs_build():
        with product.building() as folder:
            parts = (read_cuts(artifacts.cuts(context.corpus, part)) for part in context.config.corpus.asr_train)
            transcripts = [text for cuts in parts for text in map(text_of, cuts) if text]
            lexicon = read_lexicons(asr, context.corpus) if asr.tokens == "phone" else None
            sentences = artifacts.lm_text(context.corpus).read_text(encoding="utf-8").splitlines()
            lang = make_lang(asr, transcripts, sentences, lexicon)
            save_lang(lang, folder)
            write_text(artifacts.training_tokens_in(folder), _format_training_tokens(lang, transcripts))
    lang = load_lang(product.path)
    context.log.info("%d tokens (%s), %d words", lang.vocabulary_size, lang.tokens.kind, len(lang.words))
    return lang


def make_lang(
    config: AsrConfig, transcripts: list[str], lm_sentences: Iterable[str], pronunciations: Pronunciations | None = None
) -> Lang:
    """Builds the tokens from the training transcripts alone, and the lexicon also from the text of the LM.

    For tokens=phone the first pronunciation of a word is trained on. Raises DataError without text, or without a pronunciation of
    any word.
    """
    spoken = {word for text in transcripts for word in text.split()}
    if not spoken:
        expected, remedy = "text in the supervisions of corpus.asr_train", "--set corpus.asr_train=[PART] with transcripts"
        raise DataError("training transcripts", found="no word", expected=expected, remedy=remedy)
    words = sorted(spoken | {word for text in lm_sentences for word in text.split()})
    if config.tokens == "phone":
        tokens: Tokens = PhoneTokens.train(pronunciations, spoken, f"lexicon {config.lexicon or 'of stage 0'}")
    elif config.tokens == "characters" or (config.tokens == "auto" and len(spoken) < FEW_WORDS):
        tokens = CharacterTokens.train(transcripts)
    else:
        tokens = BpeTokens.train(transcripts, config.vocabulary_size)
    return Lang(tokens, spell(tokens, words))


def spell(tokens: Tokens, words: list[str]) -> Lexicon:
    """The spellings of the words, in their order; words that the tokens cannot spell are left out with a warning."""
    spelled = [(word, ids) for word in words for ids in tokens.spellings(word)]
    lexicon = tuple((word, ids) for word, ids in spelled if UNKNOWN_ID not in ids)
    left_out = sorted(set(words).difference(word for word, _ in lexicon))
    if left_out:
        message = "%d word(s) of the LM cannot be spelled with the tokens of the training transcripts and are left out: %s"
        get_logger("asr.lang").warning(message, len(left_out), ", ".join(left_out[:5]))
    return lexicon


def extend_lang(lang: Lang, words: Iterable[str]) -> Lang:
    """The same tokens with the words of a given LM that the tokens can spell."""
    more = sorted({word for word in words if word[0] not in "#<" and BOUNDARY not in word} - set(lang.words))
    # The sort is stable: a word's pronunciations keep their order, whatever the hash seed of this process.
    lexicon = tuple(sorted((*lang.lexicon, *spell(lang.tokens, more)), key=lambda entry: entry[0]))
    return Lang(lang.tokens, lexicon)


def disambiguate(lexicon: Lexicon, vocabulary_size: int) -> tuple[Lexicon, int]:
    """Adds #1, #2, ... after pronunciations that another word shares or begins with, so that L o G can be determinized.

    The id of #n is vocabulary_size + n. Also returns the highest n used, 0 when none was.
    """
    count = collections.Counter(ids for _, ids in lexicon)
    beginnings = {ids[:size] for _, ids in lexicon for size in range(1, len(ids))}
    used: collections.Counter = collections.Counter()
    result = []
    for word, ids in lexicon:
        if count[ids] > 1 or ids in beginnings:
            used[ids] += 1
            ids = (*ids, vocabulary_size + used[ids])
        result.append((word, ids))
    return tuple(result), max(used.values(), default=0)


def save_lang(lang: Lang, folder: Path) -> None:
    """Writes the text files, and bpe.model if any."""
    tokens = lang.token_table
    if isinstance(lang.tokens, BpeTokens):
        with atomic_path(folder / BPE_FILE) as temporary:
            temporary.write_bytes(lang.tokens.model)
    if isinstance(lang.tokens, PhoneTokens):
        write_text(folder / PRONUNCIATIONS_FILE, _format_lexicon(lang.tokens.pronunciations, tokens))
    write_text(folder / WORDS_FILE, _format_table(lang.word_table))
    write_text(folder / LEXICON_FILE, _format_lexicon(lang.lexicon, tokens))
    write_text(folder / DISAMBIG_FILE, _format_lexicon(lang.disambiguated[0], tokens))
    write_text(folder / TOKENS_FILE, _format_table(tokens))


def load_lang(folder: Path) -> Lang:
    """Reads what save_lang wrote."""
    tokens = (line.split()[0] for line in (folder / TOKENS_FILE).read_text(encoding="utf-8").splitlines())
    ids = {token: number for number, token in enumerate(tokens) if not token.startswith("#")}
    return Lang(_load_tokens(folder, ids), _read_lexicon(folder / LEXICON_FILE, ids))


def _load_tokens(folder: Path, ids: dict[str, int]) -> Tokens:
    if (folder / BPE_FILE).exists():
        return BpeTokens((folder / BPE_FILE).read_bytes())
    pieces = list(ids)[len(SPECIAL) :]
    if BOUNDARY in ids:
        return CharacterTokens(pieces[1:])
    return PhoneTokens(pieces, _read_lexicon(folder / PRONUNCIATIONS_FILE, ids))


def _read_lexicon(path: Path, ids: dict[str, int]) -> Lexicon:
    entries = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    return tuple((word, tuple(ids[piece] for piece in pieces)) for word, *pieces in entries)


def _format_table(symbols: Iterable[str]) -> str:
    return "".join(f"{symbol} {number}\n" for number, symbol in enumerate(symbols))


def _format_lexicon(lexicon: Iterable[tuple[str, tuple[int, ...]]], tokens: tuple[str, ...]) -> str:
    return "".join(f"{word} {' '.join(tokens[number] for number in ids)}\n" for word, ids in lexicon)


def _format_training_tokens(lang: Lang, transcripts: list[str]) -> str:
    """All that a recogniser reads of a lang folder: the tokens, and how they spell the words of its training transcripts.

    Words of the LM text alone do not show here, so that another LM text leaves recognisers as they are.
    """
    words = sorted({word for text in transcripts for word in text.split()})
    spelled = (f"{word} {' '.join(map(str, lang.tokens.encode(word)))}" for word in words)
    return "\n".join([*lang.tokens.pieces, "", *spelled]) + "\n"


def read_lexicons(config: AsrConfig, corpus: Path) -> Pronunciations:
    """Pronunciations of asr.lexicon, or those of stage 0 with its variants after the pronunciations that alignments use."""
    if config.lexicon:
        return read_pronunciations(Path(config.lexicon))
    pronunciations = read_pronunciations(artifacts.lexicon(corpus))
    variants_path = artifacts.lexicon_variants(corpus)
    if variants_path.exists() and variants_path.stat().st_size:
        for word, variants in read_pronunciations(variants_path).items():
            pronunciations[word] = list(dict.fromkeys([*pronunciations.get(word, []), *variants]))
    return pronunciations


def read_pronunciations(path: Path) -> Pronunciations:
    """Word -> its pronunciations, from lines of a word and its phones. Stress digits are dropped, as in stage 0's alignments.

    Reads stage 0's lexicon.txt, LibriSpeech's librispeech-lexicon.txt and the CMU dictionary (`WORD(2)`); raises DataError for a
    missing or empty file, or a line without phones.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _bad_lexicon(str(path), str(error)) from error
    pronunciations: Pronunciations = {}
    for number, line in enumerate(lines, start=1):
        word, *phones = line.split() or [";;;"]
        if word.startswith(";;;"):
            continue
        if not phones:
            raise _bad_lexicon(f"{path}, line {number}", repr(line))
        variants = pronunciations.setdefault(word.partition("(")[0].upper() or word, [])
        variant = tuple(phone.rstrip("012").upper() for phone in phones)
        if variant not in variants:
            variants.append(variant)
    if not pronunciations:
        raise _bad_lexicon(str(path), "no line")
    return pronunciations


def _bad_lexicon(subject: str, found: str) -> DataError:
    remedy = f"--set asr.lexicon=FILE, or, if stage 0 wrote it, {rerun(0)}"
    return DataError(subject, found=found, expected="lines 'WORD PHONE PHONE ...'", remedy=remedy)
