"""The material of the metrics: one system's units of some utterances, and how to read them again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from spin.errors import DataError


@dataclass(frozen=True)
class Utterance:
    """One utterance of one system.

    Attributes:
        id: utterance id.
        speaker: None where unknown.
        units: (T,) integers, 50 per second; only the first seconds where these are asked for.
        seconds: duration of the audio behind `units`.
        alignment: phone items in seconds; empty without an alignment.
        words: word items in seconds; empty without a word alignment.
        all_units: (T',) units of the whole utterance.
        load_features: reads (T', D) features of the whole utterance; None where there are none.
    """

    id: str
    speaker: str | None
    units: np.ndarray
    seconds: float
    alignment: Iterable = ()
    words: Iterable = ()
    all_units: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    load_features: Callable[[], np.ndarray] | None = None


@dataclass(frozen=True)
class Sample:
    """Utterances of one system, and the settings of all metrics.

    Attributes:
        codebook_size: K.
        seed: random seed of samples and splits.
        threads: for ABX; no result depends on it.
        abx_max_utterances: bound of the utterances that ABX compares.
        read: starts a pass over the utterances.
        clean_units: utterance id -> (T,) units of the same utterance without noise; None for clean parts.
    """

    codebook_size: int
    seed: int = 0
    threads: int = 1
    abx_max_utterances: int = 1000
    read: Callable[[], Iterator[Utterance]] = lambda: iter(())
    clean_units: Callable[[], dict[str, np.ndarray]] | None = None


class Family(Protocol):
    """Computes the figures of related metrics: made with a Sample, given each utterance once, asked once."""

    def add(self, utterance: Utterance) -> None: ...

    def figures(self) -> dict[str, float]: ...


def check_units(units: np.ndarray, codebook_size: int) -> np.ndarray:
    """(T,) integers as int64.

    Raises:
        DataError: one lies outside [0, codebook_size).
    """
    units = np.asarray(units, dtype=np.int64)
    if units.size and not 0 <= int(units.min()) <= int(units.max()) < codebook_size:
        found, expected = f"values from {units.min()} to {units.max()}", f"integers from 0 to {codebook_size - 1}"
        raise DataError("units", found=found, expected=expected, cause="units of another codebook")
    return units


def deduplicate(units: np.ndarray) -> np.ndarray:
    """Merges runs of equal units: (T,) -> (S,) with S <= T."""
    units = np.asarray(units)
    keep = np.ones(len(units), dtype=bool)
    keep[1:] = units[1:] != units[:-1]
    return units[keep]
