"""The table of unit metrics. Stage 3 measures them, the report displays them and the layer sweep tabulates them from here.

To add a metric: write a class with add() and compute(), and a line in METRICS for each number that it computes. This module
imports nothing heavy, so that the report can read it where k2 runs.
"""

from dataclasses import dataclass

LOWER, HIGHER, NEITHER = "lower", "higher", ""


@dataclass(frozen=True)
class Metric:
    """One metric of a system's units."""

    name: str  # key in metrics.json and report.json
    title: str  # what people call it
    digits: int  # after the decimal point
    unit: str  # written behind the number; "" for ratios and counts
    direction: str  # LOWER or HIGHER where that is better
    meaning: str  # one sentence for a reader who has not met it
    computer: str  # "module:Class" that computes it, a MetricComputer (spin/units/measure.py); in the key of the metrics

    def show(self, value: float | None) -> str:
        """The value with its digits, without its unit; a dash for None."""
        return "\u2014" if value is None else f"{value:.{self.digits}f}"


# Classes that compute them
_USAGE = "spin.units.usage:UnitUse"
_PURITY = "spin.units.counts:Purity"
_EDGES = "spin.units.boundaries:Boundaries"
_ABX = "spin.units.abx:Abx"
_SPEAKER = "spin.units.counts:SpeakerNmi"
_PROBE = "spin.units.speaker_probe:SpeakerProbe"
_LM = "spin.units.unit_lm:Predictability"
_CHARACTERS = "spin.units.counts:CharacterNmi"
_EDITS = "spin.units.usage:EditDistance"

METRICS: tuple[Metric, ...] = (
    Metric("K", "codebook size (K)", 0, "", NEITHER, "Number of codes, or of k-means clusters.", _USAGE),
    Metric("pnmi", "PNMI", 3, "", HIGHER, "Share of the uncertainty about the phone that the unit removes.", _PURITY),
    Metric("phone_purity", "phone purity", 3, "", HIGHER, "Accuracy when each unit is read as its commonest phone.", _PURITY),
    Metric("cluster_purity", "cluster purity", 3, "", NEITHER, "Share of a phone's frames in its commonest unit.", _PURITY),
    Metric("abx_within", "ABX error, same speaker", 1, "%", LOWER, "How often X is closer to another phone than its own.", _ABX),
    Metric("abx_across", "ABX error, across speakers", 1, "%", LOWER, "The same, where X is of another speaker.", _ABX),
    Metric("abx_units_within", "ABX error of units, same speaker", 1, "%", LOWER, "Of units instead of features.", _ABX),
    Metric("abx_units_across", "ABX error of units, across speakers", 1, "%", LOWER, "Of units instead of features.", _ABX),
    Metric("bitrate", "bit rate", 1, "bit/s", NEITHER, "Entropy of the deduplicated units per second.", _USAGE),
    Metric("ngram_bitrate", "bit rate by trigrams", 1, "bit/s", LOWER, "The same, knowing the two units before.", _LM),
    Metric("ngram_perplexity", "trigram perplexity", 1, "", LOWER, "Choices per deduplicated unit for a trigram model.", _LM),
    Metric("perplexity", "perplexity", 1, "", HIGHER, "Effective number of units; K when all are used equally.", _USAGE),
    Metric("unit_entropy", "entropy", 2, "bit", HIGHER, "Entropy of the unit of a frame.", _USAGE),
    Metric("used_codes", "units used", 0, "", NEITHER, "Units that occur at least once.", _USAGE),
    Metric("dead_codes", "dead units", 0, "", NEITHER, "Units that never occur.", _USAGE),
    Metric("segments_per_second", "changes per second", 1, "1/s", NEITHER, "Deduplicated units per second.", _USAGE),
    Metric("deduplicated_share", "deduplicated length", 3, "", NEITHER, "Length after deduplication to before.", _USAGE),
    Metric("boundary_r_value", "boundary R-value", 3, "", HIGHER, "Match of unit and phone changes; 1 at best.", _EDGES),
    Metric("boundary_f1", "boundary F1", 3, "", HIGHER, "Harmonic mean of boundary precision and recall.", _EDGES),
    Metric("boundary_precision", "boundary precision", 3, "", HIGHER, "Share of unit changes at a phone change (20 ms).", _EDGES),
    Metric("boundary_recall", "boundary recall", 3, "", HIGHER, "Share of phone changes at a unit change (20 ms).", _EDGES),
    Metric("boundary_over_segmentation", "over-segmentation", 3, "", NEITHER, "Unit changes per phone change, less 1.", _EDGES),
    Metric("speaker_nmi", "NMI of units and speakers", 4, "", LOWER, "What a unit tells of the speaker; 0: nothing.", _SPEAKER),
    Metric("speaker_accuracy", "speaker from units", 3, "", NEITHER, "Accuracy of a classifier on unit histograms.", _PROBE),
    Metric("speaker_accuracy_of_features", "speaker from features", 3, "", NEITHER, "The same on mean features.", _PROBE),
    Metric("speaker_chance", "speaker by guessing", 3, "", NEITHER, "Accuracy of naming the commonest speaker.", _PROBE),
    Metric("character_nmi", "NMI of units and characters", 3, "", HIGHER, "What units and spelling share.", _CHARACTERS),
    Metric("unit_edit_distance", "unit edit distance", 1, "%", LOWER, "Edits from clean to noisy units, per clean unit.", _EDITS),
)


def find_metric(name: str) -> Metric:
    """The metric of that name; KeyError when there is none."""
    return {metric.name: metric for metric in METRICS}[name]
