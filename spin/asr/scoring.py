"""Word and character error rates by kaldialign."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import kaldialign


@dataclass(frozen=True)
class ErrorCounts:
    """Edit counts of one utterance, or sums over many.

    Attributes:
        reference: number of symbols in the reference.
        insertions, deletions, substitutions: edits of the best alignment.
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
        """Errors per 100 reference symbols; can exceed 100. An empty reference gives 0 without errors, otherwise 100."""
        if self.reference == 0:
            return 100.0 if self.errors else 0.0
        return 100.0 * self.errors / self.reference

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        return ErrorCounts(*(first + second for first, second in zip(vars(self).values(), vars(other).values())))


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


def relative_reduction(before: float, after: float) -> float:
    """Reduction from `before` to `after` in percent of `before`; 0 where `before` is 0."""
    return 100.0 * (before - after) / before if before else 0.0
