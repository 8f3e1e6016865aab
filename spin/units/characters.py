"""Character NMI: what units and the spelling of the words tell about each other.

A proxy for the quality of a language model on units, among the best in arXiv 2410.24177 (DC-Spin). The text at hand does not
define the alignment of characters, so this is ours: the letters of a word share its time equally, and frames outside all words
do not count.
"""

from __future__ import annotations

import numpy as np

from spin import artifacts
from spin.units.counts import LabelCounts, normalized_mutual_information
from spin.units.sample import Sample, Utterance


class CharacterNmi:
    """Over the utterances that have a word alignment."""

    def __init__(self, sample: Sample):
        self.counts = LabelCounts(sample.codebook_size)

    def add(self, utterance: Utterance) -> None:
        labels = character_labels(utterance.words, len(utterance.units))
        inside = np.array([label != "" for label in labels], dtype=bool)
        if inside.any():
            self.counts.add([label for label in labels if label], np.asarray(utterance.units)[inside])

    def figures(self) -> dict[str, float]:
        """character_nmi: 0 to 1; NaN without word alignments."""
        return {"character_nmi": normalized_mutual_information(self.counts.matrix())}


def character_labels(words, frames: int) -> list[str]:
    """The character at the middle of each of `frames` frames of 20 ms; "" outside all words.

    Args:
        words: alignment items in seconds, not overlapping.
        frames: T.
    """
    labels = [""] * frames
    middles = (np.arange(frames) + 0.5) * artifacts.FRAME_SHIFT_IN_S
    for word in words:
        first, last = np.searchsorted(middles, [word.start, word.start + word.duration])
        for frame in range(first, last) if word.symbol and word.duration > 0 else ():
            position = int((middles[frame] - word.start) / word.duration * len(word.symbol))
            labels[frame] = word.symbol[min(position, len(word.symbol) - 1)]
    return labels
