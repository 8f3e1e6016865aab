"""The n-gram LM: ARPA by kaldingram (Kneser-Ney) or given, such as LibriSpeech's 3-gram.pruned.1e-7.arpa.gz; G by kaldilm."""

from __future__ import annotations

import contextlib
import gzip
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from spin.asr.lang import BACK_OFF, UNKNOWN_WORD
from spin.errors import DataError
from spin.runtime.ngrams import write_arpa

NOT_WORDS = ("<s>", "</s>", "<unk>", "<UNK>")


def read_sentences(path: Path) -> list[str]:
    """The lines of a text file that hold a word."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(str(path), found=str(error), expected="one sentence per line", remedy="run stage 0") from error
    return [" ".join(line.split()) for line in lines if line.split()]


def train_arpa(sentences: Iterable[str], order: int, known: Iterable[str], path: Path) -> int:
    """Trains a Kneser-Ney model and writes it in ARPA format; the same text gives the same file.

    Args:
        sentences: words separated by spaces; empty ones are skipped.
        order: highest n of the n-grams, 1 to 6.
        known: words of the lexicon; any other counts as <UNK>, which no path of the decoding graph contains.
        path: the ARPA file.

    Returns:
        The number of sentences.

    Raises:
        DataError: no sentence.
    """
    known = set(known)
    words = (" ".join(word if word in known else UNKNOWN_WORD for word in sentence.split()) for sentence in sentences)
    number = write_arpa(words, order, path)
    if number == 0:
        remedy = "run stage 0, or --set corpus.lm_text=FILE"
        raise DataError("LM text", found="no sentence", expected="one sentence per line", remedy=remedy)
    return number


def make_grammar(arpa: Path, words: Path, order: int):
    """G as a k2.Fsa: an acceptor-like transducer over word ids; its back-off arcs carry #0 on the input side.

    Args:
        arpa: ARPA file.
        words: words.txt of the lang folder.
        order: longer n-grams are left out.

    Raises:
        DataError: not an ARPA file.
    """
    import k2
    import kaldilm

    try:
        text = kaldilm.arpa2fst(
            input_arpa=str(arpa), disambig_symbol=BACK_OFF, read_symbol_table=str(words), max_order=order, max_arpa_warnings=0
        )
    except RuntimeError as error:
        raise _not_arpa(arpa, " ".join(str(error).split())) from error
    return k2.Fsa.from_openfst(text, acceptor=False)


def arpa_order(path: Path) -> int:
    """The highest n of the "ngram n=count" lines.

    Raises:
        DataError: there is none before the first section.
    """
    order = 0
    for line in _lines(path):
        if line.startswith("ngram "):
            order = max(order, int(line.split()[1].split("=")[0]))
        elif line.startswith("\\") and "-grams:" in line:
            break
    if order == 0:
        raise _not_arpa(path, "no line 'ngram n=count'")
    return order


def arpa_words(path: Path) -> Iterator[str]:
    """The words of the unigrams in the order of the file, without <s>, </s> and the unknown word.

    Raises:
        DataError: there is no section of unigrams.
    """
    inside = False
    for line in _lines(path):
        if line.startswith("\\"):
            if inside:
                return
            inside = line.startswith("\\1-grams:")
        elif inside and len(fields := line.split()) >= 2 and fields[1] not in NOT_WORDS:
            yield fields[1]
    if not inside:
        raise _not_arpa(path, "no section \\1-grams:")


def copy_arpa(source: Path, target: Path) -> None:
    """Writes a plain copy of an ARPA file, gzipped or not."""
    with _open(source) as stream, open(target, "wb") as output:
        try:
            shutil.copyfileobj(stream, output, 1 << 20)
        except (OSError, EOFError) as error:
            raise _not_arpa(source, str(error)) from error


def _lines(path: Path) -> Iterator[str]:
    with _open(path) as stream:
        try:
            for line in stream:
                yield line.decode("utf-8").strip()
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise _not_arpa(path, str(error)) from error


@contextlib.contextmanager
def _open(path: Path):
    try:
        stream = gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb")
    except OSError as error:
        raise _not_arpa(path, str(error)) from error
    with stream:
        yield stream


def _not_arpa(path: Path, found: str) -> DataError:
    remedy = "correct decoding.arpa or decoding.rescore_arpa"
    return DataError(str(path), found=found, expected="an ARPA file, plain or .gz", remedy=remedy)
