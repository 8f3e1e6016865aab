"""The n-gram LM: ARPA by kaldingram (Kneser-Ney), G by kaldilm."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import k2

from spin.asr.lang import BACK_OFF, UNKNOWN_WORD
from spin.errors import DataError
from spin.runtime.ngrams import write_arpa


def train_arpa(sentences: Iterable[str], order: int, known: Iterable[str], path: str | Path) -> int:
    """Trains a Kneser-Ney model and writes it in ARPA format; the same text gives the same file.

    Args:
        sentences: words separated by spaces; empty ones are passed over.
        order: of the n-grams, 1 to 5.
        known: the words of the lexicon; any other counts as <UNK>, which no path of the decoding graph can say.
        path: of the ARPA file.

    Returns:
        The number of sentences.

    Raises:
        DataError: no sentence.
    """
    known = set(known)
    words = (" ".join(word if word in known else UNKNOWN_WORD for word in sentence.split()) for sentence in sentences)
    number = write_arpa(words, order, path)
    if number == 0:
        remedy = "run stage 0, or set corpus.lm_text"
        raise DataError("LM text", found="no sentence", expected="a sentence a line", remedy=remedy)
    return number


def grammar(arpa: str | Path, words: str | Path, order: int) -> k2.Fsa:
    """G: an acceptor-like transducer over word ids; its back-off arcs carry #0 on the input side.

    Args:
        arpa: ARPA file.
        words: words.txt of the lang folder.
        order: n-grams above it are left out.
    """
    import kaldilm

    try:
        text = kaldilm.arpa2fst(
            input_arpa=str(arpa), disambig_symbol=BACK_OFF, read_symbol_table=str(words), max_order=order, max_arpa_warnings=0
        )
    except RuntimeError as error:
        raise DataError(
            str(arpa), found=" ".join(str(error).split()), expected="an ARPA file", remedy="run stage 5 with --force"
        ) from error
    return k2.Fsa.from_openfst(text, acceptor=False)
