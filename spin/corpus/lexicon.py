"""The word side of a corpus: lexicon.txt and lm_text.txt."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from spin import artifacts
from spin.corpus.pronunciation import Dictionary
from spin.corpus.text import TextError, normalise
from spin.errors import DataError
from spin.runtime.files import atomic_path, write_text


def write_lexicon(corpus: Path, words: Iterable[str], dictionary: Dictionary, log: logging.Logger) -> int:
    """Writes word, tab, phones for each word that has a pronunciation (its first), sorted; returns the number of lines.

    Further pronunciations go into a file of their own, in the same form: alignments and training know one of each word.

    Args:
        corpus: the folder of artifacts.lexicon.
        words: normalised; a word may come more than once.
    """
    lines, variant_lines, derived, guessed, missing = [], [], 0, [], []
    for word in sorted(set(words)):
        variants = dictionary.pronunciations(word)
        if variants and word not in dictionary:
            if dictionary.derived(word):
                derived += 1
            else:
                guessed.append(word)
        if variants:
            lines.append(f"{word}\t{' '.join(variants[0])}\n")
            variant_lines += [f"{word}\t{' '.join(phones)}\n" for phones in variants[1:]]
        else:
            missing.append(word)
    write_text(artifacts.lexicon(corpus, variants=True), "".join(variant_lines))
    write_text(artifacts.lexicon(corpus), "".join(lines))
    log.info("lexicon: %d words, %d derived by rule, %s", len(lines), derived, _counted(guessed, "guessed from the letters"))
    if missing:
        log.warning("lexicon: %s", _counted(missing, "without a pronunciation"))
    if missing and not dictionary.guesses:
        log.warning("gruut_lang_en or python-crfsuite is not installed, so that none is guessed (utils/setup_env.sh)")
    return len(lines)


def _counted(words: list[str], what: str) -> str:
    examples = f" ({' '.join(words[:8])}{' ...' if len(words) > 8 else ''})" if words else ""
    return f"{len(words)} {what}{examples}"


def read_sentences(path: str | Path, log: logging.Logger) -> Iterator[str]:
    """The normalised sentences of a text file, one a line; lines that cannot be normalised are left out and counted in the log.

    Raises:
        DataError: no such file, or not UTF-8.
    """
    left_out = 0
    try:
        with open(path, encoding="utf-8-sig") as stream:
            for line in stream:
                try:
                    sentence = normalise(line)
                except TextError:
                    left_out += 1
                    continue
                if sentence:
                    yield sentence
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"LM text {path}", found=str(error), expected="UTF-8 text, one sentence a line", remedy="corpus.lm_text"
        ) from error
    if left_out:
        log.warning("LM text %s: %d line(s) left out, as they hold digits or signs without a single reading", path, left_out)


def write_lm_text(path: Path, sentences: Iterable[str], held_out: set[str], log: logging.Logger) -> set[str]:
    """Writes the sentences that are not in `held_out` (the transcripts of valid and test), in their order; returns their words.

    Raises:
        DataError: none is left.
    """
    kept, left_out, words = 0, 0, set()
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as stream:
        for sentence in sentences:
            if sentence in held_out:
                left_out += 1
                continue
            stream.write(sentence + "\n")
            kept += 1
            words.update(sentence.split())
        if kept == 0:
            raise DataError(
                "LM text", found=f"no sentence, {left_out} left out as they are in valid or test", expected="training text"
            )
    log.info("LM text: %d sentences; %d left out, as they are in valid or test", kept, left_out)
    return words
