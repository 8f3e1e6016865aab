"""The n-gram LM: ARPA by kaldingram (Kneser-Ney) or given, such as LibriSpeech's 3-gram.pruned.1e-7.arpa.gz; G by kaldilm."""

from __future__ import annotations

import contextlib
import gzip
import shutil
import tempfile
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


def make_grammar(arpa: Path, words: Path):
    """G as a k2.Fsa: an acceptor-like transducer over word ids; its back-off arcs carry #0 on the input side.

    Args:
        arpa: ARPA file, plain or .gz.
        words: words.txt of the lang folder.

    Raises:
        DataError: not an ARPA file.
    """
    import k2
    import kaldilm

    with _plain(arpa) as plain:
        try:
            text = kaldilm.arpa2fst(
                input_arpa=str(plain), disambig_symbol=BACK_OFF, read_symbol_table=str(words), max_arpa_warnings=0
            )
        except RuntimeError as error:
            raise _not_arpa(arpa, " ".join(str(error).split())) from error
    return k2.Fsa.from_openfst(text, acceptor=False)


def arpa_words(path: Path) -> Iterator[str]:
    """The words of the unigrams in the order of the file, without <s>, </s> and the unknown word.

    Raises:
        DataError: there is no count of n-grams or no section of unigrams; kaldilm would end the process.
    """
    counted = inside = False
    with _open(path) as stream:
        for line in stream:
            fields = line.decode("utf-8").split() or [""]
            counted = counted or fields[0] == "ngram"
            if fields[0].startswith("\\"):
                if inside:
                    return
                inside = counted and fields[0] == "\\1-grams:"
            elif inside and len(fields) >= 2 and fields[1] not in NOT_WORDS:
                yield fields[1]
    if not inside:
        raise _not_arpa(path, "no section \\1-grams:" if counted else "no line 'ngram n=count'")


@contextlib.contextmanager
def _plain(path: Path) -> Iterator[Path]:
    """The file itself, or a temporary copy that is not compressed."""
    if path.suffix != ".gz":
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="spin-arpa-") as temporary:
        plain = Path(temporary) / "lm.arpa"
        with _open(path) as stream, open(plain, "wb") as output:
            shutil.copyfileobj(stream, output, 1 << 20)
        yield plain


@contextlib.contextmanager
def _open(path: Path):
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as stream:
            yield stream
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise _not_arpa(path, str(error)) from error


def _not_arpa(path: Path, found: str) -> DataError:
    remedy = "correct decoding.arpa or decoding.rescore_arpa"
    return DataError(str(path), found=found, expected="an ARPA file, plain or .gz", remedy=remedy)
