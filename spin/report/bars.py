"""Bar charts: error rates with their intervals, and the quality of units."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from spin.report import formatting, lookup, measures
from spin.report.svg import Picture
from spin.runtime.figures import COLOURS, style, system_colour
from spin.units.metrics import find_metric

MOST_GROUPS = 12  # of a chart; more decodings are cut to the headline's method
RATIOS = ("pnmi", "phone_purity", "cluster_purity")
PERCENTAGES = ("abx_within", "abx_across", "unit_edit_distance")
SOURCE_NAMES = {"features": "wer", "units": "wer_units"}
INPUTS = {"features": "", "units": " from units"}


def error_bars(report: dict, source: str = "features") -> Picture | None:
    """Error rates of the systems with 95 % intervals, one group per part and method; None without results."""
    decodings = lookup.decodings(report, source)
    if len(decodings) > MOST_GROUPS:
        method = lookup.primary(report).method
        decodings = [item for item in decodings if item.method == method][:MOST_GROUPS]
    if not decodings:
        return None
    kinds = {_measure(report, item).title for item in decodings}
    title = kinds.pop() if len(kinds) == 1 else "error rate"
    mixed = title == "error rate"
    labels = [f"{item.part}\n{_prefix(report, item, mixed)}{measures.method_title(item.method)}" for item in decodings]
    with style():
        figure, axes = _axes(len(report["systems"]), len(decodings), 5.8)
        ends = [
            _error_bar(axes, _place(row, column, report), _height(report), column, result)
            for row, item in enumerate(decodings)
            for column, system in enumerate(report["systems"])
            if (result := lookup.result(report, item, system)) is not None
        ]
        _finish(axes, labels, max(1.0, max(ends) * 1.16), f"{title}{INPUTS[source]}, %", report)
    alt = "; ".join(_describe(report, item, mixed) for item in decodings)
    caption = (
        "Compare each bar with the first system's. Thin lines are 95\u00a0% intervals of each system by itself. The paired test "
        "in the table compares systems on the same sentences and is the sharper judge."
    )
    heading = f"{title.capitalize()}s{INPUTS[source]}"
    return Picture(SOURCE_NAMES[source], heading, f"Bar chart of {title}s{INPUTS[source]}. {alt}.", caption, figure)


def _measure(report: dict, item: lookup.Decoding) -> measures.Measure:
    return measures.error_measures(*(lookup.result(report, item, system) for system in report["systems"]))[0]


def _prefix(report: dict, item: lookup.Decoding, mixed: bool) -> str:
    """'PER, ' where a chart has phones next to words; nothing where all its bars are of one kind."""
    return f"{measures.initials(_measure(report, item))}, " if mixed else ""


def _describe(report: dict, item: lookup.Decoding, mixed: bool) -> str:
    results = {title: lookup.result(report, item, name) for name, title in formatting.system_titles(report).items()}
    figures = ", ".join(
        f"{title} {measures.show(measures.WER, result['wer'])}" for title, result in results.items() if result is not None
    )
    return f"{item.part}, {_prefix(report, item, mixed)}{measures.method_title(item.method)}: {figures}"


def _error_bar(axes, place: float, height: float, column: int, result: dict) -> float:
    """Draws one bar; returns where it ends."""
    wer, (low, high) = result["wer"], result["ci95"]
    axes.barh(place, wer, height * 0.92, color=system_colour(column), label=column)
    spread = [[max(0.0, wer - low)], [max(0.0, high - wer)]]
    axes.errorbar(wer, place, xerr=spread, color=COLOURS["ink"], elinewidth=1.1, capsize=2.5, capthick=1.1)
    end = max(high, wer)
    axes.annotate(formatting.number(wer, 1), (end, place), (5, 0), textcoords="offset points", va="center", fontsize=9.5)
    return end


def unit_bars(report: dict) -> list[Picture]:
    """Ratios that should rise and percentages that should fall; a picture without any figure is left out."""
    captions = {
        "units": "PNMI and phone purity should rise with training. Cluster purity may fall when a phone spreads over more units.",
        "abx": "These should fall; across speakers falls most when units have lost the voice.",
    }
    pictures = []
    for name, title, names, label in (
        ("units", "Units and phones", RATIOS, "ratio"),
        ("abx", "ABX errors", PERCENTAGES, "error, %"),
    ):
        shown = [find_metric(metric) for metric in names if _measured(report, metric)]
        if shown:
            figure, alt = _metric_bars(report, shown, label)
            pictures.append(Picture(name, title, f"Bar chart. {alt}.", captions[name], figure))
    return pictures


def _measured(report: dict, metric: str) -> bool:
    return any(report["units"][system].get(metric) is not None for system in report["systems"])


def _metric_bars(report: dict, shown: Sequence, label: str) -> tuple[Figure, str]:
    titles, words = formatting.system_titles(report), []
    values = {(metric.name, system): report["units"][system].get(metric.name) for metric in shown for system in titles}
    highest = max(max(value for value in values.values() if value is not None), 1e-3)
    with style():
        figure, axes = _axes(len(titles), len(shown), 5.2)
        for row, metric in enumerate(shown):
            for column, (system, title) in enumerate(titles.items()):
                value, place = values[metric.name, system], _place(row, column, report)
                axes.barh(place, value or 0.0, _height(report) * 0.92, color=system_colour(column), label=column)
                text = formatting.number(value, metric.digits)
                axes.annotate(text, (value or 0.0, place), (4, 0), textcoords="offset points", va="center", fontsize=9)
                words.append(f"{metric.title}, {title}: {measures.show(metric, value)}")
        _finish(axes, [metric.title for metric in shown], highest * 1.22, label, report)
    return figure, "; ".join(words)


def _axes(systems: int, groups: int, width: float):
    figure = Figure(figsize=(width, 0.7 + (0.33 * systems + 0.3) * groups), layout="tight")
    return figure, figure.add_subplot()


def _height(report: dict) -> float:
    return 0.8 / len(report["systems"])


def _place(row: int, column: int, report: dict) -> float:
    return row + (column - (len(report["systems"]) - 1) / 2) * _height(report)


def _finish(axes, labels: Sequence[str], limit: float, label: str, report: dict) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set_xlim(0, limit)
    axes.grid(axis="x")
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(label)
    titles = list(formatting.system_titles(report).values())
    handles = {int(text): handle for handle, text in reversed(list(zip(*axes.get_legend_handles_labels())))}
    axes.legend(
        [handles[column] for column in sorted(handles)], [titles[column] for column in sorted(handles)],
        loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=min(4, len(titles)), borderaxespad=0.1, handlelength=1.1,
    )  # fmt: skip
