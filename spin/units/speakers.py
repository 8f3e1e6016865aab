"""Speakers in units: normalized mutual information."""

from __future__ import annotations

from spin.units.counts import LabelCounts, normalized_mutual_information
from spin.units.sample import Sample, Utterance


class SpeakerNmi:
    """Over all utterances whose speaker is known."""

    def __init__(self, sample: Sample):
        self.counts = LabelCounts(sample.codebook_size)

    def add(self, utterance: Utterance) -> None:
        if utterance.speaker:
            self.counts.add(utterance.speaker, utterance.units)

    def figures(self) -> dict[str, float]:
        """speaker_nmi: 0 to 1; NaN without speakers."""
        return {"speaker_nmi": normalized_mutual_information(self.counts.matrix())}
