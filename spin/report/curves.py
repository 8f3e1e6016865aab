"""Training curves: Spin's loss, PNMI and perplexity; loss and word error rate of the recognisers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spin.report import metrics
from spin.report.figures import SMALL
from spin.report.pictures import COLOURS, Picture, colour, style

Line = tuple[str, list[float], list[float]]  # system, steps, values


def points(records: Sequence[dict], *keys: str) -> tuple[list[float], list[float]]:
    """(steps, values) of the records that hold a number under one of the keys; of a step that was run twice, the last."""
    found = {}
    for record in records:
        value = next((record[key] for key in keys if _finite(record.get(key))), None)
        if value is not None and _finite(record.get("step")):
            found[record["step"]] = value
    steps = sorted(found)
    return steps, [found[step] for step in steps]


def _finite(value) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


@dataclass(frozen=True)
class Curve:
    """One chart: its name, the keys under which a history may hold its values, and its words."""

    name: str
    keys: tuple[str, ...]
    title: str
    label: str
    caption: str


SPIN_CURVES = (
    Curve("spin_loss", ("loss",), "Spin: loss", "swapped-prediction loss", "It should fall, then level off."),
    Curve("spin_pnmi", ("pnmi",), "Spin: PNMI", "PNMI on valid", "It should rise: units come nearer to phones."),
    Curve(
        "spin_perplexity", ("perplexity",), "Spin: perplexity", "units in use",
        "It should stay near K, the dotted line; a steep fall is a codebook that collapses.",
    ),
)  # fmt: skip
RECOGNISER_CURVES = (
    Curve("asr_loss", ("loss", "train_loss"), "Recognisers: loss", "CTC loss in training", "The lower one fits more easily."),
    Curve(
        "asr_valid_loss", ("valid_loss",), "Recognisers: loss on valid", "CTC loss on valid",
        "Where it rises while the training loss falls, sentences are learnt by heart.",
    ),
    Curve(
        "asr_wer", ("valid_wer", "wer"), "Recognisers: word errors", "word error rate on valid, %",
        "Best path, without a language model; the best checkpoint on valid is the one decoded.",
    ),
    Curve(
        "asr_cer", ("valid_cer", "cer"), "Recognisers: character errors", "character error rate on valid, %",
        "The same in characters: smoother where few words are right.",
    ),
)  # fmt: skip


def spin_curves(history: Sequence[dict], codebook_size: int | None) -> list[Picture]:
    """Loss, PNMI and code perplexity at every validation of the Spin training; what was never measured is left out."""
    made = []
    for curve in SPIN_CURVES:
        steps, values = points(history, *curve.keys)
        if steps:
            level = codebook_size if curve.name == "spin_perplexity" else None
            made.append(_draw(curve, [("spin", steps, values)], level))
    return made


def recogniser_curves(histories: dict[str, dict[int, list[dict]]]) -> list[Picture]:
    """Loss and error rates on the valid part of every recogniser, one line a seed."""
    made = []
    for curve in RECOGNISER_CURVES:
        all_lines = [
            (system, *points(records, *curve.keys))
            for system, by_seed in histories.items()
            for _, records in sorted(by_seed.items())
        ]
        lines = [line for line in all_lines if line[1]]
        if lines:
            made.append(_draw(curve, lines, None))
    return made


def _draw(curve: Curve, lines: list[Line], level: float | None) -> Picture:
    with style():
        figure = Figure(figsize=SMALL, layout="tight")
        axes = figure.add_subplot()
        named = set()
        for system, steps, values in lines:
            marker = "o" if len(steps) < 30 else None
            text = None if system in named else metrics.system_title(system)
            axes.plot(steps, values, color=colour(system), linewidth=1.8, marker=marker, markersize=3, label=text)
            named.add(system)
        if level is not None:
            axes.axhline(level, color=COLOURS["muted"], linewidth=1.0, linestyle=":")
            axes.set_ylim(0, level * 1.08)
        axes.set_xlabel("step")
        axes.set_ylabel(curve.label)
        axes.grid(axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.tick_params(length=0)
        axes.margins(x=0.02)
        if len(named) > 1:
            axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=len(named), borderaxespad=0.1, handlelength=1.4)
    ends = "; ".join(
        f"{metrics.system_title(system)} from {values[0]:.4g} at step {steps[0]:g} to {values[-1]:.4g} at step {steps[-1]:g}"
        for system, steps, values in lines
    )
    return Picture(curve.name, curve.title, f"Line chart: {curve.label}. {ends}.", curve.caption, figure)
