"""Pictures of the page: error rates and unit metrics as bars, trainings as curves, units by phones, some utterances."""

import functools
import io
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import matplotlib
import numpy as np
from lhotse.cut import Cut
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spin import artifacts
from spin.data.audio import UnreadableAudio, read_audio
from spin.figures import COLOURS, SYSTEM_COLOURS, style, system_colour
from spin.report import measures
from spin.runtime.product import Context
from spin.systems import systems_of
from spin.units.figures import first_utterances, plot_unit_map, plot_utterance, unit_map
from spin.units.metrics import Metric, find_metric
from spin.units.units import alignment_of

VARIABLES = {**COLOURS, **{f"system{index}": colour for index, colour in enumerate(SYSTEM_COLOURS)}}  # CSS variable -> colour
UTTERANCES_SHOWN = 2
LONGEST_IN_S = 2.5  # longer utterances are cut: the labels of units must stay readable
UNIT_CHARTS = (  # name, title, metrics, axis, caption
    ("units", "Units and phones", ("pnmi", "phone_purity", "cluster_purity"), "ratio",
     "PNMI and phone purity should rise with training. Cluster purity may fall when a phone spreads over more units."),
    ("abx", "ABX errors", ("abx_within", "abx_across", "unit_edit_distance"), "error, %",
     "These should fall; across speakers falls most when units have lost the voice."),
)  # fmt: skip
TRAINING = {  # key in its history -> label of the axis, caption
    "loss": ("loss of the objective", "It should fall, then level off."),
    "pnmi": ("PNMI on valid", "It should rise: units come closer to phones."),
    "perplexity": (
        "perplexity on valid",
        "It should stay near K, the dotted line. A steep fall means that the codebook collapses.",
    ),
}
RECOGNISERS = {
    "loss": ("CTC loss in training", "The lower one fits more easily."),
    "valid_loss": ("CTC loss on valid", "Where it rises while the training loss falls, the recogniser overfits."),
    "valid_wer": (
        "word error rate on valid, %",
        "Best path, without a language model. The checkpoint with the fewest character errors is decoded.",
    ),
    "valid_cer": ("character error rate on valid, %", "The same in characters: smoother where few words are right."),
}


@dataclass(frozen=True)
class Picture:
    """A drawing with its words."""

    name: str  # identifier, unique in the report
    title: str
    alt: str  # for a reader who cannot see it
    caption: str  # advice on what to look for
    figure: Figure

    @functools.cached_property
    def document(self) -> str:
        """The drawing as a transparent SVG document without date or version."""
        buffer = io.StringIO()
        metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        with style(), matplotlib.rc_context({"svg.hashsalt": self.name}):
            self.figure.savefig(buffer, format="svg", metadata=metadata, facecolor="none", bbox_inches="tight")
        return buffer.getvalue()

    @property
    def inline(self) -> str:
        """The drawing as an element of a page: as wide as its column, in the page's colours, with identifiers of its own."""
        text = self.document
        text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text[text.index("<svg") :], flags=re.DOTALL)
        used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", text))
        text = re.sub(r' id="([^"]+)"', lambda match: f' id="{self.name}-{match[1]}"' if match[1] in used else "", text)
        text = re.sub(r"(url\(#|href=\"#)", rf"\g<1>{self.name}-", text)
        for name, value in VARIABLES.items():
            text = text.replace(value, f"var(--{name})")
        text = re.sub(r"font: ([0-9.]+)px [^;\"]*", r"font-size: \1px", text)
        head, rest = text.split(">", 1)
        size = re.search(r'viewBox="[^"]+"', head)[0]
        spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        opening = f'<svg {size} role="img" aria-labelledby="{self.name}-alt" {spaces}'
        return re.sub(r"\n\s*", "\n", f"{opening}>{rest}").strip()


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
    groups = []
    for decoding in decodings:
        results = [measures.result(report, decoding, system) for system in report["systems"]]
        measure = measures.error_measures(results[0])[0]
        title = f"{measures.initials(measure)}, {decoding.title}"
        groups.append(Group(title, measure, [result["wer"] for result in results], [result["ci95"] for result in results]))
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
    places = slots * np.arange(len(groups))[:, None] + np.arange(len(titles)) + 1
    with style():
        figure = Figure(figsize=(5.5, 0.5 + 0.24 * slots * len(groups)), layout="tight")
        axes = figure.add_subplot()
        for row, group in enumerate(groups):
            axes.annotate(group.title, (0, row * slots), (2, 0), textcoords="offset points", va="center", fontsize=9.5)
            lengths, spans = np.array([value or 0.0 for value in group.values]), None
            if group.intervals:
                low, high = np.transpose(group.intervals)
                spans = np.maximum([lengths - low, high - lengths], 0.0)
            bars = axes.barh(
                places[row], lengths, 0.88, color=[system_colour(column) for column in range(len(titles))], xerr=spans,
                error_kw={"ecolor": COLOURS["ink"], "elinewidth": 1.1, "capsize": 2.5, "capthick": 1.1},
            )  # fmt: skip
            axes.bar_label(bars, [measures.number(value, group.measure.digits) for value in group.values], padding=5, fontsize=9)
        axes.set_yticks(places.ravel(), titles * len(groups))
        axes.set_ylim(slots * len(groups) - 0.6, -0.7)
        axes.margins(x=0.18)
        axes.set_xlim(left=0)
        axes.grid(axis="x")
        axes.tick_params(length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(label)
    return figure


def training_curves(report: dict, histories: dict[str, dict[str, list[list[dict]]]]) -> list[Picture]:
    """Losses and validations of every training, one line per training; what was never measured is left out.

    `histories`: training, features or units -> system -> for each seed, records of its validations.
    """
    pictures, titles = [], measures.system_titles(report)
    owners = {"training": titles.get(artifacts.SPIN), "features": "Recognisers", "units": "Recognisers of units"}
    for kind, by_system in histories.items():
        for key, (label, caption) in (TRAINING if kind == "training" else RECOGNISERS).items():
            lines = [(system, *points(records, key)) for system, seeds in by_system.items() for records in seeds]
            lines = [line for line in lines if line[1]]
            if lines:
                ends = "; ".join(
                    f"{titles[system]} from {values[0]:.4g} at step {steps[0]:g} to {values[-1]:.4g} at step {steps[-1]:g}"
                    for system, steps, values in lines
                )
                title = f"{owners[kind]}: {label.removesuffix(', %')}"
                level = report["config"]["spin"]["codebook_size"] if key == "perplexity" else None
                figure = _plot_curves(label, titles, lines, level)
                pictures.append(Picture(f"{kind}_{key}", title, f"Line chart: {label}. {ends}.", caption, figure))
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


def unit_maps(report: dict, counts: dict[str, tuple[list[str], np.ndarray]]) -> list[Picture]:
    """One picture per system, of its phones and their frames in each unit (P, K); a system without a counted frame has none."""
    pictures = []
    for index, (system, title) in enumerate(measures.system_titles(report).items()):
        content = unit_map(*counts[system]) if system in counts else None
        if content is None or not content.shares.size:
            continue
        clear, columns = f"{100 * content.clear_share:.0f}", content.shares.shape[1]
        pnmi = measures.number(report["units"][system].get("pnmi"), 3)
        alt = (
            f"Map of P(phone | unit) for {title}: {columns} units, {len(content.phones)} phones, PNMI {pnmi}; "
            f"{clear} % of the units have one phone in at least half of their frames."
        )
        unused = f" Units without a frame: {content.unused}." if content.unused else ""
        caption = (
            "Columns are units, rows phones; the depth of colour is the share of the unit's frames with that phone. Look for a "
            f"sharp staircase with little haze. Units with one phone in at least half of their frames: {clear}\u00a0%.{unused}"
        )
        pictures.append(Picture(f"map_{index}", f"Units and phones: {title}", alt, caption, plot_unit_map(content)))
    return pictures


def utterances(context: Context, report: dict) -> list[Picture]:
    """The first utterances of the first test part that every system has units of; without those whose audio is gone."""
    titles, pictures = measures.system_titles(report), []
    for cut, units in first_utterances(context, systems_of(context.config, context.exp), UTTERANCES_SHOWN):
        named = {titles[system]: own for system, own in units.items()}
        try:
            pictures.append(utterance(f"utterance_{len(pictures)}", cut, read_audio(cut), named))
        except UnreadableAudio as error:
            context.log.warning("no picture of %s: %s", cut.id, error)
    return pictures


def utterance(name: str, cut: Cut, audio: np.ndarray, units: dict[str, Sequence[int]]) -> Picture:
    """The spectrogram of (S,) audio at 16 kHz above its phones and the (T,) units of every system, by title."""
    samples = int(min(LONGEST_IN_S, cut.duration) * artifacts.SAMPLE_RATE)
    seconds, frames = samples / artifacts.SAMPLE_RATE, samples // artifacts.HOP_IN_SAMPLES
    items = [item for item in alignment_of(cut) or () if item.start < seconds]
    phones = [(item.start, min(item.start + item.duration, seconds), item.symbol) for item in items]
    units = {title: sequence[:frames] for title, sequence in units.items()}
    counts = ", ".join(f"{len(list(itertools.groupby(sequence)))} runs of units {title}" for title, sequence in units.items())
    alt = f"Spectrogram of {seconds:.1f} s of utterance {cut.id} with {len(phones)} phones and {counts} below it."
    text = next((supervision.text for supervision in cut.supervisions if supervision.text), "")
    caption = (
        f"\u201c{text}\u201d. Each box is a run of equal units, with its number where it is longer than a frame. Look for "
        "units that begin and end with the phones, and for the same unit where the same phone comes again."
    )
    return Picture(name, f"Utterance {cut.id}", alt, caption, plot_utterance(audio[:samples], phones, units))
