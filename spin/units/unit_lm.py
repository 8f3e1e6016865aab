"""Predictability of units: an n-gram model trained on half of the utterances, measured on the other half, and the reverse.

Predictable units make good language models (arXiv 2410.24177). Perplexities of systems whose units come at different rates
cannot be compared; bits per second can. kaldingram trains the Kneser-Ney models.
"""

import argparse
import contextlib
import io
import math
import tempfile
from collections.abc import Iterable
from pathlib import Path

from spin import artifacts
from spin.config_io import load_config
from spin.corpus.ngrams import write_arpa
from spin.errors import DataError
from spin.runtime.seeding import integer
from spin.units.counts import check_units
from spin.units.measure import EvaluationSet, Utterance
from spin.units.units import find_runs, find_units, read_units

ORDER = 3
BEGIN, END = "<s>", "</s>"


class Predictability:
    """Figures of a trigram model of deduplicated units."""

    def __init__(self, sample: EvaluationSet):
        self.codebook_size, self.seed, self.seconds = sample.codebook_size, sample.seed, 0.0
        self._sequences: dict[str, list[int]] = {}

    def add(self, utterance: Utterance) -> None:
        self._sequences[utterance.id] = find_runs(utterance.units)[0].tolist()
        self.seconds += utterance.seconds

    def compute(self) -> dict[str, float]:
        """ngram_perplexity, at least 1, and ngram_bitrate in bits per second; NaN with fewer than two utterances of units."""
        names = [name for name, units in self._sequences.items() if units]
        names.sort(key=lambda name: (integer(self.seed, "n-gram half", name), name))
        halves = [[self._sequences[name] for name in names[start::2]] for start in (0, 1)]
        if not all(halves):
            return {"ngram_perplexity": math.nan, "ngram_bitrate": math.nan}
        bits, events = 0.0, 0
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "units.arpa"
            for train, test in (halves, halves[::-1]):
                train_unit_lm(train, self.codebook_size, ORDER, path)
                own_bits, own_events = score(load_unit_lm(path), test)
                bits, events = bits + own_bits, events + own_events
        return {"ngram_perplexity": 2.0 ** (bits / events), "ngram_bitrate": bits / self.seconds if self.seconds else math.nan}


def train_unit_lm(sequences: Iterable[list[int]], codebook_size: int, order: int, path: str | Path) -> None:
    """Writes an n-gram model of units, of order 2 to 7, in ARPA format; DataError for no units, or one outside the codebook.

    Each unit of the codebook is added once as an utterance of its own, so no unit has probability 0.
    """
    lines = (" ".join(map(str, check_units(units, codebook_size).tolist())) for units in sequences)
    if not write_arpa(lines, order, path, single=map(str, range(codebook_size))):
        raise DataError("units to train on", found="none", expected="utterances with units", remedy="name another part")


def load_unit_lm(path: str | Path):
    """The back-off model of an ARPA file, as kaldingram reads it."""
    from kaldingram.prune import ArpaParser

    with contextlib.redirect_stderr(io.StringIO()):  # it draws progress bars
        (model,) = ArpaParser().loadf(str(path))
    return model


def score(model, sequences: Iterable[Iterable[int]]) -> tuple[float, int]:
    """-log2 of the probability of all units and utterance ends, and their number; 2 to the quotient is SRILM's perplexity."""
    bits, events = 0.0, 0
    for units in sequences:
        words = (BEGIN, *map(str, units), END)
        # kaldingram's own log_s passes the whole history, whose recursion fails on utterances of a thousand units.
        total = sum(model.log_p_raw(words[max(0, end - model.order()) : end]) for end in range(2, len(words) + 1))
        bits, events = bits - total * math.log2(10), events + len(words) - 1
    return bits, events


def main(argv: list[str] | None = None) -> None:
    """Trains an n-gram model of one system's units and prints how well it predicts other parts; SpinError for missing units."""
    parser = argparse.ArgumentParser(prog="python -m spin unit-lm", description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--exp", required=True, type=Path, help="an experiment whose stage 3 is finished")
    parser.add_argument("--system", default=artifacts.SPIN, help="the system whose units are modelled (default: spin)")
    parser.add_argument("--order", type=int, default=ORDER, choices=range(2, 8), help=f"order of the n-grams (default: {ORDER})")
    parser.add_argument("--train-part", nargs="+", help="default: the recogniser's training parts")
    parser.add_argument("--test-part", nargs="+", help="default: the test parts")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="the ARPA file")
    arguments = parser.parse_args(argv)
    corpus = load_config(artifacts.config_file(arguments.exp)).corpus
    train_parts, test_parts = arguments.train_part or corpus.asr_train, arguments.test_part or corpus.test
    (train, size), (test, _) = (find_units(arguments.exp, arguments.system, parts) for parts in (train_parts, test_parts))
    runs = (find_runs(units)[0] for path in train.values() for _, units in read_units(path))
    train_unit_lm(runs, size, arguments.order, arguments.output)
    frames = [units for path in test.values() for _, units in read_units(path)]
    bits, events = score(load_unit_lm(arguments.output), (find_runs(units)[0] for units in frames))
    perplexity, rate = 2.0 ** (bits / events), bits / (sum(map(len, frames)) * artifacts.FRAME_SHIFT_IN_S)
    print(f"{arguments.output}: perplexity {perplexity:.2f}, {rate:.1f} bits per second on {' '.join(test_parts)}")
