"""Charts: error rates with intervals and unit metrics as bars, trainings as curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spin import artifacts
from spin.report import lookup, measures
from spin.report.svg import Picture
from spin.runtime.figures import COLOURS, style, system_colour
from spin.units.metrics import Metric, find_metric

MOST_GROUPS = 12  # of a chart; more decodings are cut to the headline's method
UNIT_CHARTS = (  # name, title, metrics, axis, caption
    ("units", "Units and phones", ("pnmi", "phone_purity", "cluster_purity"), "ratio",
     "PNMI and phone purity should rise with training. Cluster purity may fall when a phone spreads over more units."),
    ("abx", "ABX errors", ("abx_within", "abx_across", "unit_edit_distance"), "error, %",
     "These should fall; across speakers falls most when units have lost the voice."),
)  # fmt: skip


class Group(NamedTuple):
    """Bars of one measure: a value per system, and the 95 % interval of each where there is one."""

    title: str
    measure: Metric
    values: list[float | None]
    intervals: list[list[float]] | None = None


def error_bars(report: dict, source: str = "features") -> Picture | None:
    """Error rates of the systems with 95 % intervals, one group per part and method; None without results."""
    decodings = lookup.decodings(report, source)
    if not decodings:
        return None
    if len(decodings) > MOST_GROUPS:
        method = lookup.primary(report).method
        decodings = [item for item in decodings if item.method == method][:MOST_GROUPS]
    groups = [_error_group(report, item) for item in decodings]
    kinds = {group.measure.title for group in groups}
    title = kinds.pop() if len(kinds) == 1 else "error rate"
    if title == "error rate":  # phones next to words
        groups = [group._replace(title=f"{measures.initials(group.measure)}, {group.title}") for group in groups]
    title += "" if source == "features" else " from units"
    caption = (
        "Compare each bar with the first system's. Thin lines are 95\u00a0% intervals of each system by itself. The paired test "
        "in the table compares systems on the same sentences and is the sharper judge."
    )
    heading = title.replace("rate", "rates").capitalize()
    name = "wer" if source == "features" else "wer_units"
    return Picture(name, heading, _describe(report, groups), caption, _draw_bars(report, groups, f"{title}, %", 5.8))


def _error_group(report: dict, decoding: lookup.Decoding) -> Group:
    results = [lookup.result(report, decoding, system) for system in report["systems"]]
    title = f"{decoding.part}, {measures.method_title(decoding.method)}"
    measure = measures.error_measures(results[0])[0]
    return Group(title, measure, [result["wer"] for result in results], [result["ci95"] for result in results])


def unit_bars(report: dict) -> list[Picture]:
    """Ratios that should rise and percentages that should fall; a chart without any figure is left out."""
    pictures = []
    for name, title, names, label, caption in UNIT_CHARTS:
        figures = [
            Group(metric.title, metric, [report["units"][system].get(metric.name) for system in report["systems"]])
            for metric in map(find_metric, names)
        ]
        groups = [group for group in figures if any(value is not None for value in group.values)]
        if groups:
            pictures.append(Picture(name, title, _describe(report, groups), caption, _draw_bars(report, groups, label, 5.2)))
    return pictures


def _describe(report: dict, groups: Sequence[Group]) -> str:
    """All figures of a bar chart in words."""
    titles, texts = measures.system_titles(report).values(), []
    for group in groups:
        figures = (f"{title} {measures.show(group.measure, value)}" for title, value in zip(titles, group.values))
        texts.append(f"{group.title}: {', '.join(figures)}")
    return f"Bar chart. {'; '.join(texts)}."


def _draw_bars(report: dict, groups: Sequence[Group], label: str, width: float) -> Figure:
    """Horizontal bars, each with its system's name at the left and its figure at the end, under the title of their group."""
    titles, slots = list(measures.system_titles(report).values()), len(report["systems"]) + 1.4
    with style():
        figure = Figure(figsize=(width, 0.5 + 0.24 * slots * len(groups)), layout="tight")
        axes = figure.add_subplot()
        for row, group in enumerate(groups):
            axes.annotate(group.title, (0, row * slots), (2, 0), textcoords="offset points", va="center", fontsize=9.5)
            for column, value in enumerate(group.values):
                interval = None if group.intervals is None else group.intervals[column]
                _draw_bar(axes, row * slots + column + 1, value, interval, group.measure, system_colour(column))
        places = [row * slots + column + 1 for row in range(len(groups)) for column in range(len(titles))]
        axes.set_yticks(places, titles * len(groups))
        axes.set_ylim(slots * len(groups) - 0.6, -0.7)
        values = [value for group in groups for value in (*group.values, *(high for _, high in group.intervals or ())) if value]
        axes.set_xlim(0, 1.18 * max(values, default=1.0))
        axes.grid(axis="x")
        axes.tick_params(length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(label)
    return figure


def _draw_bar(axes, place: float, value: float | None, interval: list[float] | None, measure: Metric, colour: str) -> None:
    end = value or 0.0
    axes.barh(place, end, 0.88, color=colour)
    if interval is not None:
        spread = [[max(0.0, end - interval[0])], [max(0.0, interval[1] - end)]]
        axes.errorbar(end, place, xerr=spread, color=COLOURS["ink"], elinewidth=1.1, capsize=2.5, capthick=1.1)
        end = max(end, interval[1])
    text = measures.number(value, measure.digits)
    axes.annotate(text, (end, place), (5, 0), textcoords="offset points", va="center", fontsize=9)


class Curve(NamedTuple):
    """One chart of trainings. `key`: of the records of their histories."""

    name: str
    key: str
    title: str
    label: str
    caption: str


RECOGNISER_CURVES = (
    Curve("asr_loss", "loss", "loss", "CTC loss in training", "The lower one fits more easily."),
    Curve(
        "asr_valid_loss", "valid_loss", "loss on valid", "CTC loss on valid",
        "Where it rises while the training loss falls, the recogniser overfits.",
    ),
    Curve(
        "asr_wer", "valid_wer", "word errors", "word error rate on valid, %",
        "Best path, without a language model. The checkpoint that is best on valid is decoded.",
    ),
    Curve(
        "asr_cer", "valid_cer", "character errors", "character error rate on valid, %",
        "The same in characters: smoother where few words are right.",
    ),
)  # fmt: skip
CURVES = {
    "training": (
        Curve("training_loss", "loss", "loss", "loss of the objective", "It should fall, then level off."),
        Curve("training_pnmi", "pnmi", "PNMI", "PNMI on valid", "It should rise: units come closer to phones."),
        Curve(
            "training_perplexity", "perplexity", "perplexity", "units in use",
            "It should stay near K, the dotted line. A steep fall means that the codebook collapses.",
        ),
    ),
    "features": RECOGNISER_CURVES,
    "units": tuple(curve._replace(name=f"{curve.name}_units") for curve in RECOGNISER_CURVES),
}  # fmt: skip
OWNERS = {"features": "Recognisers", "units": "Recognisers of units"}


def training_curves(report: dict, histories: dict[str, dict[str, list[list[dict]]]]) -> list[Picture]:
    """Losses and validations of every training, one line per training; what was never measured is left out.

    Args:
        histories: training, features or units -> system -> for each seed, records of its validations.
    """
    pictures, titles = [], measures.system_titles(report)
    for source, by_system in histories.items():
        for curve in CURVES[source]:
            lines = [(system, *points(records, curve.key)) for system, seeds in by_system.items() for records in seeds]
            lines = [line for line in lines if line[1]]
            if lines:
                level = report["config"]["spin"]["codebook_size"] if curve.key == "perplexity" else None
                ends = "; ".join(
                    f"{titles[system]} from {values[0]:.4g} at step {steps[0]:g} to {values[-1]:.4g} at step {steps[-1]:g}"
                    for system, steps, values in lines
                )
                owner = OWNERS.get(source, titles.get(artifacts.SPIN))
                alt, title = f"Line chart: {curve.label}. {ends}.", f"{owner}: {curve.title}"
                pictures.append(Picture(curve.name, title, alt, curve.caption, _draw_curves(curve, titles, lines, level)))
    return pictures


def points(records: Sequence[dict], key: str) -> tuple[list[float], list[float]]:
    """(steps, values) of the records with a finite number; of a step that was run twice, the last."""
    measured = [record for record in records if record.get(key) is not None and math.isfinite(record[key])]
    values = {record["step"]: record[key] for record in measured}
    return sorted(values), [values[step] for step in sorted(values)]


def _draw_curves(curve: Curve, titles: dict[str, str], lines: Sequence[tuple], level: float | None) -> Figure:
    with style():
        figure = Figure(figsize=(4.4, 2.9), layout="constrained")
        axes = figure.add_subplot()
        labels = {}
        for system, steps, values in lines:
            colour = system_colour(list(titles).index(system))
            marker = "o" if len(steps) < 30 else None
            labels[titles[system]] = axes.plot(steps, values, color=colour, linewidth=1.8, marker=marker, markersize=3)[0]
        if level is not None:
            axes.axhline(level, color=COLOURS["muted"], linewidth=1.0, linestyle=":")
            axes.set_ylim(0, level * 1.08)
        axes.set(xlabel="step", ylabel=curve.label)
        axes.grid(axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.tick_params(length=0)
        axes.margins(x=0.02)
        if len(labels) > 1:
            _draw_legend(figure, labels)
    return figure


def _draw_legend(figure: Figure, labels: dict) -> None:
    """Names above the chart, in rows that are read from left to right; matplotlib fills columns."""
    columns = max(1, min(len(labels), 56 // (max(map(len, labels)) + 6)))
    order = [index for column in range(columns) for index in range(column, len(labels), columns)]
    figure.set_figheight(figure.get_figheight() + 0.18 * math.ceil(len(labels) / columns))
    handles = list(labels.values())
    figure.legend(
        [handles[index] for index in order], [list(labels)[index] for index in order],
        loc="outside upper left", ncols=columns, handlelength=1.4, columnspacing=1.2,
    )  # fmt: skip
