"""The word side of a corpus: lexicon.txt and lm_text.txt."""

import gzip
import itertools
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from spin import artifacts
from spin.config import CorpusConfig
from spin.corpus.pronunciation import Dictionary
from spin.corpus.registry import Rejected
from spin.corpus.text import normalise
from spin.errors import DataError
from spin.runtime.files import DAMAGED_GZIP, atomic_path, write_text

LIBRISPEECH_TEXT = "librispeech"  # of corpus.lm_text: the text of LibriSpeech's own LMs, from OpenSLR
LIBRISPEECH_LINES, DEFAULT_LINES = 40_000_000, 100_000  # about; of so many a trigram model takes a minute and 2 GB


def write_lexicon(path: Path, words: Iterable[str], dictionary: Dictionary, log: logging.Logger) -> None:
    """Writes word, tab, phones for each word that has a pronunciation (its first), sorted.

    Further pronunciations go to artifacts.lexicon(corpus, variants=True) in the same folder and form, because alignments and
    training know one pronunciation of each word.
    """
    lines, variant_lines, derived, guessed, missing = [], [], 0, [], []
    for word in sorted(set(words)):
        variants = dictionary.pronunciations(word)
        if not variants:
            missing.append(word)
            continue
        if word not in dictionary:
            derived += bool(dictionary.derive(word))
            guessed += [] if dictionary.derive(word) else [word]
        lines.append(f"{word}\t{' '.join(variants[0])}\n")
        variant_lines += [f"{word}\t{' '.join(phones)}\n" for phones in variants[1:]]
    write_text(artifacts.lexicon(path.parent, variants=True), "".join(variant_lines))
    write_text(path, "".join(lines))
    log.info("lexicon: %d words, %d derived by rule, %s", len(lines), derived, _count(guessed, "guessed from the letters"))
    if missing:
        log.warning("lexicon: %s", _count(missing, "without a pronunciation"))
    if missing and not dictionary.guesses:
        log.warning("gruut_lang_en or python-crfsuite is not installed, so no pronunciation is guessed; run utils/setup_env.sh")


def _count(words: list[str], description: str) -> str:
    examples = f" ({' '.join(words[:8])}{' ...' if len(words) > 8 else ''})" if words else ""
    return f"{len(words)} {description}{examples}"


def given_sentences(corpus: CorpusConfig, log: logging.Logger) -> Iterator[str]:
    """The sentences of corpus.lm_text; of LibriSpeech's text about corpus.lm_sentences, spread evenly over all of its books.

    Raises:
        SpinError: no such file, a damaged one, or a download that failed.
    """
    if corpus.lm_text != LIBRISPEECH_TEXT:
        return read_sentences(corpus.lm_text, log)
    from spin.corpus.download import lm_text_file

    step = max(1, LIBRISPEECH_LINES // (corpus.lm_sentences or DEFAULT_LINES))
    return read_sentences(lm_text_file(corpus), log, step)


def read_sentences(path: str | Path, log: logging.Logger, step: int = 1) -> Iterator[str]:
    """The normalised sentences of a text file, one per line; lines that cannot be normalised are skipped and counted in the log.

    Args:
        path: UTF-8 text, compressed where the name ends in .gz.
        step: every step-th line is read, from the first.

    Raises:
        DataError: no such file, a damaged one, or not UTF-8.
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
    except (OSError, UnicodeDecodeError, *DAMAGED_GZIP) as error:
        expected, remedy = "UTF-8 text, one sentence per line", "--set corpus.lm_text=FILE"
        raise DataError(f"LM text {path}", found=str(error), expected=expected, remedy=remedy) from error
    if skipped:
        log.warning("LM text %s: skipped %d line(s) with digits or signs that have no single reading", path, skipped)


def write_lm_text(path: Path, sentences: Iterable[str], held_out: set[str], log: logging.Logger) -> None:
    """Writes the sentences that are not in `held_out` (the transcripts of valid and test) in their order.

    Raises:
        DataError: none is left.
    """
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
