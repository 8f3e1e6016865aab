"""The answer in a sentence: does the trained system lower the error on the test part, by how much, and could it be chance?"""

from __future__ import annotations

from dataclasses import dataclass

from spin.report import lookup, measures
from spin.report.measures import SIGNIFICANT, show
from spin.units.metrics import find_metric

BETTER, WORSE, UNCLEAR, OPEN = "better", "worse", "unclear", "open"


@dataclass(frozen=True)
class Headline:
    """Top of the report."""

    verdict: str  # better, worse, unclear (may be chance) or open (nothing to compare)
    figure: str  # the relative change in large type; '' where there is none
    title: str  # the answer in one sentence
    detail: str  # intervals, test, and the other systems


def headline(report: dict) -> Headline:
    """The headline of a report.json; it says plainly when there is no gain, or none that chance would not explain."""
    where, system = lookup.primary(report), lookup.subject(report)
    if where is None:
        return _units_only(report, system)
    before = lookup.result(report, where, report["systems"][0])
    measure = measures.error_measures(before)[0]
    if system is None:
        title = f"The {measure.title} on {where.part} is {show(measure, before['wer'])}"
        return Headline(OPEN, "", title, f"{measures.method_title(where.method)}; there is no second system to compare.")
    after = lookup.result(report, where, system)["wer"]
    p = lookup.gain(report, where, system)["p_value"]
    clear = before["wer"] != after and p is not None and p < SIGNIFICANT
    verdict = measures.tone(measure, before["wer"], after) if clear else UNCLEAR
    title = _title(report, verdict, f"the {measure.title} on {where.part}", before["wer"], after)
    figure = measures.signed(measures.relative_change(before["wer"], after))
    return Headline(verdict, figure, title, _detail(report, where, p))


def _units_only(report: dict, system: str | None) -> Headline:
    """The headline of a run without recognisers: which systems the cards compare, and who has the highest PNMI."""
    titles, metric = measures.system_titles(report), find_metric("pnmi")
    figures = [pair for pair in zip(lookup.unit_figures(report, "pnmi"), titles.values()) if pair[0] is not None]
    sentences = [] if system is None else [f"The figures below go from {titles[report['systems'][0]]} to {titles[system]}."]
    if len(figures) > 1:
        best, name = max(figures)
        sentences.append(f"Highest {metric.title} of {len(figures)} systems: {name}, {show(metric, best)}.")
    return Headline(OPEN, "", "Units are compared; no recogniser was trained", " ".join(sentences))


def _title(report: dict, verdict: str, rate: str, before: float, after: float) -> str:
    system = measures.system_titles(report)[lookup.subject(report)]
    numbers = f"{show(measures.WER, before)} \u2192 {show(measures.WER, after)}"
    if verdict in (BETTER, WORSE):
        change = measures.relative_change(before, after)
        by = "" if change is None else f" by {show(measures.WER, abs(change))} relative"
        return f"{system} {'lowers' if verdict == BETTER else 'raises'} {rate}{by}: {numbers}"
    if before == after:
        return f"No gain: {rate} is {show(measures.WER, before)} with and without {system}"
    return f"No reliable gain: {rate} goes {numbers} with {system}, which may be chance"


def _detail(report: dict, where: lookup.Decoding, p: float | None) -> str:
    titles, seeds = measures.system_titles(report), len(report["seeds"])
    results = {name: lookup.result(report, where, name) for name in titles}
    first = results[report["systems"][0]]
    method = measures.method_title(where.method) + ("" if where.source == "features" else ", from units")
    compared = (report["systems"][0], lookup.subject(report))
    spans = [f"{titles[name]} {measures.interval(results[name]['ci95'])}" for name in compared]
    test = "no test of significance was made" if p is None else f"paired test {measures.p_value(p)}"
    test += f", not below {SIGNIFICANT:g}" if p is not None and p >= SIGNIFICANT else ""
    words = f"{first['words'] // seeds:,}"  # errors and words are sums over the seeds
    words += " words" if first.get("per") is None else " phones"
    trained = "one recogniser" if seeds == 1 else f"{seeds} recognisers"
    detail = f"{method}; 95\u00a0% intervals: {', '.join(spans)}; {test}; {words}, {trained} trained per system."
    if len(titles) > 2:
        best = min(results, key=lambda name: results[name]["wer"])
        detail += f" Lowest of {len(titles)} systems: {titles[best]}, {show(measures.WER, results[best]['wer'])}."
    return detail
