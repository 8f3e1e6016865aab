"""The answer in a sentence: does the trained system lower the error on the test part, by how much, and could it be chance?"""

from typing import NamedTuple

from spin.report import measures
from spin.report.measures import SIGNIFICANT, WER, show
from spin.units.metrics import find_metric

BETTER, WORSE, UNCLEAR, OPEN = "better", "worse", "unclear", "open"


class Headline(NamedTuple):
    """Top of the report."""

    verdict: str  # better, worse, unclear (may be chance) or open (nothing to compare)
    figure: str  # the relative change in large type; '' where there is none
    title: str  # the answer in one sentence
    detail: str  # intervals, test, and the other systems


def headline(report: dict) -> Headline:
    """The headline of a report.json; it says plainly when there is no gain, or none that chance would not explain."""
    where, system = measures.primary(report), measures.subject(report)
    if where is None:
        return _units_only(report, system)
    first = measures.result(report, where, report["systems"][0])
    measure = measures.error_measures(first)[0]
    before, rate = first["wer"], f"{measure.title} on {where.part}"
    if system is None:
        method = measures.method_title(where.method)
        return Headline(OPEN, "", f"The {rate} is {show(WER, before)}", f"{method}; there is no second system to compare.")
    after, p = measures.result(report, where, system)["wer"], measures.gain(report, where, system)["p_value"]
    verdict = measures.tone(measure, before, after) if p is not None and p < SIGNIFICANT else ""
    change = measures.relative_change(before, after)
    title = _title(verdict, measures.system_titles(report)[system], rate, before, after, change)
    return Headline(verdict or UNCLEAR, measures.signed(change), title, _detail(report, where, p))


def _units_only(report: dict, system: str | None) -> Headline:
    """The headline of a run without recognisers: which systems the cards compare, and who has the highest PNMI."""
    titles, metric = measures.system_titles(report), find_metric("pnmi")
    figures = [pair for pair in zip(measures.unit_values(report, "pnmi"), titles.values()) if pair[0] is not None]
    sentences = [] if system is None else [f"The figures below go from {titles[report['systems'][0]]} to {titles[system]}."]
    if len(figures) > 1:
        best, name = max(figures)
        sentences.append(f"Highest {metric.title} of {len(figures)} systems: {name}, {show(metric, best)}.")
    return Headline(OPEN, "", "Units are compared; no recogniser was trained", " ".join(sentences))


def _title(verdict: str, system: str, rate: str, before: float, after: float, change: float | None) -> str:
    numbers = f"{show(WER, before)} \u2192 {show(WER, after)}"
    if verdict:
        by = "" if change is None else f" by {show(WER, abs(change))} relative"
        return f"{system} {'lowers' if verdict == BETTER else 'raises'} the {rate}{by}: {numbers}"
    if before == after:
        return f"No gain: the {rate} is {show(WER, before)} with and without {system}"
    return f"No reliable gain: the {rate} goes {numbers} with {system}, which may be chance"


def _detail(report: dict, where: measures.Decoding, p: float | None) -> str:
    titles, seeds = measures.system_titles(report), len(report["seeds"])
    results = {name: measures.result(report, where, name) for name in titles}
    baseline = report["systems"][0]
    spans = [f"{titles[name]} {measures.interval(results[name]['ci95'])}" for name in (baseline, measures.subject(report))]
    test = "no test of significance was made" if p is None else f"paired test {measures.p_value(p)}"
    test += f", not below {SIGNIFICANT:g}" if p is not None and p >= SIGNIFICANT else ""
    symbols = "words" if results[baseline].get("per") is None else "phones"
    count = f"{results[baseline]['words'] // seeds:,} {symbols}"  # errors and words are sums over the seeds
    trained = "one recogniser" if seeds == 1 else f"{seeds} recognisers"
    method = measures.method_title(where.method) + ("" if where.input_kind == "features" else ", from units")
    detail = f"{method}; 95\u00a0% intervals: {', '.join(spans)}; {test}; {count}, {trained} trained per system."
    if len(titles) > 2:
        best = min(results, key=lambda name: results[name]["wer"])
        detail += f" Lowest of {len(titles)} systems: {titles[best]}, {show(WER, results[best]['wer'])}."
    return detail
