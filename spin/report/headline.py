"""The answer in a sentence: does the trained system lower the error on the test part, by how much, and could it be chance?"""

from typing import NamedTuple

from spin.report import measures
from spin.report.measures import SIGNIFICANT, WER, show
from spin.report.tables import Cell, change_cell
from spin.units.metrics import Metric, find_metric

PNMI, ABX = find_metric("pnmi"), find_metric("abx_across")


class Headline(NamedTuple):
    """Top of the report."""

    tone: str  # better or worse; '' where chance may explain the change, or there is nothing to compare
    figure: str  # the relative change in large type; '' where there is none
    title: str  # the answer in one sentence
    detail: str  # intervals, test, and the other systems


def headline(report: dict) -> Headline:
    """The headline of a report.json; it says plainly when there is no gain, or none that chance would not explain."""
    where, system = measures.primary(report), measures.subject(report)
    if where is None:
        return Headline("", "", "Units are compared; no recogniser was trained", _units_detail(report, system))
    first = measures.result(report, where, report["systems"][0])
    measure = measures.error_measures(first)[0]
    before, rate = first["wer"], f"{measure.title} on {where.part}"
    if system is None:
        method = measures.method_title(where.method)
        return Headline("", "", f"The {rate} is {show(WER, before)}", f"{method}; there is no second system to compare.")
    after, p = measures.result(report, where, system)["wer"], measures.gain(report, where, system)["p_value"]
    tone = measures.tone(measure, before, after) if p is not None and p < SIGNIFICANT else ""
    change = measures.relative_change(before, after)
    title = _title(tone, measures.system_titles(report)[system], rate, before, after, change)
    return Headline(tone, measures.signed(change), title, _detail(report, where, p))


def _units_detail(report: dict, system: str | None) -> str:
    """Of a run without recognisers: which systems the cards compare, and which has the highest PNMI."""
    titles = measures.system_titles(report)
    figures = [pair for pair in zip(measures.unit_values(report, PNMI.name), titles.values()) if pair[0] is not None]
    sentences = [] if system is None else [f"The figures below go from {titles[report['systems'][0]]} to {titles[system]}."]
    if len(figures) > 1:
        best, name = max(figures)
        sentences.append(f"Highest PNMI of {len(figures)} systems: {name}, {show(PNMI, best)}.")
    return " ".join(sentences)


def _title(tone: str, system: str, rate: str, before: float, after: float, change: float | None) -> str:
    numbers = f"{show(WER, before)} \u2192 {show(WER, after)}"
    if tone:
        by = "" if change is None else f" by {show(WER, abs(change))} relative"
        return f"{system} {'lowers' if tone == 'better' else 'raises'} the {rate}{by}: {numbers}"
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


def cards(report: dict) -> list[tuple[str, str, Cell]]:
    """Name, the baseline's figure and the subject's cell: error rates of the headline's decoding, then ABX and PNMI."""
    where, systems = measures.primary(report), [report["systems"][0], *filter(None, [measures.subject(report)])]
    found = []
    if where is not None:
        results = [measures.result(report, where, name) for name in systems]
        p = measures.gain(report, where, systems[-1]).get("p_value")
        for measure in measures.error_measures(results[0]):
            found.append(_card(measure, f"{measure.title}, {where.part}", [result[measure.name] for result in results], p))
            p = None  # the test is of the first rate
    figures = [report["units"][name] for name in systems]
    return found + [_card(metric, metric.title, [units.get(metric.name) for units in figures]) for metric in (ABX, PNMI)]


def _card(measure: Metric, name: str, values: list[float | None], p: float | None = None) -> tuple[str, str, Cell]:
    name, text = name[:1].upper() + name[1:], measures.show(measure, values[-1])
    if len(values) < 2 or values == [None, None]:
        return name, "", Cell(text)
    return name, measures.number(values[0], measure.digits), change_cell(measure, text, *values, p)
