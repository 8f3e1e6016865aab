"""n-gram models of anything that is written in words, by kaldingram: Kneser-Ney, in ARPA format."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable
from pathlib import Path

from spin.runtime.files import atomic_path


def write_arpa(sentences: Iterable[str], order: int, path: str | Path, single: Iterable[str] = ()) -> int:
    """Trains a model and writes it; the same sentences give the same file. Nothing is written where there is no sentence.

    Args:
        sentences: words separated by spaces; empty ones are passed over.
        order: of the n-grams, 1 to 7.
        path: of the ARPA file.
        single: words that the model shall know in any case: each counts as a sentence of its own, after the others.

    Returns:
        The number of sentences.
    """
    from kaldingram.train import NgramCounts

    counts, number = NgramCounts(order), 0
    with contextlib.redirect_stderr(io.StringIO()):  # kaldingram draws a progress bar for each step there
        for sentence in sentences:
            if sentence:
                counts.add_raw_counts_from_line(sentence)
                number += 1
        if number == 0:
            return 0
        for word in single:
            counts.add_raw_counts_from_line(word)
        counts.cal_discounting_constants()
        counts.cal_f()
        counts.cal_bow()
        with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as stream:
            counts.print_as_arpa(fout=stream)
    return number
