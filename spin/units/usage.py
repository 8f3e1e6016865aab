"""Usage of units (entropy, perplexity, bit rate, units in use), and how much of it noise changes."""

import math

import numpy as np
from kaldialign import edit_distance

from spin.units.counts import check_units, entropy
from spin.units.measure import EvaluationSet, Utterance
from spin.units.units import find_runs


class UnitUse:
    """Frames and segments (runs of equal units) of each unit; memory is O(K)."""

    def __init__(self, sample: EvaluationSet):
        self.codebook_size = sample.codebook_size
        self.frames = np.zeros(self.codebook_size, dtype=np.int64)
        self.segments = np.zeros(self.codebook_size, dtype=np.int64)
        self.seconds = 0.0

    def add(self, utterance: Utterance) -> None:
        units = check_units(utterance.units, self.codebook_size)
        self.frames += np.bincount(units, minlength=self.codebook_size)
        self.segments += np.bincount(find_runs(units)[0], minlength=self.codebook_size)
        self.seconds += utterance.seconds

    def compute(self) -> dict[str, float]:
        """Metrics by name; without audio or frames, rates and shares are NaN and entropies 0.

        bitrate: segments per second times the entropy of one, in bits per second (ZeroSpeech 2019, arXiv 1904.11469, section
        3.2, where a symbol is what the encoder sends). A run of equal units is one symbol here, and its length is not coded.
        """
        frames, segments, used = int(self.frames.sum()), int(self.segments.sum()), int(np.count_nonzero(self.frames))
        bits = entropy(self.frames / max(1, frames))
        rate = segments / self.seconds if self.seconds > 0 else math.nan
        return {
            "K": self.codebook_size,
            "bitrate": rate * entropy(self.segments / max(1, segments)),
            "unit_entropy": bits,
            "perplexity": 2.0**bits,
            "used_codes": used,
            "dead_codes": self.codebook_size - used,
            "segments_per_second": rate,
            "deduplicated_share": segments / frames if frames else math.nan,
        }


class EditDistance:
    """Unit edit distance: how much noise changes the units of the utterances of a noisy part (after arXiv 2209.15483).

    Levenshtein distance between the deduplicated units of noisy and of clean speech, in percent of the deduplicated clean units,
    over all utterances together. (The paper divides by frames instead.)
    """

    def __init__(self, sample: EvaluationSet):
        self._clean = sample.clean_units() if sample.clean_units else {}
        self.edits = self.length = 0

    def add(self, utterance: Utterance) -> None:
        if utterance.id in self._clean:
            clean, _ = find_runs(self._clean[utterance.id][: len(utterance.units)])
            noisy, _ = find_runs(utterance.units)
            self.edits += edit_distance(clean.tolist(), noisy.tolist())["total"]
            self.length += len(clean)

    def compute(self) -> dict[str, float]:
        """unit_edit_distance, in percent; NaN without clean units."""
        return {"unit_edit_distance": 100 * self.edits / self.length if self.length else math.nan}
