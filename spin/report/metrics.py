"""What a report measures: title, scale and direction of every figure, and how a figure is written out."""

from __future__ import annotations

import math
from dataclasses import dataclass

SIGNIFICANT = 0.05  # the usual level of a test; the page names it
NOT_MEASURED = "not measured"
SPACE = "\u00a0"  # keeps a figure and its unit on one line
MINUS = "\u2212"
LOWER, HIGHER, NEITHER = "lower", "higher", ""


@dataclass(frozen=True)
class Metric:
    """One figure of a system.

    Args:
        key: its key in report.json.
        title: what people call it.
        decimals: digits after the point.
        unit: written behind the number; "%" for percentages, "" for ratios.
        better: "lower", "higher", or "" where neither is better by itself.
        meaning: one sentence for a reader who has not met it.
    """

    key: str
    title: str
    decimals: int
    unit: str
    better: str
    meaning: str

    def show(self, value: float | None) -> str:
        """The figure as text, 'not measured' for None."""
        return number(value, self.decimals, self.unit)


UNIT_METRICS = (
    Metric("K", "units (K)", 0, "", NEITHER, "Size of the codebook, and of the k-means that stands against it."),
    Metric("pnmi", "PNMI", 3, "", HIGHER, "Share of the uncertainty about the phone that the unit takes away."),
    Metric("phone_purity", "phone purity", 3, "", HIGHER, "Accuracy when each unit is read as its commonest phone."),
    Metric("cluster_purity", "cluster purity", 3, "", NEITHER, "Share of a phone's frames in its commonest unit; falls with K."),
    Metric(
        "abx_within", "ABX error, same speaker", 1, "%", LOWER, "How often a phone looks closer to another one than to itself."
    ),
    Metric("abx_across", "ABX error, across speakers", 1, "%", LOWER, "The same, with the two examples from different speakers."),
    Metric("abx_units_within", "ABX error of the units, same speaker", 1, "%", LOWER, "As above, of the units by themselves."),
    Metric("abx_units_across", "ABX error of the units, across speakers", 1, "%", LOWER, "As above, of the units by themselves."),
    Metric("bitrate", "bit rate", 1, "bit/s", NEITHER, "Information in the stream of units each second."),
    Metric("perplexity", "perplexity", 1, "", HIGHER, "How many of the K units are in real use; K when all are used alike."),
    Metric("used_codes", "units ever used", 0, "", NEITHER, "Units that at least one frame has."),
    Metric(
        "border_r_value", "R-value of unit borders", 3, "", HIGHER, "How well the unit changes where the phone does; 1 at best."
    ),
    Metric("border_f1", "F1 of unit borders", 3, "", HIGHER, "The same as a share of borders found and right."),
    Metric("speaker_nmi", "NMI of units and speakers", 4, "", LOWER, "What a unit tells of the speaker; 0: nothing."),
    Metric("speaker_accuracy", "speaker recognised by units", 3, "", NEITHER, "The classifier below, on shares of units."),
)
SPEAKER_METRIC = Metric(
    "accuracy",
    "speaker recognised",
    3,
    "",
    NEITHER,
    "Accuracy of a linear classifier of speakers: what is left of the voice.",
)
WER = Metric("wer", "word error rate", 1, "%", LOWER, "Wrong, missing and added words for each 100 words of the reference.")
CER = Metric("cer", "character error rate", 1, "%", LOWER, "The same, counted in characters.")
# Of the best path of a phone model; its result carries "per" too, but those of its seeds have the one key.
PER = Metric("wer", "phone error rate", 1, "%", LOWER, "The same, counted in phones.")
METHOD_TITLES = {
    "ctc_1best": "CTC, best path",
    "hlg": "HLG with n-gram LM",
    "hlg_nbest": "HLG, n-best texts rescored",
    "hlg_lattice": "HLG, lattices rescored",
}
SYSTEM_TITLES = {"baseline": "baseline", "spin": "Spin", "fbank": "filterbank"}


def recognition_metrics(*results: dict | None) -> tuple[Metric, ...]:
    """The error rates of a decoding, the tested one first: of words and of characters, or of phones where a result says so."""
    return (PER,) if any(result is not None and "per" in result for result in results) else (WER, CER)


def initials(metric: Metric) -> str:
    """'WER' for the word error rate."""
    return "".join(word[0] for word in metric.title.split()).upper()


def method_title(method: str) -> str:
    return METHOD_TITLES.get(method, method.replace("_", " "))


def system_title(system: str) -> str:
    return SYSTEM_TITLES.get(system, system.replace("_", " "))


def number(value: float | None, decimals: int, unit: str = "") -> str:
    """-1.234 with two decimals -> '−1.23'; None -> 'not measured'; what rounds to zero has no sign."""
    if value is None:
        return NOT_MEASURED
    text = f"{abs(value):.{decimals}f}"
    sign = MINUS if value < 0 and float(text) != 0 else ""
    return sign + text + (SPACE + unit if unit else "")


def relative_change(baseline: float | None, other: float | None) -> float | None:
    """Change from baseline to other in per cent of the baseline, negative where it falls.

    None where it means nothing: a figure is missing, or the baseline is not above zero, as an R-value may be.
    """
    if baseline is None or other is None or not baseline > 0 or not math.isfinite(baseline) or not math.isfinite(other):
        return None
    return 100.0 * (other - baseline) / baseline


def signed(value: float | None, decimals: int = 1, unit: str = "%") -> str:
    """A change with its sign: '+3.1 %', '−12.4 %', '0.0 %'; an em dash for None."""
    if value is None:
        return "\u2014"
    text = number(value, decimals, unit)
    return "+" + text if value > 0 and float(f"{value:.{decimals}f}") != 0 else text


def p_value(value: float | None) -> str:
    """'p = 0.031', 'p < 0.001' or 'p not measured'."""
    if value is None:
        return f"p {NOT_MEASURED}"
    text = "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
    return text.replace(" ", SPACE)


def tone(metric: Metric, baseline: float | None, other: float | None) -> str:
    """'better' or 'worse' for a change in a metric that has a direction, else ''."""
    if baseline is None or other is None or not metric.better or baseline == other:
        return ""
    return "better" if (other < baseline) == (metric.better == LOWER) else "worse"


def duration(seconds: float | None) -> str:
    """'41 s', '3 min 05 s' or '2 h 03 min'."""
    if seconds is None:
        return NOT_MEASURED
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f}{SPACE}s" if seconds < 10 else f"{whole}{SPACE}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}{SPACE}min {rest:02d}{SPACE}s"
    return f"{minutes // 60}{SPACE}h {minutes % 60:02d}{SPACE}min"
