"""The lang folder of an experiment: made from training transcripts, LM text and lexicon, or found with the key of these."""

from __future__ import annotations

import hashlib
from pathlib import Path

from spin import artifacts
from spin.asr.features import open_cuts, text_of
from spin.asr.graphs import save_lexicon_fsts
from spin.asr.lang import Lang, load_lang, make_lang, save_lang
from spin.asr.lm_sources import read_sentences
from spin.asr.validate_lang import problems
from spin.config import AsrConfig
from spin.errors import DataError, SpinError
from spin.runtime.files import read_json, write_json
from spin.runtime.stages import Context


def prepare_lang(context: Context) -> Lang:
    """Makes the lang folder, or finds it there, whole and made from the same.

    Raises:
        DataError: no text, no lexicon, or what was written does not hold together.
    """
    config = context.config
    cuts = open_cuts(context.exp, artifacts.SYSTEMS[0], config.corpus.asr_train)
    transcripts = [text for text in map(text_of, cuts) if text]
    sentences = read_sentences(artifacts.lm_text(context.corpus))
    said = None
    if config.asr.tokens == "phone":
        said = pronunciations(config.asr, context.corpus)
    folder = artifacts.lang_folder(context.exp)
    key = lang_key(config.asr, transcripts, sentences, said)
    lang = _found(folder, key)
    if lang is None:
        lang = make_lang(config.asr, transcripts, sentences, said)
        write_lang(lang, folder)
        write_json(artifacts.lang_key(folder), {"key": key})
    context.log.info("%d tokens (%s), %d words", lang.vocabulary_size, lang.kind, len(lang.words))
    return lang


def write_lang(lang: Lang, folder: Path) -> None:
    """Writes a whole lang folder and reads it again.

    Raises:
        DataError: what was written does not hold together.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_lexicon_fsts(lang, folder)
    save_lang(lang, folder)
    wrong = problems(folder)
    if wrong:
        raise DataError(str(folder), found="; ".join(wrong[:3]), expected="a lang folder that holds together")


def lang_key(config: AsrConfig, transcripts: list[str], sentences: list[str], said: dict | None) -> str:
    """A digest of everything that the folder is made from."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{config.tokens} {config.vocabulary_size} {len(transcripts)}\n".encode())
    for text in (*transcripts, *sentences):
        digest.update(text.encode("utf-8") + b"\n")
    digest.update(repr(said).encode("utf-8"))
    return digest.hexdigest()


def _found(folder: Path, key: str) -> Lang | None:
    try:
        if read_json(artifacts.lang_key(folder))["key"] != key or problems(folder):
            return None
        return load_lang(folder)
    except (OSError, KeyError, ValueError, SpinError):
        return None


def pronunciations(config: AsrConfig, corpus: Path) -> dict[str, list[tuple[str, ...]]]:
    """Those of the given lexicon; else those of stage 0, its variants after the pronunciations that alignments know."""
    if config.lexicon:
        return read_pronunciations(Path(config.lexicon))
    said, more = read_pronunciations(artifacts.lexicon(corpus)), artifacts.lexicon(corpus, variants=True)
    if more.exists() and more.stat().st_size:  # a corpus of an older version has none
        for word, variants in read_pronunciations(more).items():
            said[word] = list(dict.fromkeys([*said.get(word, []), *variants]))
    return said


def read_pronunciations(path: Path) -> dict[str, list[tuple[str, ...]]]:
    """Word -> its pronunciations, from lines of a word and its phones; stress digits are taken off, as in stage 0's alignments.

    Lines of stage 0's lexicon.txt, of LibriSpeech's librispeech-lexicon.txt and of the CMU dictionary (`WORD(2)`) are read.

    Raises:
        DataError: no such file, no line, or a line without phones.
    """
    expected, remedy = "lines of a word and its phones", "run stage 0, or see asr.lexicon"
    said: dict[str, list[tuple[str, ...]]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(str(path), found=str(error), expected=expected, remedy=remedy) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith(";;;"):
            continue
        word, *phones = line.split()
        if not phones:
            raise DataError(f"{path}, line {number}", found=repr(line), expected=expected, remedy=remedy)
        variants = said.setdefault(word.partition("(")[0].upper() or word, [])
        phones = tuple(phone.rstrip("012").upper() for phone in phones)
        if phones not in variants:
            variants.append(phones)
    if not said:
        raise DataError(str(path), found="no line", expected=expected, remedy=remedy)
    return said
