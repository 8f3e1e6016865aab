"""Word and character error rates by kaldialign, with bootstrap intervals and a paired comparison over all seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import kaldialign
import numpy as np

from spin.runtime import seeding

RESAMPLES_AT_ONCE = 64  # bounds the memory of the bootstrap


@dataclass(frozen=True)
class ErrorCounts:
    """Edit counts of one utterance, or sums over many.

    Attributes:
        reference: number of symbols in the reference.
        insertions, deletions, substitutions: of the best alignment.
    """

    reference: int = 0
    insertions: int = 0
    deletions: int = 0
    substitutions: int = 0

    @property
    def errors(self) -> int:
        """All edits."""
        return self.insertions + self.deletions + self.substitutions

    @property
    def rate(self) -> float:
        """Errors for 100 reference symbols; can pass 100. An empty reference gives 0 without errors, else 100."""
        if self.reference == 0:
            return 100.0 if self.errors else 0.0
        return 100.0 * self.errors / self.reference

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        return ErrorCounts(
            self.reference + other.reference,
            self.insertions + other.insertions,
            self.deletions + other.deletions,
            self.substitutions + other.substitutions,
        )


def count_edits(reference: Sequence[str], hypothesis: Sequence[str]) -> ErrorCounts:
    """Edits of the best alignment of two sequences, each edit costing 1."""
    counts = kaldialign.edit_distance(reference, hypothesis)
    return ErrorCounts(len(reference), counts["ins"], counts["del"], counts["sub"])


def count_words(reference: str, hypothesis: str) -> ErrorCounts:
    """Word edits of two texts."""
    return count_edits(reference.split(), hypothesis.split())


def count_characters(reference: str, hypothesis: str) -> ErrorCounts:
    """Character edits of two texts; the single spaces between words count as characters."""
    return count_edits(list(" ".join(reference.split())), list(" ".join(hypothesis.split())))


def total(counts: Iterable[ErrorCounts]) -> ErrorCounts:
    """Sum over utterances."""
    return sum(counts, ErrorCounts())


def _resampled_sums(values: Sequence[np.ndarray], samples: int, seed: int) -> list[np.ndarray]:
    """Sums of each array over `samples` draws of utterances with replacement; the same draws for all arrays.

    Args:
        values: arrays (N,), a number an utterance.
        samples: number of draws of N utterances each.
        seed: of the draws.
    """
    random = seeding.generator("bootstrap", seed)
    size = len(values[0])
    sums: list[list[np.ndarray]] = [[] for _ in values]
    for start in range(0, samples, RESAMPLES_AT_ONCE):
        drawn = random.integers(size, size=(min(RESAMPLES_AT_ONCE, samples - start), size))
        for kept, array in zip(sums, values):
            kept.append(np.asarray(array, dtype=np.int64)[drawn].sum(axis=1))
    return [np.concatenate(kept) for kept in sums]


def bootstrap_interval(errors: Sequence[int], references: Sequence[int], samples: int, seed: int) -> tuple[float, float]:
    """95 % percentile interval of an error rate over utterances (Bisani and Ney 2004).

    Args:
        errors: (N,) edits of each utterance, summed over seeds, which share their utterances and so are no independent draws.
        references: (N,) reference symbols of each utterance, summed likewise.
        samples: number of bootstrap samples.
        seed: of the draws.

    Returns:
        (low, high) in percent; (0, 0) without any utterance.
    """
    if len(errors) == 0:
        return 0.0, 0.0
    drawn_errors, drawn_references = _resampled_sums([np.asarray(errors), np.asarray(references)], samples, seed)
    rates = 100.0 * drawn_errors / np.maximum(drawn_references, 1)
    low, high = np.percentile(rates, [2.5, 97.5])
    return float(low), float(high)


def paired_p_value(first: Sequence[int], second: Sequence[int], samples: int, seed: int) -> float:
    """Two-sided paired bootstrap over utterances: how often resampling turns the sign of the difference, or leaves none.

    Args:
        first: (N,) edits of one system, summed over seeds.
        second: (N,) edits of the other on the same utterances.
        samples: number of bootstrap samples; the smallest p-value is 2 / (samples + 1).
        seed: of the draws.

    Returns:
        In (0, 1]; 1 where the two do not differ or there is no utterance.
    """
    if len(first) == 0:
        return 1.0
    (differences,) = _resampled_sums([np.asarray(first, dtype=np.int64) - np.asarray(second, dtype=np.int64)], samples, seed)
    rarer = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2.0 * (rarer + 1) / (samples + 1))


def relative_reduction(before: float, after: float) -> float:
    """By how much `after` lies below `before`, in percent of `before`; 0 where `before` is 0."""
    return 100.0 * (before - after) / before if before else 0.0
