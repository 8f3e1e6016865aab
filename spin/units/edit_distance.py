"""Unit edit distance: how much noise changes the units of an utterance (after Gat et al., arXiv 2209.15483).

Levenshtein distance between the deduplicated units of noisy and of clean speech, in percent of the deduplicated clean units,
over all utterances together. (The paper divides by frames instead.)
"""

from __future__ import annotations

import math

import numpy as np

from spin.units.sample import Sample, Utterance, deduplicate


class EditDistance:
    """Over the utterances of a noisy part; nothing to measure in a clean one."""

    def __init__(self, sample: Sample):
        self._clean = sample.clean_units() if sample.clean_units else {}
        self.edits = self.length = 0

    def add(self, utterance: Utterance) -> None:
        clean = self._clean.get(utterance.id)
        if clean is None:
            return
        clean = deduplicate(clean[: len(utterance.units)])
        self.edits += edit_distance(clean, deduplicate(utterance.units))
        self.length += len(clean)

    def figures(self) -> dict[str, float]:
        """unit_edit_distance: percent, 0 when noise changes nothing; NaN without clean units."""
        return {"unit_edit_distance": 100 * self.edits / self.length if self.length else math.nan}


def edit_distance(one: np.ndarray, other: np.ndarray) -> int:
    """Insertions, deletions and substitutions that turn one sequence of integers into the other."""
    from kaldialign import edit_distance as align

    return int(align(np.asarray(one).tolist(), np.asarray(other).tolist())["total"])
