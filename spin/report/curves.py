"""Training curves: the loss, PNMI and perplexity of the objective; the loss and error rates of the recognisers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spin import artifacts
from spin.report import formatting
from spin.report.svg import Picture
from spin.runtime.figures import COLOURS, style, system_colour

SIZE_IN_INCHES = (4.4, 2.9)
SOURCE_TITLES = {"features": "Recognisers", "units": "Recognisers of units"}


@dataclass(frozen=True)
class Curve:
    """One chart: its name, the keys under which a history may hold its values, and its words."""

    name: str
    keys: tuple[str, ...]
    title: str
    label: str
    caption: str


@dataclass(frozen=True)
class Line:
    """One training in a chart. `column`: place of its system in the list of systems."""

    title: str
    column: int
    steps: list[float]
    values: list[float]


TRAINING_CURVES = (
    Curve("training_loss", ("loss",), "loss", "loss of the objective", "It should fall, then level off."),
    Curve("training_pnmi", ("pnmi",), "PNMI", "PNMI on valid", "It should rise: units come closer to phones."),
    Curve(
        "training_perplexity", ("perplexity",), "perplexity", "units in use",
        "It should stay near K, the dotted line. A steep fall means that the codebook collapses.",
    ),
)  # fmt: skip
RECOGNISER_CURVES = (
    Curve("asr_loss", ("loss", "train_loss"), "loss", "CTC loss in training", "The lower one fits more easily."),
    Curve(
        "asr_valid_loss", ("valid_loss",), "loss on valid", "CTC loss on valid",
        "Where it rises while the training loss falls, the recogniser overfits.",
    ),
    Curve(
        "asr_wer", ("valid_wer", "wer"), "word errors", "word error rate on valid, %",
        "Best path, without a language model. The checkpoint that is best on valid is decoded.",
    ),
    Curve(
        "asr_cer", ("valid_cer", "cer"), "character errors", "character error rate on valid, %",
        "The same in characters: smoother where few words are right.",
    ),
)  # fmt: skip


def points(records: Sequence[dict], *keys: str) -> tuple[list[float], list[float]]:
    """(steps, values) of the records with a finite number under one of the keys; of a step that was run twice, the last."""
    values = {}
    for record in records:
        value = next((record[key] for key in keys if _is_finite(record.get(key))), None)
        if value is not None and _is_finite(record.get("step")):
            values[record["step"]] = value
    steps = sorted(values)
    return steps, [values[step] for step in steps]


def _is_finite(value) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def training_curves(report: dict, history: Sequence[dict]) -> list[Picture]:
    """Every validation of the training of stage 2; what was never measured is left out."""
    titles, level = formatting.system_titles(report), (report.get("config") or {}).get("spin", {}).get("codebook_size")
    title = titles.get(artifacts.SPIN, artifacts.SPIN)
    column = list(titles).index(artifacts.SPIN) if artifacts.SPIN in titles else 1
    pictures = []
    for curve in TRAINING_CURVES:
        line = Line(title, column, *points(history, *curve.keys))
        if line.steps:
            pictures.append(_draw(curve, title, curve.name, [line], level if "perplexity" in curve.keys else None))
    return pictures


def recogniser_curves(report: dict, histories: dict[str, dict[str, list[list[dict]]]]) -> list[Picture]:
    """Loss and error rates of every recogniser on valid, one line per seed.

    Args:
        histories: features or units -> system -> records of each seed.
    """
    titles, pictures = formatting.system_titles(report), []
    for source, by_system in histories.items():
        for curve in RECOGNISER_CURVES:
            lines = [
                Line(titles[system], list(titles).index(system), *points(records, *curve.keys))
                for system, by_seed in by_system.items()
                for records in by_seed
            ]
            lines = [line for line in lines if line.steps]
            name = curve.name if source == "features" else f"{curve.name}_{source}"
            pictures += [_draw(curve, SOURCE_TITLES[source], name, lines)] if lines else []
    return pictures


def _draw(curve: Curve, owner: str, name: str, lines: Sequence[Line], level: float | None = None) -> Picture:
    with style():
        figure = Figure(figsize=SIZE_IN_INCHES, layout="tight")
        axes = figure.add_subplot()
        for line in lines:
            marker = "o" if len(line.steps) < 30 else None
            axes.plot(line.steps, line.values, color=system_colour(line.column), linewidth=1.8, marker=marker, markersize=3)
        if level is not None:
            axes.axhline(level, color=COLOURS["muted"], linewidth=1.0, linestyle=":")
            axes.set_ylim(0, level * 1.08)
        _label(axes, curve.label, {line.title: line.column for line in lines})
    ends = "; ".join(
        f"{line.title} from {line.values[0]:.4g} at step {line.steps[0]:g} to {line.values[-1]:.4g} at step {line.steps[-1]:g}"
        for line in lines
    )
    return Picture(name, f"{owner}: {curve.title}", f"Line chart: {curve.label}. {ends}.", curve.caption, figure)


def _label(axes, label: str, columns: dict[str, int]) -> None:
    axes.set_xlabel("step")
    axes.set_ylabel(label)
    axes.grid(axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.tick_params(length=0)
    axes.margins(x=0.02)
    if len(columns) > 1:
        handles = [axes.plot([], [], color=system_colour(column), label=title)[0] for title, column in columns.items()]
        axes.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=min(4, len(columns)),
            borderaxespad=0.1,
            handlelength=1.4,
        )
