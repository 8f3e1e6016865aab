"""The lang folder of an experiment, made from training transcripts, LM text and lexicon."""

from pathlib import Path

from spin import artifacts, products
from spin.asr.batches import text_of
from spin.asr.graphs import read_sentences
from spin.asr.lang import Lang, load_lang, make_lang, save_lang
from spin.config import AsrConfig
from spin.data.cuts import read_cuts
from spin.errors import DataError, rerun
from spin.runtime.files import write_text
from spin.runtime.product import Context

Pronunciations = dict[str, list[tuple[str, ...]]]


def prepare_lang(context: Context) -> Lang:
    """Builds the lang folder, or loads it when it is up to date.

    Raises:
        DataError: no text, no lexicon, or a damaged lang folder.
    """
    product, asr = products.lang(context), context.config.asr
    if product.needs_build():
        with product.building() as folder:
            parts = (read_cuts(artifacts.cuts(context.corpus, part)) for part in context.config.corpus.asr_train)
            transcripts = [text for cuts in parts for text in map(text_of, cuts) if text]
            lexicon = read_lexicons(asr, context.corpus) if asr.tokens == "phone" else None
            lang = make_lang(asr, transcripts, read_sentences(artifacts.lm_text(context.corpus)), lexicon)
            save_lang(lang, folder)
            write_text(artifacts.training_tokens_in(folder), format_training_tokens(lang, transcripts))
    lang = load_lang(product.path)
    context.log.info("%d tokens (%s), %d words", lang.vocabulary_size, lang.kind, len(lang.words))
    return lang


def format_training_tokens(lang: Lang, transcripts: list[str]) -> str:
    """All that a recogniser reads of a lang folder: the tokens, and how they spell the words of its training transcripts.

    Words of the LM text alone do not show here, so that another LM text leaves recognisers as they are.
    """
    words = sorted({word for text in transcripts for word in text.split()})
    spelled = (f"{word} {' '.join(map(str, lang.encode(word)))}" for word in words)
    return "\n".join([*lang.tokeniser.pieces, "", *spelled]) + "\n"


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

    Reads stage 0's lexicon.txt, LibriSpeech's librispeech-lexicon.txt and the CMU dictionary (`WORD(2)`).

    Raises:
        DataError: no such file, no line, or a line without phones.
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
