"""The report's tables as plain rows, which html.py and markdown.py write out."""

from __future__ import annotations

from dataclasses import dataclass

from spin import artifacts
from spin.report import metrics
from spin.report.metrics import SIGNIFICANT, SPEAKER_METRIC, UNIT_METRICS, Metric


@dataclass(frozen=True)
class Cell:
    """Text, and a tone ('better', 'worse' or '') that a page may colour; the text alone must carry the meaning."""

    text: str
    tone: str = ""


@dataclass(frozen=True)
class Table:
    """A heading row and rows of cells; the first column names the row, the columns in `numeric` hold numbers."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: tuple[int, ...] = ()
    note: str = ""


def _cells(*texts: str | Cell) -> tuple[Cell, ...]:
    return tuple(text if isinstance(text, Cell) else Cell(text) for text in texts)


def systems(report: dict) -> list[str]:
    """Systems of a report, baseline and Spin first."""
    found = [*report["asr"], *report["units"]]
    return [*artifacts.SYSTEMS, *sorted(set(found) - set(artifacts.SYSTEMS))]


def change_cell(metric: Metric, before: float | None, after: float | None, p: float | None = None) -> Cell:
    """Relative change in per cent, with a word for what it means; `p` is of the test of this difference, where there was one."""
    text = metrics.signed(metrics.relative_change(before, after))
    quality = metrics.tone(metric, before, after)
    if quality and p is not None and p >= SIGNIFICANT:
        return Cell(f"{text}, may be chance")
    return Cell(f"{text}, {quality}" if quality else text, quality)


def recognition(report: dict) -> Table:
    """Word and character errors for each part and method."""
    names = [system for system in systems(report) if system in report["asr"]]
    header = ["part", "decoding", "measure", *[metrics.system_title(name) for name in names], "change", "test", "words"]
    rows = []
    for part, methods in report["asr"]["baseline"].items():
        for method in methods:
            results = [report["asr"][name].get(part, {}).get(method) for name in names]
            rows.extend(_recognition_rows(report, part, method, names, results))
    note = (
        "Brackets: 95\u00a0% interval. Change: Spin against the baseline, relative. Test: paired, over the same utterances. "
        "Both by bootstrap over utterances, widened by how the trainings of three and more seeds differ (Student's t); of fewer "
        "seeds they hold for these trainings only. Words: over all seeds."
    )
    return Table("Recognition errors", tuple(header), tuple(rows), tuple(range(3, len(header))), note)


def _recognition_rows(
    report: dict, part: str, method: str, names: list[str], results: list[dict | None]
) -> list[tuple[Cell, ...]]:
    rows = []
    p = report["gain"].get(part, {}).get(method, {}).get("p_value")
    for number, metric in enumerate(metrics.recognition_metrics(*results)):
        values = [None if result is None else result[metric.key] for result in results]
        shown = [metric.show(value) for value in values]
        if number == 0:
            spans = [None if result is None else result["ci95"] for result in results]
            shown = [text if span is None else f"{text} [{span[0]:.1f}, {span[1]:.1f}]" for text, span in zip(shown, spans)]
        tested = p if number == 0 else None
        change = change_cell(metric, values[names.index("baseline")], values[names.index("spin")], tested)
        test = (metrics.p_value(p), f"{results[0]['words']:,}") if number == 0 else ("", "")
        rows.append(_cells(part, metrics.method_title(method), metrics.initials(metric), *shown, change, *test))
    return rows


def unit_quality(report: dict) -> Table:
    """Quality of the units and what the features tell of the speaker."""
    names = [system for system in systems(report) if system in report["units"]]
    header = ["measure", *[metrics.system_title(name) for name in names], "change", "what it says"]
    rows = []
    for metric in UNIT_METRICS:
        if not any(metric.key in report["units"][name] for name in names):
            continue  # a figure beyond the schema that this run does not have
        values = [report["units"][name].get(metric.key) for name in names]
        rows.append(_quality_row(metric, values, names, metric.meaning))
    speaker = [(report["speaker"].get(name) or {}).get(SPEAKER_METRIC.key) for name in names]
    chance = report["speaker"].get("chance")
    meaning = SPEAKER_METRIC.meaning + ("" if chance is None else f" Chance: {SPEAKER_METRIC.show(chance)}.")
    rows.append(_quality_row(SPEAKER_METRIC, speaker, names, meaning))
    note = "Both systems see the same audio, layer, frames, K and alignments; the baseline's units are a k-means of its features."
    return Table("Quality of the units", tuple(header), tuple(rows), tuple(range(1, len(header) - 1)), note)


def _quality_row(metric: Metric, values: list[float | None], names: list[str], meaning: str) -> tuple[Cell, ...]:
    arrow = {"lower": " \u2193", "higher": " \u2191"}.get(metric.better, "")
    if metric.key == "K":
        change = Cell("")
    else:
        change = change_cell(metric, values[names.index("baseline")], values[names.index("spin")])
    return _cells(metric.title + arrow, *[metric.show(value) for value in values], change, meaning)


def making(report: dict) -> Table:
    """Where the figures come from."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(report.get("versions", {}).items()))
    rows = [
        _cells("command", report["command"]),
        _cells("commit", report["commit"]),
        _cells("device", report["device"]),
        _cells("seeds", f"{report.get('seed', '')} (data and Spin), {', '.join(map(str, report['seeds']))} (recognisers)"),
        _cells("versions", versions or f"k2 {report['k2']}, torch {report['torch']}"),
    ]
    return Table("How it was made", ("", ""), tuple(rows))


def times(report: dict) -> Table:
    """Wall-clock time of each stage."""
    rows = []
    for number, name in artifacts.STAGES.items():
        rows.append(_cells(f"{number} {name.replace('_', ' ')}", metrics.duration(report["seconds"].get(f"stage{number}"))))
    known = [value for value in report["seconds"].values() if value is not None]
    rows.append(_cells("together", metrics.duration(sum(known)) if known else metrics.NOT_MEASURED))
    return Table("Time", ("stage", "time"), tuple(rows), (1,))
