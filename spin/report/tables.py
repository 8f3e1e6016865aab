"""The report's tables as plain rows, which page.py and markdown.py write out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spin import artifacts
from spin.report import lookup, measures
from spin.report.measures import SIGNIFICANT
from spin.units.metrics import METRICS, Metric

SOURCE_TITLES = {"features": "Recognition errors", "units": "Recognition errors from units"}


@dataclass(frozen=True)
class Cell:
    """Text, a second line below it, and that line's tone ('better', 'worse' or ''): a colour for what the words say as well."""

    text: str
    below: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Table:
    """A header and rows of cells. The first column names the row; those after the first `texts` columns hold figures."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    texts: int = 1
    note: str = ""


def cells(*texts: str | Cell) -> tuple[Cell, ...]:
    return tuple(text if isinstance(text, Cell) else Cell(text) for text in texts)


def change_cell(measure: Metric, text: str, before: float | None, after: float | None, p: float | None = None) -> Cell:
    """A figure with its relative change below it, a word for what that means, and the p-value where it was tested."""
    tone = measures.tone(measure, before, after)
    words = [measures.signed(measures.relative_change(before, after)), tone]
    if tone and p is not None and p >= SIGNIFICANT:
        words[1], tone = "may be chance", ""
    words.append("" if p is None else measures.p_value(p))
    return Cell(text, ", ".join(filter(None, words)), tone)


def system_cells(measure: Metric, values: Sequence[float | None], spans: Sequence[str] = (), tests: Sequence = ()) -> list[Cell]:
    """One cell per system, each but the baseline's with its change.

    Args:
        values: figure of each system, baseline first.
        spans: text behind each figure.
        tests: p-value of each system's difference from the baseline.
    """
    texts = [measures.show(measure, value) for value in values]
    texts = [f"{text} {span}" for text, span in zip(texts, spans)] or texts
    if measure.name == "K":  # a setting, not a result
        return [Cell(text) for text in texts]
    changes = zip(texts[1:], values[1:], tests or [None] * len(texts))
    return [Cell(texts[0]), *(change_cell(measure, text, values[0], value, p) for text, value, p in changes)]


def recognition(report: dict, source: str) -> Table | None:
    """Error rates of every decoding by the recognisers that read this source; None where there are none."""
    rows = [row for decoding in lookup.decodings(report, source) for row in _recognition_rows(report, decoding)]
    if not rows:
        return None
    header = ("part", "decoding", "measure", *measures.system_titles(report).values(), "words")
    note = (
        "Brackets: 95\u00a0% interval. Second line: relative change against the first system, and a paired test on the same "
        "utterances. Both by bootstrap over utterances; with three or more seeds they include the spread of the trainings "
        "(Student's t), with fewer they hold for these trainings only. Words: over all seeds."
    )
    return Table(SOURCE_TITLES[source], header, tuple(rows), 3, note)


def _recognition_rows(report: dict, decoding: lookup.Decoding) -> list[tuple[Cell, ...]]:
    systems, title = report["systems"], measures.method_title(decoding.method)
    results = [lookup.result(report, decoding, system) for system in systems]
    spans = ["[{:.1f},\u00a0{:.1f}]".format(*result["ci95"]) for result in results]
    tests = [lookup.gain(report, decoding, system)["p_value"] for system in systems[1:]]
    first, *others = measures.error_measures(results[0])  # the interval and the test are of the first rate
    row = system_cells(first, [result[first.name] for result in results], spans, tests)
    rows = [cells(decoding.part, title, measures.initials(first), *row, f"{results[0]['words']:,}")]
    for measure in others:
        row = system_cells(measure, [result[measure.name] for result in results])
        rows.append(cells(decoding.part, title, measures.initials(measure), *row, ""))
    return rows


def unit_metrics(report: dict) -> Table:
    """Metrics of units and features, pooled over the clean test parts."""
    figures, rows = report["units"], []
    for metric in METRICS:
        if any(metric.name in figures[system] for system in report["systems"]):  # figures of noisy parts are not pooled
            values = [figures[system].get(metric.name) for system in report["systems"]]
            rows.append(cells(Cell(metric.title + measures.arrow(metric), metric.meaning), *system_cells(metric, values)))
    header = ("measure", *measures.system_titles(report).values())
    note = "All systems see the same audio and alignments. Units come from a system's own codebook, otherwise from k-means."
    return Table("Quality of the units", header, tuple(rows), note=note)


def units_by_part(report: dict) -> Table | None:
    """The same metrics of each test part, noisy copies included; None for a single part."""
    figures = report.get("units_by_part") or {}
    parts = list(dict.fromkeys(part for of_system in figures.values() for part in of_system))
    rows = []
    for part in parts:
        for metric in METRICS:
            values = [figures[system][part].get(metric.name) for system in report["systems"]]
            if any(value is not None for value in values):
                rows.append(cells(part, metric.title + measures.arrow(metric), *system_cells(metric, values)))
    header = ("part", "measure", *measures.system_titles(report).values())
    return Table("Units by part", header, tuple(rows), 2) if len(parts) > 1 else None


def provenance(report: dict) -> list[tuple[str, str]]:
    """Origin of the figures: name and content of each line."""
    return [
        ("command", report["command"]),
        ("commit", report["commit"]),
        ("device", report["device"]),
        ("seeds", f"{report['seed']} (data and training), {', '.join(map(str, report['seeds']))} (recognisers)"),
        ("versions", ", ".join(f"{name} {version}" for name, version in sorted(report["versions"].items()))),
    ]


def times(report: dict) -> Table:
    """Time that the products of each stage took to build."""
    seconds = report["seconds"]
    named = {f"{number} {name.replace('_', ' ')}": seconds.get(f"stage{number}") for number, name in artifacts.STAGES.items()}
    named["total"] = sum(seconds.values()) if seconds else None
    rows = tuple(cells(name, measures.duration(value)) for name, value in named.items())
    return Table("Time", ("stage", "time"), rows)
