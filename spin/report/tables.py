"""The report's tables as plain rows, which page.py and markdown.py write out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spin import artifacts
from spin.report import formatting, lookup, measures
from spin.report.formatting import SIGNIFICANT
from spin.units.metrics import METRICS

SOURCE_TITLES = {"features": "Recognition errors", "units": "Recognition errors from units"}


@dataclass(frozen=True)
class Cell:
    """Text, and a tone ('better', 'worse' or '') that a page may colour; the text alone must carry the meaning."""

    text: str
    tone: str = ""


@dataclass(frozen=True)
class Table:
    """A header and rows of cells; the first column names the row, columns in `numeric` hold numbers, in `prose` sentences."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: tuple[int, ...] = ()
    prose: tuple[int, ...] = ()
    note: str = ""


def cells(*texts: str | Cell) -> tuple[Cell, ...]:
    return tuple(text if isinstance(text, Cell) else Cell(text) for text in texts)


def change_cell(measure, before: float | None, after: float | None, p: float | None = None) -> Cell:
    """Relative change in percent, with a word for what it means, and the p-value of this difference where it was tested."""
    text = formatting.signed(formatting.relative_change(before, after))
    tone = measures.tone(measure, before, after)
    test = "" if p is None else f" ({formatting.p_value(p)})"
    if tone and p is not None and p >= SIGNIFICANT:
        return Cell(f"{text}, may be chance{test}")
    return Cell(f"{text}, {tone}{test}" if tone else text + test, tone)


def system_header(report: dict) -> list[str]:
    """The baseline's column, then two for each other system: its figure and the change."""
    baseline, *others = formatting.system_titles(report).values()
    return [baseline, *(column for title in others for column in (title, "change"))]


def system_cells(measure, values: Sequence[float | None], texts: Sequence[str] = (), tests: Sequence = ()) -> list[str | Cell]:
    """Cells under system_header.

    Args:
        values: figure of each system, baseline first.
        texts: the figures as text; default: as the measure shows them.
        tests: p-value of each system's difference from the baseline; default: none.
    """
    texts = texts or [measures.show(measure, value) for value in values]
    tests = tests or [None] * len(values)
    row: list[str | Cell] = [texts[0]]
    for value, text, p in zip(values[1:], texts[1:], tests[1:]):
        row += [text, "" if measure.name == "K" else change_cell(measure, values[0], value, p)]
    return row


def recognition(report: dict, source: str) -> Table | None:
    """Error rates of every decoding by the recognisers that read this source; None where there are none."""
    rows = [row for decoding in lookup.decodings(report, source) for row in _recognition_rows(report, decoding)]
    if not rows:
        return None
    header = ("part", "decoding", "measure", *system_header(report), "words")
    note = (
        "Brackets: 95\u00a0% interval. Change: relative, against the first system. p: paired test on the same utterances. Both "
        "by bootstrap over utterances; with three or more seeds they include the spread of the trainings (Student's t), with "
        "fewer they hold for these trainings only. Words: over all seeds."
    )
    return Table(SOURCE_TITLES[source], header, tuple(rows), tuple(range(3, len(header))), note=note)


def _recognition_rows(report: dict, decoding: lookup.Decoding) -> list[tuple[Cell, ...]]:
    results = [lookup.result(report, decoding, system) for system in report["systems"]]
    tests = [lookup.gain(report, decoding, system).get("p_value") for system in report["systems"]]
    rows = []
    for number, measure in enumerate(measures.error_measures(*results)):
        values = [None if result is None else result[measure.name] for result in results]
        texts = [measures.show(measure, value) for value in values]
        if number == 0:  # the interval and the test are of the first rate
            texts = [text + _interval(result) for text, result in zip(texts, results)]
        row = system_cells(measure, values, texts, tests if number == 0 else ())
        words = f"{results[0]['words']:,}" if number == 0 else ""
        title = measures.method_title(decoding.method)
        rows.append(cells(decoding.part, title, measures.initials(measure), *row, words))
    return rows


def _interval(result: dict | None) -> str:
    return "" if result is None else " [{:.1f}, {:.1f}]".format(*result["ci95"])


def unit_metrics(report: dict) -> Table:
    """Metrics of units and features, pooled over the clean test parts."""
    systems, rows = report["systems"], []
    for metric in METRICS:
        if any(metric.name in report["units"][system] for system in systems):  # figures of noisy parts are not pooled
            values = [report["units"][system].get(metric.name) for system in systems]
            rows.append(cells(metric.title + measures.arrow(metric), *system_cells(metric, values), metric.meaning))
    header = ("measure", *system_header(report), "meaning")
    note = "All systems see the same audio and alignments. Units come from a system's own codebook, otherwise from k-means."
    last = len(header) - 1
    return Table("Quality of the units", header, tuple(rows), tuple(range(1, last)), (last,), note)


def units_by_part(report: dict) -> Table | None:
    """The same metrics of each test part, noisy copies included; None for a single part."""
    figures = report.get("units_by_part") or {}
    parts = list(dict.fromkeys(part for of_system in figures.values() for part in of_system))
    rows = []
    for part in parts:
        for metric in METRICS:
            values = [figures.get(system, {}).get(part, {}).get(metric.name) for system in report["systems"]]
            if any(value is not None for value in values):
                rows.append(cells(part, metric.title + measures.arrow(metric), *system_cells(metric, values)))
    header = ("part", "measure", *system_header(report))
    return Table("Units by part", header, tuple(rows), tuple(range(2, len(header)))) if len(parts) > 1 else None


def provenance(report: dict) -> Table:
    """Origin of the figures: command, commit, device, seeds, versions."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(report.get("versions", {}).items()))
    seeds = ", ".join(map(str, report["seeds"]))
    rows = (
        cells("command", report["command"]),
        cells("commit", report["commit"]),
        cells("device", report["device"]),
        cells("seeds", f"{report.get('seed', '')} (data and training), {seeds} (recognisers)"),
        cells("versions", versions or f"k2 {report['k2']}, torch {report['torch']}"),
    )
    return Table("How it was made", ("", ""), rows)


def times(report: dict) -> Table:
    """Time that the products of each stage took to build."""
    seconds = report["seconds"]
    rows = [
        cells(f"{number} {name.replace('_', ' ')}", formatting.duration(seconds.get(f"stage{number}")))
        for number, name in artifacts.STAGES.items()
    ]
    total = formatting.duration(sum(seconds.values()) if seconds else None)
    return Table("Time", ("stage", "time"), (*rows, cells("total", total)), (1,))
