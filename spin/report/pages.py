"""The pages: the answer in a sentence and the cards below it, then pictures and tables, as HTML and as Markdown."""

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

import jinja2
import yaml

from spin.report import measures
from spin.report.measures import SIGNIFICANT, WER, show
from spin.report.pictures import Picture
from spin.report.tables import Cell, Table, change_cell
from spin.units.metrics import Metric, find_metric

TEMPLATES = Path(__file__).parent / "templates"
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
        return Headline("", "", f"The {rate} is {show(WER, before)}", f"{where.title}; there is no second system to compare.")
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
    detail = f"{where.title}; 95\u00a0% intervals: {', '.join(spans)}; {test}; {count}, {trained} trained per system."
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


def render_html(report: dict, pictures: dict[str, list[Picture]], tables: dict[str, list[Table]]) -> str:
    """report.html, with pictures and tables by section: the same bytes for the same material."""
    options = {"trim_blocks": True, "lstrip_blocks": True, "undefined": jinja2.StrictUndefined}
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, **options)
    content = {"report": report, "pictures": pictures, "tables": tables, "answer": headline(report), "cards": cards(report)}
    config = yaml.safe_dump(report["config"], sort_keys=False, allow_unicode=True)
    return environment.get_template("report.html.j2").render(**content, config=config).lstrip() + "\n"


def render_markdown(report: dict, tables: dict[str, list[Table]]) -> str:
    """report.md: answer and tables for a terminal, a repository page or a mail."""
    answer = headline(report)
    blocks = [f"# Spin report: {escape(report['name'])}", f"**{escape(answer.title)}** {escape(answer.detail)}"]
    for section, contents in tables.items():
        blocks.append(f"## {section}")
        for content in contents:
            blocks += [f"### {content.title}", table(content)]
    blocks += ["The command, to be pasted:", textwrap.indent(report["command"], "    ")]
    return "\n\n".join(blocks) + "\n"


def table(content: Table) -> str:
    """A table in GitHub's Markdown, its note below."""
    rows = [map(escape, content.header), ("---" if column < content.texts else "---:" for column in range(len(content.header)))]
    rows += [[escape(f"{cell.text} ({cell.below})" if cell.below else cell.text) for cell in row] for row in content.rows]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return lines + (f"\n\n{escape(content.note)}" if content.note else "")


def escape(text: str) -> str:
    """Text that Markdown shows as it is: nothing in it starts a tag, a link, emphasis or another cell."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", " ".join(text.split("\n")))
