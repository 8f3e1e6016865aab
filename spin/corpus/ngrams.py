"""n-gram models of sentences of words by kaldingram: Kneser-Ney, in ARPA format."""

import contextlib
import io
import math
import re
from collections.abc import Iterable
from pathlib import Path

from spin.runtime.files import write_text

NEVER = -99.0  # log10 probability that means zero in ARPA files, as that of <s>


def write_arpa(sentences: Iterable[str], order: int, path: str | Path, single: Iterable[str] = ()) -> int:
    """Trains a model of n-grams of up to `order`, 1 to 7, writes it as an ARPA file, and returns the number of sentences.

    The same sentences, words separated by spaces, give the same file. Empty ones are ignored; without any, nothing is written.
    `single` are words that the model must know: each counts as a sentence of its own, after the others.
    """
    from kaldingram.train import NgramCounts

    counts, number, arpa = NgramCounts(order), 0, io.StringIO()
    with contextlib.redirect_stderr(io.StringIO()):  # kaldingram draws a progress bar for each step there
        for sentence in filter(None, sentences):
            counts.add_raw_counts_from_line(sentence)
            number += 1
        if number == 0:
            return 0
        for word in single:
            counts.add_raw_counts_from_line(word)
        counts.cal_discounting_constants()
        counts.cal_f()
        counts.cal_bow()
        counts.print_as_arpa(fout=arpa)
    write_text(path, _without_start(arpa.getvalue()) if order == 1 else arpa.getvalue())
    return number


def _without_start(arpa: str) -> str:
    """Unigrams with the share of <s>, which is never predicted, given to the other words in proportion.

    kaldingram counts <s> as a word in a unigram model, so the others sum to less than 1.
    """
    start = re.search(r"^(\S+)\t<s>$", arpa, re.MULTILINE)
    if start is None or float(start[1]) <= NEVER:
        return arpa
    lost = math.log10(1.0 - 10.0 ** float(start[1]))
    entries = re.compile(r"^(-?[0-9.]+)\t(\S+)$", re.MULTILINE)
    return entries.sub(lambda line: f"{NEVER if line[2] == '<s>' else float(line[1]) - lost:.7f}\t{line[2]}", arpa)
