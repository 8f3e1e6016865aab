"""Usage of units: entropy, perplexity, bit rate, units in use."""

from __future__ import annotations

import math

import numpy as np

from spin.units.counts import entropy
from spin.units.sample import Sample, Utterance, check_units, deduplicate


class UnitUse:
    """Frames and segments (runs of equal units) of each unit; memory is O(K)."""

    def __init__(self, sample: Sample):
        self.codebook_size = sample.codebook_size
        self.frames = np.zeros(self.codebook_size, dtype=np.int64)
        self.segments = np.zeros(self.codebook_size, dtype=np.int64)
        self.seconds = 0.0

    def add(self, utterance: Utterance) -> None:
        """Counts one utterance; raises DataError for a unit outside [0, K)."""
        units = check_units(utterance.units, self.codebook_size)
        self.frames += np.bincount(units, minlength=self.codebook_size)
        self.segments += np.bincount(deduplicate(units), minlength=self.codebook_size)
        self.seconds += utterance.seconds

    def figures(self) -> dict[str, float]:
        """The figures by name.

        unit_entropy: entropy of a frame's unit in bits, 0 to log2 K; 0 without frames.
        perplexity: 2 to the entropy, 1 to K: as many equally frequent units would be as hard to guess.
        segments_per_second: 0 to 50; NaN without audio.
        deduplicated_share: 1 when no unit follows itself; NaN without frames.
        """
        frames, segments, used = int(self.frames.sum()), int(self.segments.sum()), int(np.count_nonzero(self.frames))
        bits = entropy(self.frames)
        return {
            "K": self.codebook_size,
            "bitrate": bitrate(self.segments, self.seconds),
            "unit_entropy": bits,
            "perplexity": 2.0**bits,
            "used_codes": used,
            "dead_codes": self.codebook_size - used,
            "segments_per_second": segments / self.seconds if self.seconds > 0 else math.nan,
            "deduplicated_share": segments / frames if frames else math.nan,
        }


def bitrate(symbol_counts: np.ndarray, seconds: float) -> float:
    """N / D * H(s): symbols per second times the entropy of one symbol, in bits per second.

    The definition of the ZeroSpeech challenge 2019 (arXiv 1904.11469, section 3.2), where a symbol is what the encoder sends.
    Here a run of equal units is one symbol, and its length is not coded.

    Args:
        symbol_counts: (K,) occurrences of each symbol, N in all.
        seconds: D, the duration of the audio.

    Returns:
        0 when only one symbol occurs; NaN without audio.
    """
    if not seconds > 0:
        return math.nan
    return float(np.sum(symbol_counts)) / seconds * entropy(symbol_counts)
