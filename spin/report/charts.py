"""Charts: error rates with intervals and unit metrics as bars, trainings as curves."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spin import artifacts
from spin.report import measures
from spin.report.pictures import Picture
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


def error_bars(report: dict, input_kind: str = "features") -> Picture | None:
    """Error rates of the systems with 95 % intervals, one group per part and method; None without results."""
    decodings = measures.decodings(report, input_kind)
    if not decodings:
        return None
    if len(decodings) > MOST_GROUPS:
        method = measures.primary(report).method
        decodings = [item for item in decodings if item.method == method][:MOST_GROUPS]
    groups = []
    for decoding in decodings:
        results = [measures.result(report, decoding, system) for system in report["systems"]]
        measure = measures.error_measures(results[0])[0]
        name = f"{measures.initials(measure)}, {decoding.part}, {measures.method_title(decoding.method)}"
        groups.append(Group(name, measure, [result["wer"] for result in results], [result["ci95"] for result in results]))
    title = "Error rates" if input_kind == "features" else "Error rates from units"
    caption = (
        "Compare each bar with the first system's. Thin lines are 95\u00a0% intervals of each system by itself. The paired test "
        "in the table compares systems on the same sentences and is the sharper judge."
    )
    return _bar_chart(report, groups, f"wer{measures.SUFFIXES[input_kind]}", title, "error rate, %", caption)


def unit_bars(report: dict) -> list[Picture]:
    """Ratios that should rise and percentages that should fall; a chart without any figure is left out."""
    pictures = []
    for name, title, names, label, caption in UNIT_CHARTS:
        figures = {metric: measures.unit_values(report, metric.name) for metric in map(find_metric, names)}
        groups = [Group(metric.title, metric, values) for metric, values in figures.items() if values != [None] * len(values)]
        if groups:
            pictures.append(_bar_chart(report, groups, name, title, label, caption))
    return pictures


def _bar_chart(report: dict, groups: Sequence[Group], name: str, title: str, label: str, caption: str) -> Picture:
    """The chart, with all its figures in words for those who cannot see it."""
    titles, texts = list(measures.system_titles(report).values()), []
    for group in groups:
        figures = (f"{system} {measures.show(group.measure, value)}" for system, value in zip(titles, group.values))
        texts.append(f"{group.title}: {', '.join(figures)}")
    return Picture(name, title, f"Bar chart. {'; '.join(texts)}.", caption, _plot_bars(titles, groups, label))


def _plot_bars(titles: list[str], groups: Sequence[Group], label: str) -> Figure:
    """Horizontal bars, each with its system's name at the left and its figure at the end, under the title of their group."""
    slots = len(titles) + 1.4
    with style():
        figure = Figure(figsize=(5.5, 0.5 + 0.24 * slots * len(groups)), layout="tight")
        axes = figure.add_subplot()
        for row, group in enumerate(groups):
            axes.annotate(group.title, (0, row * slots), (2, 0), textcoords="offset points", va="center", fontsize=9.5)
            lengths = [value or 0.0 for value in group.values]
            spans = group.intervals and [
                (max(0.0, length - low), max(0.0, high - length)) for length, (low, high) in zip(lengths, group.intervals)
            ]
            bars = axes.barh(
                [row * slots + column + 1 for column in range(len(titles))], lengths, 0.88,
                color=[system_colour(column) for column in range(len(titles))],
                xerr=spans and list(zip(*spans)),
                error_kw={"ecolor": COLOURS["ink"], "elinewidth": 1.1, "capsize": 2.5, "capthick": 1.1},
            )  # fmt: skip
            axes.bar_label(bars, [measures.number(value, group.measure.digits) for value in group.values], padding=5, fontsize=9)
        places = [row * slots + column + 1 for row in range(len(groups)) for column in range(len(titles))]
        axes.set_yticks(places, titles * len(groups))
        axes.set_ylim(slots * len(groups) - 0.6, -0.7)
        axes.margins(x=0.18)
        axes.set_xlim(left=0)
        axes.grid(axis="x")
        axes.tick_params(length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(label)
    return figure


class Curve(NamedTuple):
    """One chart of trainings; `key` is that of the records of their histories."""

    name: str
    key: str
    label: str
    caption: str


TRAINING = (
    Curve("training_loss", "loss", "loss of the objective", "It should fall, then level off."),
    Curve("training_pnmi", "pnmi", "PNMI on valid", "It should rise: units come closer to phones."),
    Curve("training_perplexity", "perplexity", "perplexity on valid",
          "It should stay near K, the dotted line. A steep fall means that the codebook collapses."),
)  # fmt: skip
RECOGNISERS = (
    Curve("asr_loss", "loss", "CTC loss in training", "The lower one fits more easily."),
    Curve("asr_valid_loss", "valid_loss", "CTC loss on valid",
          "Where it rises while the training loss falls, the recogniser overfits."),
    Curve("asr_wer", "valid_wer", "word error rate on valid, %",
          "Best path, without a language model. The checkpoint with the fewest character errors is decoded."),
    Curve("asr_cer", "valid_cer", "character error rate on valid, %",
          "The same in characters: smoother where few words are right."),
)  # fmt: skip


def training_curves(report: dict, histories: dict[str, dict[str, list[list[dict]]]]) -> list[Picture]:
    """Losses and validations of every training, one line per training; what was never measured is left out.

    Args:
        histories: training, features or units -> system -> for each seed, records of its validations.
    """
    pictures, titles = [], measures.system_titles(report)
    owners = {"training": titles.get(artifacts.SPIN), "features": "Recognisers", "units": "Recognisers of units"}
    for input_kind, by_system in histories.items():
        for curve in TRAINING if input_kind == "training" else RECOGNISERS:
            lines = [(system, *points(records, curve.key)) for system, seeds in by_system.items() for records in seeds]
            lines = [line for line in lines if line[1]]
            if lines:
                level = report["config"]["spin"]["codebook_size"] if curve.key == "perplexity" else None
                ends = "; ".join(
                    f"{titles[system]} from {values[0]:.4g} at step {steps[0]:g} to {values[-1]:.4g} at step {steps[-1]:g}"
                    for system, steps, values in lines
                )
                name = curve.name + measures.SUFFIXES.get(input_kind, "")
                title = f"{owners[input_kind]}: {curve.label.removesuffix(', %')}"
                figure = _plot_curves(curve.label, titles, lines, level)
                pictures.append(Picture(name, title, f"Line chart: {curve.label}. {ends}.", curve.caption, figure))
    return pictures


def points(records: Sequence[dict], key: str) -> tuple[list[float], list[float]]:
    """(steps, values) of the records with a finite number; of a step that was run twice, the last."""
    measured = [record for record in records if record.get(key) is not None and math.isfinite(record[key])]
    values = {record["step"]: record[key] for record in measured}
    return sorted(values), [values[step] for step in sorted(values)]


def _plot_curves(label: str, titles: dict[str, str], lines: Sequence[tuple], level: float | None) -> Figure:
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
        axes.set(xlabel="step", ylabel=label)
        axes.grid(axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.tick_params(length=0)
        axes.margins(x=0.02)
        if len(labels) > 1:
            columns = max(1, min(len(labels), 56 // (max(map(len, labels)) + 6)))
            figure.set_figheight(2.9 + 0.18 * math.ceil(len(labels) / columns))
            figure.legend(labels.values(), labels, loc="outside upper left", ncols=columns, handlelength=1.4, columnspacing=1.2)
    return figure
