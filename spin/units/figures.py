"""Figures of units: units by phones, and an utterance with its phones and units; and stage 3 in TensorBoard."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from lhotse.cut import Cut
from matplotlib.figure import Figure

from spin import artifacts, products
from spin.data.audio import read_audio
from spin.data.cuts import read_cuts
from spin.figures import COLOURS, plot_spectrogram, style, system_colour, tint
from spin.runtime.files import read_json
from spin.runtime.logs import summary_writer
from spin.runtime.product import Context
from spin.systems import System
from spin.units.units import alignment_of, by_class, find_runs, phone_class, read_units

NARROWEST_IN_S = 0.03  # a narrower box, of a single unit, has no label
Span = tuple[float, float, str]  # start and end in seconds, label


class UnitMap(NamedTuple):
    """P(phone | unit), sorted for reading."""

    phones: tuple[str, ...]  # (P,) names, by class
    shares: np.ndarray  # (P, U) float64; each column sums to 1; columns by main phone, then by its share
    unused: int  # units without a frame

    @property
    def clear_share(self) -> float:
        """Share of the used units that have one phone in at least half of their frames; 0 without units."""
        return float((self.shares.max(axis=0) >= 0.5).mean()) if self.shares.size else 0.0


def unit_map(phones: Sequence[str], counts: np.ndarray) -> UnitMap:
    """Sorts counts (P, K) of frames into a map; phones and units without a frame are left out."""
    rows = [phones.index(phone) for phone in by_class(phones)]
    rows = [row for row in rows if counts[row].sum() > 0]
    counts = counts[rows].astype(np.float64)
    used = np.flatnonzero(counts.sum(axis=0) > 0)
    shares = counts[:, used] / counts[:, used].sum(axis=0)
    columns = sorted(range(len(used)), key=lambda unit: (shares[:, unit].argmax(), -shares[:, unit].max(), unit))
    return UnitMap(tuple(phones[row] for row in rows), shares[:, columns], int(counts.shape[1] - len(used)))


def plot_unit_map(content: UnitMap) -> Figure:
    """Phones as rows, units as columns; the opacity is the share of the unit's frames with that phone."""
    with style():
        figure = Figure(figsize=(5.6, 0.9 + 0.128 * len(content.phones)), layout="tight")
        axes = figure.add_subplot()
        axes.imshow(_image(content.shares), aspect="auto", interpolation="none")
        axes.set_yticks(range(len(content.phones)), content.phones, fontsize=7)
        axes.set_xlabel(f"{content.shares.shape[1]} units, sorted by their commonest phone")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        _draw_classes(axes, [phone_class(phone) for phone in content.phones])
        _draw_scale(axes)
    return figure


def _image(shares: np.ndarray) -> np.ndarray:
    return tint(np.round(shares**0.75, 3))  # faint ones are lifted a little


def _draw_classes(axes, classes: list[str]) -> None:
    """Lines between the classes of phones, and their names on the right."""
    start = 0
    for name, rows in itertools.groupby(classes):
        stop = start + len(list(rows))
        if start > 0:
            axes.axhline(start - 0.5, color=COLOURS["grid"], linewidth=0.8)
        axes.annotate(
            name, (1.0, (start + stop - 1) / 2), (5, 0), xycoords=("axes fraction", "data"),
            textcoords="offset points", va="center", fontsize=7.5, color=COLOURS["muted"],
        )  # fmt: skip
        start = stop


def _draw_scale(axes) -> None:
    scale = axes.inset_axes((0.7, 1.02, 0.3, 0.016))
    scale.imshow(_image(np.linspace(0.0, 1.0, 64)[None, :]), aspect="auto", interpolation="none", extent=(0.0, 1.0, 0.0, 1.0))
    scale.set_yticks([])
    scale.set_xticks([0.0, 0.5, 1.0], ["0", "share 0.5", "1"], fontsize=7.5)
    scale.tick_params(length=0, pad=1, labelbottom=False, labeltop=True)
    scale.spines[:].set_visible(False)


def unit_spans(units: Sequence[int]) -> list[Span]:
    """Runs of equal units, in seconds."""
    runs, durations = find_runs(units)
    stops = np.cumsum(durations)
    spans = zip((stops - durations) * artifacts.FRAME_SHIFT_IN_S, stops * artifacts.FRAME_SHIFT_IN_S, runs, strict=True)
    return [(float(start), float(stop), str(unit)) for start, stop, unit in spans]


def plot_utterance(audio: np.ndarray, phones: Sequence[Span], units: dict[str, Sequence[int]], title: str = "") -> Figure:
    """Spectrogram of (S,) audio at 16 kHz, phones (if any), and the (T,) units of each system, one below the other."""
    strips = [("phones", phones, COLOURS["muted"])]
    strips += [(name, unit_spans(sequence), system_colour(index)) for index, (name, sequence) in enumerate(units.items())]
    seconds = len(audio) / artifacts.SAMPLE_RATE
    with style():
        figure = Figure(figsize=(max(8.4, 2.4 * seconds), 2.2 + 0.42 * len(strips)), layout="constrained")
        rows = figure.subplots(1 + len(strips), 1, sharex=True, height_ratios=[5] + [1] * len(strips))
        plot_spectrogram(rows[0], audio)
        rows[0].set_title(title, fontsize=9, loc="left")
        for axes, (name, spans, colour) in zip(rows[1:], strips, strict=True):
            _plot_strip(axes, name, spans, colour)
        rows[-1].set_xlabel("seconds")
    return figure


def _plot_strip(axes, name: str, spans: Sequence[Span], colour: str) -> None:
    """Boxes along time with their labels, which stand upright in narrow boxes."""
    for index, (start, stop, label) in enumerate(spans):
        axes.axvspan(start, stop, color=colour, alpha=(0.30, 0.14)[index % 2], linewidth=0)
        rotation = 90 if stop - start < 0.02 * len(label) else 0
        if stop - start >= NARROWEST_IN_S:
            axes.text((start + stop) / 2, 0.5, label, ha="center", va="center", fontsize=6.0, rotation=rotation)
    axes.set(yticks=[], ylim=(0, 1))
    axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def write_pictures(context: Context, systems: Sequence[System], folder: Path) -> None:
    """Event files: the finished metrics of all systems, unit maps, and a few utterances with the units of every system."""
    with summary_writer(folder) as writer:
        for system in systems:
            metrics = products.metrics(context, system).path
            for name, value in read_json(artifacts.metrics_in(metrics))["units"].items():
                if value is not None:
                    writer.add_scalar(f"{name}/{system.name}", value, 0)
            counts = artifacts.phone_counts_in(metrics)
            if counts.exists():
                with np.load(counts, allow_pickle=False) as content:
                    figure = plot_unit_map(unit_map(content["phones"].tolist(), content["counts"]))
                writer.add_figure(f"units_by_phones/{system.name}", figure, 0)
        for cut, units in first_utterances(context, systems, context.config.units.pictures):
            spans = [(item.start, item.start + item.duration, item.symbol) for item in alignment_of(cut) or ()]
            title = f"{cut.id}: {cut.supervisions[0].text}" if cut.supervisions else cut.id
            writer.add_figure(f"utterance/{cut.id}", plot_utterance(read_audio(cut), spans, units, title), 0)


def first_utterances(context: Context, systems: Sequence[System], count: int) -> Iterator[tuple[Cut, dict[str, np.ndarray]]]:
    """The first utterances of the first test part with the (T,) units of each system by name, while all have units of them."""
    folders = [products.units(context, system, context.config.corpus.test[0]).require() for system in systems]
    streams = [read_units(artifacts.units_lines(folder)) for folder in folders]
    for cut, *lines in itertools.islice(zip(read_cuts(artifacts.cuts_in(folders[0])), *streams), count):
        if {name for name, _ in lines} != {cut.id}:
            return  # a system that rejected an utterance; the rest do not match either
        yield cut, {system.name: units for system, (_, units) in zip(systems, lines, strict=True)}
