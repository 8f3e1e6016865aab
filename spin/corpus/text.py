"""The one normalisation of text, for the language model, for training and for scoring; and the text of the language model.

Normal text: upper case A-Z and apostrophe, words separated by single spaces, as LibriSpeech's transcripts. What has no single
reading (digits, currency signs, other alphabets) is rejected instead of being guessed or dropped.
"""

import gzip
import itertools
import logging
import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from spin.config import CorpusConfig
from spin.corpus.registry import Rejected
from spin.errors import DataError
from spin.runtime.files import atomic_path

LIBRISPEECH_TEXT = "librispeech"  # of corpus.lm_text: the text of LibriSpeech's own LMs, from OpenSLR
LIBRISPEECH_LINES, DEFAULT_LINES = 40_000_000, 100_000  # about; of so many a trigram model takes a minute and 2 GB

# Letters that Unicode does not decompose into A-Z and a mark.
_LETTERS = {"Æ": "AE", "Œ": "OE", "Ø": "O", "Ł": "L", "Đ": "D", "Ð": "D", "Þ": "TH", "ẞ": "SS", "Ħ": "H", "Ŀ": "L", "Ŋ": "NG"}
_APOSTROPHES = "\u2019\u02bc\u2032\u02b9"  # right quote, modifier apostrophe, prime: what stands for ' in print
_SPOKEN = set("&%@#\u00a7\u2030")  # punctuation by Unicode, but read aloud
_ACCENTS = set("`\u00b4^~|\u00a8\u00af")  # symbols by Unicode, but never read aloud
_NORMAL = re.compile(r"(?=.*[A-Z])[A-Z']+(?: [A-Z']+)*")


def normalise(text: str) -> str:
    """Upper case A-Z and apostrophe, single spaces; '' where nothing is spoken. normalise(normalise(x)) == normalise(x).

    Accents are folded (e with acute: E, sharp s: SS), punctuation, hyphens, tabs, line ends and byte order marks separate or
    vanish, a word of apostrophes only is dropped.

    Raises Rejected for a digit, a symbol that is read aloud, or a letter of another alphabet; names the first one.
    """
    letters = unicodedata.normalize("NFKD", text.upper()).upper()  # again: NFKD makes small letters of some signs
    folded = "".join(map(_fold, letters))
    return " ".join(word for word in folded.split() if word.strip("'"))


def is_normal(text: str) -> bool:
    """True for what normalise returns for a text with at least one word."""
    return _NORMAL.fullmatch(text) is not None and normalise(text) == text


def _fold(sign: str) -> str:
    if "A" <= sign <= "Z" or sign == "'":
        return sign
    if sign in _APOSTROPHES:
        return "'"
    if sign in _LETTERS:
        return _LETTERS[sign]
    kind = unicodedata.category(sign)
    if kind in ("Mn", "Cf"):  # accents; byte order mark, soft hyphen, joiners
        return ""
    if sign in _ACCENTS or kind[0] == "Z" or kind == "Cc" or (kind[0] == "P" and sign not in _SPOKEN):
        return " "
    raise Rejected(f"text: {sign!r} (U+{ord(sign):04X}) has no single reading")


def given_sentences(corpus: CorpusConfig, log: logging.Logger) -> Iterator[str]:
    """The sentences of corpus.lm_text; of LibriSpeech's text about corpus.lm_sentences, spread evenly over all of its books.

    Raises SpinError for a missing or damaged file, or a download that failed.
    """
    if corpus.lm_text != LIBRISPEECH_TEXT:
        return read_sentences(corpus.lm_text, log)
    from spin.corpus.download import lm_text_file

    step = max(1, LIBRISPEECH_LINES // (corpus.lm_sentences or DEFAULT_LINES))
    return read_sentences(lm_text_file(corpus), log, step)


def read_sentences(path: str | Path, log: logging.Logger, step: int = 1) -> Iterator[str]:
    """The normalised sentences of every step-th line of a UTF-8 text, compressed where its name ends in .gz.

    Lines that cannot be normalised are skipped and counted in the log. Raises DataError for a missing or damaged file.
    """
    skipped = 0
    opener = gzip.open if str(path).endswith(".gz") else open
    try:
        with opener(path, "rt", encoding="utf-8-sig") as stream:
            for line in itertools.islice(stream, 0, None, step):
                try:
                    sentence = normalise(line)
                except Rejected:
                    skipped += 1
                    continue
                if sentence:
                    yield sentence
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        expected, remedy = "UTF-8 text, one sentence per line", "--set corpus.lm_text=FILE"
        raise DataError(f"LM text {path}", found=str(error), expected=expected, remedy=remedy) from error
    if skipped:
        log.warning("LM text %s: skipped %d line(s) with digits or signs that have no single reading", path, skipped)


def write_lm_text(path: Path, sentences: Iterable[str], held_out: set[str], log: logging.Logger) -> None:
    """Writes the sentences not in `held_out` (the transcripts of valid and test); raises DataError where none is left."""
    count, skipped = 0, 0
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as stream:
        for sentence in sentences:
            if sentence in held_out:
                skipped += 1
                continue
            stream.write(sentence + "\n")
            count += 1
        if count == 0:
            found = f"no sentence, after {skipped} that occur in valid or test were skipped"
            expected, remedy = "at least one other sentence", "--set corpus.lm_text=FILE with other text"
            raise DataError("LM text", found=found, expected=expected, remedy=remedy)
    log.info("LM text: %d sentences; skipped %d that occur in valid or test", count, skipped)
