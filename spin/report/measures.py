"""Questions to a report.json that fits its schema, and its figures as text: names, numbers, changes, p-values, times."""

import datetime
from typing import NamedTuple

from spin import artifacts
from spin.asr.decoders import DECODERS
from spin.objectives import OBJECTIVES
from spin.units.metrics import HIGHER, LOWER, Metric

NOT_MEASURED = "not measured"
SPACE = "\u00a0"  # keeps a figure and its unit on one line
MINUS, DASH = "\u2212", "\u2014"
SIGNIFICANT = 0.05  # the usual level of a test; the page names it
SUFFIXES = {"features": "", "units": "_from_units"}  # what the recognisers read -> suffix of "asr" and "gain" in report.json

WER = Metric("wer", "word error rate", 1, "%", LOWER, "Wrong, missing and added words per 100 words of the reference.", "")
CER = Metric("cer", "character error rate", 1, "%", LOWER, "The same, counted in characters.", "")
# Of a phone model's best path. Its result has "per" too, but the results of its seeds have only this key.
PER = Metric("wer", "phone error rate", 1, "%", LOWER, "The same, counted in phones.", "")


class Decoding(NamedTuple):
    """One decoding of every system."""

    input_kind: str  # what the recognisers read: features or units
    part: str
    method: str

    @property
    def title(self) -> str:
        """'test-clean, HLG with n-gram LM'."""
        return f"{self.part}, {method_title(self.method)}" + (", from units" if self.input_kind == "units" else "")


def unit_values(report: dict, metric: str) -> list[float | None]:
    """A metric of every system's units, pooled over the clean test parts."""
    return [report["units"][system].get(metric) for system in report["systems"]]


def results(report: dict, input_kind: str) -> dict:
    """System -> part -> method -> result; empty where no recogniser reads this input."""
    return report.get(f"asr{SUFFIXES[input_kind]}") or {}


def decodings(report: dict, input_kind: str | None = None) -> list[Decoding]:
    """The decodings in the report's order, of one kind of input or of all. Every system has them."""
    return [
        Decoding(name, part, method)
        for name in (SUFFIXES if input_kind is None else (input_kind,))
        for part, methods in results(report, name).get(report["systems"][0], {}).items()
        for method in methods
    ]


def result(report: dict, decoding: Decoding, system: str) -> dict:
    """Error rates of one system by one decoding."""
    return results(report, decoding.input_kind)[system][decoding.part][decoding.method]


def gain(report: dict, decoding: Decoding, system: str) -> dict:
    """Gain of one system over the baseline, with its p-value; empty for the baseline."""
    if system == report["systems"][0]:
        return {}
    return report[f"gain{SUFFIXES[decoding.input_kind]}"][system][decoding.part][decoding.method]


def subject(report: dict) -> str | None:
    """The system that the headline compares with the baseline: the trained one, otherwise the second; None when there is one."""
    others = report["systems"][1:]
    return artifacts.SPIN if artifacts.SPIN in others else next(iter(others), None)


def primary(report: dict) -> Decoding | None:
    """The decoding of the headline: features, the first test part, and the language model where it was used; None without one."""
    found = decodings(report)
    if not found:
        return None
    configured = (report.get("config") or {}).get("corpus", {}).get("test", [])
    parts = [item.part for item in found if item.input_kind == found[0].input_kind]
    part = next((name for name in configured if name in parts), parts[0])
    chosen = [item for item in found if (item.input_kind, item.part) == (found[0].input_kind, part)]
    return next((item for item in chosen if item.method == "hlg"), chosen[-1])


def error_measures(result: dict) -> tuple[Metric, ...]:
    """The error rates of a decoding, the tested one first: of words and characters, or of phones where it has only these."""
    return (WER, CER) if result.get("per") is None else (PER,)


def initials(measure: Metric) -> str:
    """'WER' for the word error rate."""
    return "".join(word[0] for word in measure.title.split()).upper()


def method_title(method: str) -> str:
    """The title of a decoder; a decoder of an older report may be gone."""
    return DECODERS[method].title if method in DECODERS else method.replace("_", " ")


def system_titles(report: dict) -> dict[str, str]:
    """Name -> title of each system; the trained one is called by its objective."""
    objective = (report.get("config") or {}).get("objective", "spin")
    trained = OBJECTIVES[objective].title if objective in OBJECTIVES else objective
    known = {"spin": trained, "fbank": "filterbank"}
    return {name: known.get(name, name.replace("_", " ")) for name in report["systems"]}


def number(value: float | None, digits: int, unit: str = "") -> str:
    """A figure as text; what rounds to zero has no sign.

    >>> number(-1.234, 2), number(-0.001, 1), number(None, 3)
    ('−1.23', '0.0', 'not measured')
    """
    if value is None:
        return NOT_MEASURED
    text = f"{round(value, digits) + 0.0:.{digits}f}"  # -0.0 + 0.0 is 0.0
    return text.replace("-", MINUS) + (SPACE + unit if unit else "")


def show(measure: Metric, value: float | None) -> str:
    """The figure with the digits and unit of its measure."""
    return number(value, measure.digits, measure.unit)


def interval(bounds: list[float]) -> str:
    """'39.7 to 42.7 %'."""
    return f"{number(bounds[0], 1)} to {number(bounds[1], 1, '%')}"


def signed(value: float | None) -> str:
    """A change in percent with its sign; a dash for None."""
    if value is None:
        return DASH
    return ("+" if value >= 0.05 else "") + number(value, 1, "%")


def p_value(value: float | None) -> str:
    if value is None:
        return f"p {NOT_MEASURED}"
    return f"p{SPACE}<{SPACE}0.001" if value < 0.001 else f"p{SPACE}={SPACE}{value:.3f}"


def duration(seconds: float | None) -> str:
    """'0:41:07': hours, minutes and seconds, after days if any."""
    return NOT_MEASURED if seconds is None else str(datetime.timedelta(seconds=round(seconds)))


def relative_change(baseline: float | None, other: float | None) -> float | None:
    """Change in percent of the baseline; None where it means nothing: a figure is missing, or the baseline is not above zero.

    >>> relative_change(40.0, 30.0), relative_change(0.0, 1.0)
    (-25.0, None)
    """
    if baseline is None or other is None or not baseline > 0:
        return None
    return 100.0 * (other - baseline) / baseline


def arrow(measure: Metric) -> str:
    """' ↓' where lower is better, ' ↑' where higher is."""
    return {LOWER: " \u2193", HIGHER: " \u2191"}.get(measure.direction, "")


def tone(measure: Metric, baseline: float | None, other: float | None) -> str:
    """'better' or 'worse' for a change in a measure that has a direction, otherwise ''."""
    if baseline is None or other is None or not measure.direction or baseline == other:
        return ""
    return "better" if (other < baseline) == (measure.direction == LOWER) else "worse"
