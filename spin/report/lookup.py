"""Questions to a report.json that fits its schema: figures, and which decoding and system the headline is about."""

from typing import NamedTuple

from spin import artifacts

SUFFIXES = {"features": "", "units": "_from_units"}  # what the recognisers read -> suffix of "asr" and "gain" in report.json


class Decoding(NamedTuple):
    """One decoding of every system."""

    input_kind: str  # what the recognisers read: features or units
    part: str
    method: str


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
