"""Error rates and unit metrics as a report shows them: each has name, title, digits, unit, direction and meaning."""

from __future__ import annotations

from dataclasses import dataclass

from spin.report import formatting
from spin.units.metrics import HIGHER, LOWER

METHOD_TITLES = {"ctc_1best": "CTC, best path", "hlg": "HLG with n-gram LM", "hlg_lattice": "HLG, lattices rescored"}


@dataclass(frozen=True)
class Measure:
    """A figure of a report that is not in METRICS, with the same attributes.

    Attributes:
        name: its key in report.json.
        title: what people call it.
        digits: digits after the point.
        unit: text behind the number; "%" for percentages, "" for ratios.
        direction: "lower" or "higher" is better, or "" where neither is better by itself.
        meaning: one sentence for a reader who does not know it.
    """

    name: str
    title: str
    digits: int
    unit: str
    direction: str
    meaning: str


WER = Measure("wer", "word error rate", 1, "%", LOWER, "Wrong, missing and added words per 100 words of the reference.")
CER = Measure("cer", "character error rate", 1, "%", LOWER, "The same, counted in characters.")
# Of a phone model's best path. Its result has "per" too, but the results of its seeds have only this key.
PER = Measure("wer", "phone error rate", 1, "%", LOWER, "The same, counted in phones.")


def error_measures(*results: dict | None) -> tuple[Measure, ...]:
    """The error rates of a decoding, the tested one first: of words and characters, or of phones where a result says so."""
    return (PER,) if any(result is not None and result.get("per") is not None for result in results) else (WER, CER)


def initials(measure: Measure) -> str:
    """'WER' for the word error rate."""
    return "".join(word[0] for word in measure.title.split()).upper()


def method_title(method: str) -> str:
    return METHOD_TITLES.get(method, method.replace("_", " "))


def show(measure, value: float | None) -> str:
    """The figure as text, 'not measured' for None."""
    return formatting.number(value, measure.digits, measure.unit)


def arrow(measure) -> str:
    """' ↓' where lower is better, ' ↑' where higher is."""
    return {LOWER: " \u2193", HIGHER: " \u2191"}.get(measure.direction, "")


def tone(measure, baseline: float | None, other: float | None) -> str:
    """'better' or 'worse' for a change in a measure that has a direction, otherwise ''."""
    if baseline is None or other is None or not measure.direction or baseline == other:
        return ""
    return "better" if (other < baseline) == (measure.direction == LOWER) else "worse"
