"""Stage 3's quality figures: one pass over a part's manifest for the cheap ones, then ABX."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from lhotse.array import TemporalArray

from spin import artifacts
from spin.config import UnitsConfig
from spin.units.abx import AbxResult, abx
from spin.units.abx_design import Design, design, sample_utterances, triphones
from spin.units.bitrate import UnitUse
from spin.units.phones import LABELS_A_UNIT, alignment_of, frame_labels
from spin.units.purity import JointCounts, cluster_purity, phone_purity, pnmi
from spin.units.segmentation import BorderCounts
from spin.units.shards import hidden_of, load_array, read_cuts, units_of
from spin.units.speaker_nmi import SpeakerCounts, nmi
from spin.units.speaker_probe import histogram


@dataclass
class PartMeasures:
    """What one pass over a part (or several, merged) counts for one system."""

    counts: JointCounts  # of utterances with an alignment
    use: UnitUse
    borders: BorderCounts  # of utterances with an alignment
    by_speaker: SpeakerCounts
    means: list[np.ndarray] = field(default_factory=list)  # (D,) an utterance with a speaker
    histograms: list[np.ndarray] = field(default_factory=list)  # (K,) float32 shares of its frames
    names: list[str] = field(default_factory=list)
    speakers: list[str] = field(default_factory=list)
    aligned: dict[str, str] = field(default_factory=dict)  # utterance -> speaker

    @classmethod
    def empty(cls, clusters: int) -> PartMeasures:
        """Of nothing yet, for K units."""
        return cls(JointCounts(clusters), UnitUse(clusters), BorderCounts(), SpeakerCounts(clusters))

    def add(
        self, name: str, speaker: str | None, units: np.ndarray, seconds: float, alignment: list | None, mean: np.ndarray | None
    ) -> None:
        """Counts one utterance.

        Args:
            name, speaker: of the utterance; None: not known.
            units: (T,) integers in [0, K).
            seconds: of its audio.
            alignment: its phones; None or none of them: it has no part in purities, PNMI and borders.
            mean: (D,) of its features, for the speaker probe; None: there is to be none.

        Raises:
            DataError: a unit outside [0, K).
        """
        self.use.add(units, seconds)
        if alignment:
            self.counts.add(frame_labels(alignment, LABELS_A_UNIT * len(units)), units)
            self.borders.add(alignment, units)
            self.aligned[name] = speaker or ""
        if speaker:
            self.by_speaker.add(speaker, units)
            self.histograms.append(histogram(units, self.use.units))
            self.names.append(name)
            self.speakers.append(speaker)
            if mean is not None:
                self.means.append(mean)

    def merge(self, other: PartMeasures) -> None:
        """Adds another part (same K)."""
        self.counts.merge(other.counts)
        self.use.merge(other.use)
        self.borders.merge(other.borders)
        self.by_speaker.merge(other.by_speaker)
        self.means += other.means
        self.histograms += other.histograms
        self.names += other.names
        self.speakers += other.speakers
        self.aligned |= other.aligned

    def figures(self) -> dict:
        """Figures by their names in report.json; NaN where there is nothing to measure them on."""
        counts = self.counts.matrix()
        return {
            "K": self.use.units,
            "pnmi": pnmi(counts),
            "phone_purity": phone_purity(counts),
            "cluster_purity": cluster_purity(counts),
            "bitrate": self.use.bitrate(),
            "unit_entropy": self.use.entropy(),
            "perplexity": self.use.perplexity(),
            "used_codes": self.use.used(),
            "dead_codes": self.use.units - self.use.used(),
            "segments_per_second": self.use.segment_rate(),
            "deduplicated_share": self.use.deduplicated_share(),
            **{f"border_{name}": value for name, value in self.borders.figures().items()},
            "speaker_nmi": nmi(self.by_speaker.matrix()),
        }


def measure_part(manifest: Path, clusters: int, first_seconds: float = 0.0) -> PartMeasures:
    """One pass over a system's manifest of a part.

    Args:
        manifest: cuts with HIDDEN_FIELD and UNITS_FIELD.
        clusters: K.
        first_seconds: purities, PNMI, borders, bitrate, speaker NMI and histograms look only at the first seconds of each
            utterance (10: the official validation); 0: at all of it. The speaker probe's means are always over whole utterances.
    """
    measures = PartMeasures.empty(clusters)
    limit = round(first_seconds / artifacts.FRAME_SHIFT_IN_S) if first_seconds > 0 else None
    for cut in read_cuts(manifest):
        seconds = min(cut.duration, first_seconds) if first_seconds > 0 else cut.duration
        speaker = cut.supervisions[0].speaker if cut.supervisions else None
        mean = hidden_of(cut).astype(np.float32).mean(0) if speaker else None
        measures.add(cut.id, speaker, units_of(cut)[:limit], seconds, alignment_of(cut), mean)
    return measures


def abx_design(manifests: Iterable[Path], aligned: dict[str, str], config: UnitsConfig, seed: int, log: logging.Logger) -> Design:
    """The comparisons of the triphone ABX, from alignments alone, so that every system is asked the same."""
    chosen = set(sample_utterances(aligned, config.abx_max_utterances, seed))
    items = []
    for manifest in manifests:
        for cut in read_cuts(manifest):
            if cut.id in chosen:
                frames = cut.custom[artifacts.UNITS_FIELD].shape[0]
                items.extend(triphones(cut.id, aligned[cut.id], alignment_of(cut) or (), frames))
    limits = (config.abx_max_per_context, config.abx_max_x_across, config.abx_max_distances)
    made = design(items, *limits, seed=seed)
    text = "ABX: %d utterances, %d triphones; %d compared, at most %d a group; %d cells within, %d across speakers"
    log.info(text, len(chosen), len(items), len(made.items), made.items_a_group, len(made.within), len(made.across))
    return made


def measure_abx(made: Design, manifests: Iterable[Path], name: str, threads: int) -> AbxResult:
    """ABX of one system's field (HIDDEN_FIELD: angular distance, UNITS_FIELD: one-hot units)."""
    needed, arrays = set(made.utterances), {}
    for manifest in manifests:
        arrays |= {cut.id: cut.custom[name] for cut in read_cuts(manifest) if cut.id in needed}

    def load(utterance: str) -> np.ndarray:
        array: TemporalArray = arrays[utterance]
        return load_array(utterance, array)

    return abx(made, load, threads)


def without_nan(tree):
    """JSON has no NaN: what could not be measured is null."""
    if isinstance(tree, dict):
        return {key: without_nan(value) for key, value in tree.items()}
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
