"""Questions to a report.json: results, gains, and which decoding and system the headline is about."""

from __future__ import annotations

from typing import NamedTuple

from spin import artifacts

SUFFIXES = {"features": "", "units": "_from_units"}  # what the recognisers read -> suffix of "asr" and "gain" in report.json


class Decoding(NamedTuple):
    """One decoding of every system. `source`: what the recognisers read, features or units."""

    source: str
    part: str
    method: str


def results(report: dict, source: str) -> dict:
    """System -> part -> method -> result; empty where no recogniser reads this source."""
    return report.get(f"asr{SUFFIXES[source]}") or {}


def decodings(report: dict, source: str | None = None) -> list[Decoding]:
    """The decodings of the baseline in the report's order, of one source or of all."""
    found = []
    for name in SUFFIXES if source is None else (source,):
        for part, methods in results(report, name).get(report["systems"][0], {}).items():
            found += [Decoding(name, part, method) for method in methods]
    return found


def result(report: dict, decoding: Decoding, system: str) -> dict | None:
    """Error rates of one system by one decoding."""
    return results(report, decoding.source).get(system, {}).get(decoding.part, {}).get(decoding.method)


def gain(report: dict, decoding: Decoding, system: str) -> dict:
    """Gain of one system over the baseline, with its p-value; empty for the baseline."""
    gains = report.get(f"gain{SUFFIXES[decoding.source]}") or {}
    return gains.get(system, {}).get(decoding.part, {}).get(decoding.method, {})


def subject(report: dict) -> str | None:
    """The system that the headline compares with the baseline: the trained one, otherwise the second; None when there is one."""
    others = report["systems"][1:]
    return artifacts.SPIN if artifacts.SPIN in others else next(iter(others), None)


def primary(report: dict) -> Decoding | None:
    """The decoding of the headline: features, the first test part, and the language model where it was used.

    None when no decoding has results of both the baseline and the subject.
    """
    compared = (report["systems"][0], subject(report) or report["systems"][0])
    usable = [item for item in decodings(report) if all(result(report, item, system) for system in compared)]
    if not usable:
        return None
    source = usable[0].source
    parts = list(dict.fromkeys(item.part for item in usable if item.source == source))
    wanted = (report.get("config") or {}).get("corpus", {}).get("test", [])
    part = next((name for name in wanted if name in parts), parts[0])
    methods = [item.method for item in usable if (item.source, item.part) == (source, part)]
    return Decoding(source, part, "hlg" if "hlg" in methods else methods[-1])
