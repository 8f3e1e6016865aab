"""The answer in a sentence: does the trained system lower the error on the test part, by how much, and could it be chance?"""

from __future__ import annotations

from dataclasses import dataclass

from spin.report import formatting, lookup, measures
from spin.report.formatting import SIGNIFICANT
from spin.report.measures import Measure, show

BETTER, WORSE, UNCLEAR, OPEN = "better", "worse", "unclear", "open"


@dataclass(frozen=True)
class Headline:
    """Top of the report.

    Attributes:
        verdict: better, worse, unclear (may be chance) or open (nothing to compare).
        figure: the relative change in large type, '' where there is none.
        title: the answer in one sentence.
        detail: intervals, test, and the other systems.
    """

    verdict: str
    figure: str
    title: str
    detail: str


def headline(report: dict) -> Headline:
    """The headline of a report.json; it says plainly when there is no gain, or none that chance would not explain."""
    where, system = lookup.primary(report), lookup.subject(report)
    if where is None:
        return Headline(OPEN, "", "No speech recognition was measured", "No test part was decoded with every system.")
    titles = formatting.system_titles(report)
    before = lookup.result(report, where, report["systems"][0])
    measure = measures.error_measures(before)[0]
    if system is None:
        title = f"The {measure.title} on {where.part} is {show(measure, before['wer'])}"
        return Headline(OPEN, "", title, f"{measures.method_title(where.method)}; there is no second system to compare.")
    after = lookup.result(report, where, system)
    p = lookup.gain(report, where, system).get("p_value")
    verdict = _verdict(before["wer"], after["wer"], p)
    change = formatting.relative_change(before["wer"], after["wer"])
    title = _title(verdict, titles[system], measure, where.part, before["wer"], after["wer"])
    return Headline(verdict, formatting.signed(change), title, _detail(report, where, system, titles, p))


def _verdict(before: float, after: float, p: float | None) -> str:
    if before == after or p is None or p >= SIGNIFICANT:
        return UNCLEAR
    return BETTER if after < before else WORSE


def _title(verdict: str, system: str, measure: Measure, part: str, before: float, after: float) -> str:
    numbers = f"{show(measure, before)} \u2192 {show(measure, after)}"
    change = formatting.relative_change(before, after)
    by = "" if change is None else f" by {formatting.number(abs(change), 1, '%')} relative"
    if verdict in (BETTER, WORSE):
        return f"{system} {'lowers' if verdict == BETTER else 'raises'} the {measure.title} on {part}{by}: {numbers}"
    if before == after:
        return f"No gain: the {measure.title} on {part} is {show(measure, before)} with and without {system}"
    return f"No reliable gain: the {measure.title} on {part} goes {numbers} with {system}, which may be chance"


def _detail(report: dict, where: lookup.Decoding, system: str, titles: dict[str, str], p: float | None) -> str:
    compared = {name: lookup.result(report, where, name) for name in (report["systems"][0], system)}
    spans = ", ".join(_interval(titles[name], item["ci95"]) for name, item in compared.items())
    test = "no test of significance was made" if p is None else f"paired test {formatting.p_value(p)}"
    test += f", not below {SIGNIFICANT:g}" if p is not None and p >= SIGNIFICANT else ""
    seeds = len(report["seeds"])
    words = compared[system]["words"] // seeds  # errors and words are sums over the seeds
    symbols = "phones" if compared[system].get("per") is not None else "words"
    trained = "one recogniser" if seeds == 1 else f"{seeds} recognisers"
    method = measures.method_title(where.method) + ("" if where.source == "features" else ", from units")
    detail = f"{method}; 95{formatting.SPACE}% intervals: {spans}; {test}; {words:,} {symbols}, {trained} trained per system."
    return detail + _best(report, where, titles)


def _interval(title: str, bounds: list[float]) -> str:
    low, high = bounds
    return f"{title} {formatting.number(low, 1)} to {formatting.number(high, 1, '%')}"


def _best(report: dict, where: lookup.Decoding, titles: dict[str, str]) -> str:
    """A sentence on the best of three or more systems."""
    if len(report["systems"]) < 3:
        return ""
    rates = {name: item["wer"] for name in report["systems"] if (item := lookup.result(report, where, name)) is not None}
    best = min(rates, key=rates.get)
    return f" Lowest of {len(rates)} systems: {titles[best]}, {formatting.number(rates[best], 1, '%')}."
