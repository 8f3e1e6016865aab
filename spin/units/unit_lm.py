"""n-gram models of units: how predictable the units of a system are, as perplexity on utterances held out.

kaldingram (by k2's authors) trains the Kneser-Ney model; the ARPA file is kept and serves any toolkit. Perplexities of systems
whose units come at different rates cannot be compared; bits a second can.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from spin.errors import DataError
from spin.runtime.ngrams import NEVER, write_arpa

BEGIN, END = "<s>", "</s>"
MOST_ORDER = 7


@dataclass(frozen=True)
class HeldOut:
    """Figures of one model on utterances that it was not trained on.

    Args:
        utterances, units: how many.
        bits: -log2 of the probability of all units and of each utterance's end.
        seconds: of the audio, 20 ms a frame.
    """

    utterances: int
    units: int
    bits: float
    seconds: float

    @property
    def perplexity(self) -> float:
        """2 to the bits of a unit, an utterance's end counting as one more (SRILM's ppl): 1 or more; NaN for no utterance."""
        events = self.units + self.utterances
        return 2.0 ** (self.bits / events) if events else math.nan

    @property
    def bits_per_second(self) -> float:
        """NaN without audio."""
        return self.bits / self.seconds if self.seconds > 0 else math.nan


def train_unit_lm(sequences: Iterable[list[int]], codebook_size: int, order: int, path: str | Path) -> int:
    """Writes an n-gram model of units in ARPA format; the same sequences give the same file.

    Each unit of the codebook is added once as an utterance of its own: no unit has probability 0, whatever the training text.

    Args:
        sequences: units 0 to codebook_size - 1 of each utterance; empty ones are passed over.
        order: 2 to 7.

    Returns:
        The number of utterances.

    Raises:
        DataError: no unit, or one outside the codebook.
    """

    def lines() -> Iterator[str]:
        for units in sequences:
            if units and not 0 <= min(units) <= max(units) < codebook_size:
                found, expected = f"units from {min(units)} to {max(units)}", f"0 to {codebook_size - 1}"
                raise DataError("units", found=found, expected=expected, cause="units of another codebook")
            yield " ".join(map(str, units))

    number = write_arpa(lines(), order, path, single=map(str, range(codebook_size)))
    if number == 0:
        raise DataError("units to train on", found="none", expected="utterances with units", remedy="name another part")
    return number


class UnitLm:
    """A back-off model read from an ARPA file.

    Args:
        path: of a file of train_unit_lm, or any ARPA file whose words are unit numbers.

    Raises:
        DataError: no such file, or no ARPA file.
    """

    def __init__(self, path: str | Path):
        self.log_probability: dict[tuple[str, ...], float] = {}  # log10
        self.back_off: dict[tuple[str, ...], float] = {}
        self.order, self._ended = 0, False
        try:
            with open(path, encoding="utf-8") as stream:
                for line in stream:
                    self._add(line.rstrip("\n"))
        except (OSError, ValueError, IndexError) as error:
            raise DataError(str(path), found=str(error), expected="an ARPA file", remedy="train it again") from error
        if not self.log_probability or not self._ended:
            found = "no end" if self.log_probability else "no n-grams"
            raise DataError(str(path), found=found, expected="an ARPA file", cause="a file that was cut off")

    def _add(self, line: str) -> None:
        if line.startswith("\\"):
            self._ended = line == "\\end\\"
            self.order = int(line[1:].split("-")[0]) if line.endswith("-grams:") else self.order
        elif line and self.order and not line.startswith("ngram "):
            probability, words, *rest = line.split("\t")
            ngram = tuple(words.split(" "))
            if len(ngram) != self.order:
                raise ValueError(f"{words!r} among the {self.order}-grams")
            self.log_probability[ngram] = float(probability)
            if rest and rest[0]:
                self.back_off[ngram] = float(rest[0])

    def log10(self, word: str, history: tuple[str, ...]) -> float:
        """log10 P(word | history); of the history the last order - 1 words count. NEVER for a word that is not in the model."""
        history = history[len(history) - self.order + 1 :] if len(history) >= self.order else history
        weight = 0.0
        while True:
            found = self.log_probability.get((*history, word))
            if found is not None:
                return weight + found
            if not history:
                return NEVER
            weight += self.back_off.get(history, 0.0)
            history = history[1:]

    def utterance_bits(self, units: list[int]) -> float:
        """-log2 P(units, end)."""
        words = (BEGIN, *map(str, units), END)
        total = sum(self.log10(words[i], words[max(0, i - self.order + 1) : i]) for i in range(1, len(words)))
        return -total * math.log2(10)

    def held_out(self, utterances: Iterable[tuple[list[int], float]]) -> HeldOut:
        """Figures of (units, seconds) of each utterance.

        Raises:
            DataError: a unit that the model does not have.
        """
        number, count, bits, seconds = 0, 0, 0.0, 0.0
        for units, length in utterances:
            unknown = next((unit for unit in units if (str(unit),) not in self.log_probability), None)
            if unknown is not None:
                raise DataError(
                    "units", found=f"unit {unknown}", expected="units of the model", cause="units of another codebook"
                )
            number, count, seconds = number + 1, count + len(units), seconds + length
            bits += self.utterance_bits(units)
        return HeldOut(number, count, bits, seconds)
