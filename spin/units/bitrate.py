"""What units cost: entropy, bitrate, code perplexity, codes in use."""

from __future__ import annotations

import math

import numpy as np

from spin.units.checks import checked_units


class UnitUse:
    """Counts of frames and of segments (runs of equal units) of each unit, fed utterance by utterance; memory is O(K).

    Args:
        units: size of the inventory K.
    """

    def __init__(self, units: int):
        self.units = units
        self.frames = np.zeros(units, dtype=np.int64)
        self.segments = np.zeros(units, dtype=np.int64)
        self.seconds = 0.0

    def add(self, units: np.ndarray, seconds: float) -> None:
        """Counts one utterance: (T,) integers in [0, K), and the duration of its audio.

        Raises:
            DataError: a unit outside [0, K).
        """
        units = checked_units(units, self.units)
        self.frames += np.bincount(units, minlength=self.units)
        self.segments += np.bincount(deduplicated(units), minlength=self.units)
        self.seconds += seconds

    def merge(self, other: UnitUse) -> None:
        """Adds the counts of another part (same K)."""
        self.frames += other.frames
        self.segments += other.segments
        self.seconds += other.seconds

    def entropy(self) -> float:
        """Entropy of a frame's unit in bits, 0 to log2 K; 0 for no frames."""
        return entropy(self.frames)

    def perplexity(self) -> float:
        """2 to the entropy of a frame's unit: 1 to K, the number of equally used units that would be as hard to guess."""
        return 2.0 ** entropy(self.frames)

    def used(self) -> int:
        """Units that occur at all; K less this are dead."""
        return int(np.count_nonzero(self.frames))

    def segment_rate(self) -> float:
        """Deduplicated units a second, 0 to 50; NaN without audio."""
        return float(self.segments.sum()) / self.seconds if self.seconds > 0 else math.nan

    def deduplicated_share(self) -> float:
        """Length after deduplication over the length before: 1 when no unit follows itself; NaN for no frames."""
        frames = int(self.frames.sum())
        return int(self.segments.sum()) / frames if frames else math.nan

    def bitrate(self) -> float:
        """Bits a second of the deduplicated units (see the function); NaN without audio."""
        return bitrate(self.segments, self.seconds)


def deduplicated(units: np.ndarray) -> np.ndarray:
    """Each run of equal units becomes one: (T,) -> (S,) with S <= T."""
    units = np.asarray(units)
    keep = np.ones(len(units), dtype=bool)
    keep[1:] = units[1:] != units[:-1]
    return units[keep]


def entropy(counts: np.ndarray) -> float:
    """Entropy in bits of the distribution that non-negative counts give; 0 when all are 0 or only one is not."""
    counts = np.asarray(counts, dtype=np.float64)
    counts = counts[counts > 0]
    if not len(counts):
        return 0.0
    shares = counts / counts.sum()
    return max(0.0, float(-(shares * np.log2(shares)).sum()))


def bitrate(symbol_counts: np.ndarray, seconds: float) -> float:
    """N / D * H(s): symbols a second times the entropy of one symbol, in bits a second.

    The definition of the ZeroSpeech challenge 2019 (arXiv 1904.11469, section 3.2), where a symbol is what the encoder sends:
    here a run of equal units is one symbol, its length is not coded.

    Args:
        symbol_counts: (K,) occurrences of each symbol, N in all.
        seconds: D, the duration of the audio.

    Returns:
        0 when only one symbol occurs; NaN without audio.
    """
    if not seconds > 0:
        return math.nan
    return float(np.sum(symbol_counts)) / seconds * entropy(symbol_counts)
