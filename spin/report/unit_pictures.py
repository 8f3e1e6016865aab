"""Pictures of units for the page: units by phones of every system, and a few test utterances with the units of every system."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from lhotse.cut import Cut

from spin import artifacts, products
from spin.data.audio import UnreadableAudio, read_audio
from spin.data.cuts import read_cuts
from spin.report import measures
from spin.report.svg import Picture
from spin.runtime.context import Context
from spin.systems import systems_of
from spin.units.figures import Span, draw_unit_map, draw_utterance, unit_map
from spin.units.phones import alignment_of
from spin.units.units import read_units

UTTERANCES_SHOWN = 2
LONGEST_IN_S = 2.5  # longer utterances are cut: the labels of units must stay readable


class Utterance(NamedTuple):
    """One test utterance."""

    name: str
    text: str
    audio: np.ndarray  # (S,) at 16 kHz, at most LONGEST_IN_S
    phones: list[Span]  # may be empty
    units: dict[str, Sequence[int]]  # system -> (T,) units of 20 ms


def read_utterances(context: Context) -> list[Utterance]:
    """The first utterances of the first test part that every system has units of; without those whose audio is gone."""
    part, systems = context.config.corpus.test[0], systems_of(context.config, context.exp)
    folders = [products.units(context, system, part).require() for system in systems]
    streams = [read_units(artifacts.units_lines(folder)) for folder in folders]
    utterances = []
    for cut, *lines in itertools.islice(zip(read_cuts(artifacts.cuts_in(folders[0])), *streams), UTTERANCES_SHOWN):
        if {name for name, _ in lines} != {cut.id}:
            break  # a system that rejected an utterance; the rest do not match either
        try:
            units = {system.name: own for system, (_, own) in zip(systems, lines)}
            utterances.append(_cut_short(cut, read_audio(cut), units))
        except UnreadableAudio as error:
            context.log.warning("no picture of %s: %s", cut.id, error.reason)
    return utterances


def _cut_short(cut: Cut, audio: np.ndarray, units: dict[str, Sequence[int]]) -> Utterance:
    samples = int(min(LONGEST_IN_S, cut.duration) * artifacts.SAMPLE_RATE)
    seconds, frames = samples / artifacts.SAMPLE_RATE, samples // artifacts.HOP_IN_SAMPLES
    items = [item for item in alignment_of(cut) or () if item.start < seconds]
    phones = [(item.start, min(item.start + item.duration, seconds), item.symbol) for item in items]
    text = next((supervision.text for supervision in cut.supervisions if supervision.text), "")
    return Utterance(cut.id, text, audio[:samples], phones, {name: own[:frames] for name, own in units.items()})


def utterance_picture(report: dict, number: int, item: Utterance) -> Picture:
    """The spectrogram of an utterance above its phones and the units of every system."""
    titles = measures.system_titles(report)
    units = {titles[name]: sequence for name, sequence in item.units.items()}
    counts = ", ".join(f"{len(list(itertools.groupby(sequence)))} runs of units {title}" for title, sequence in units.items())
    seconds = len(item.audio) / artifacts.SAMPLE_RATE
    alt = f"Spectrogram of {seconds:.1f} s of utterance {item.name} with {len(item.phones)} phones and {counts} below it."
    caption = (
        f"\u201c{item.text}\u201d. Each box is a run of equal units, with its number where it is longer than a frame. Look for "
        "units that begin and end with the phones, and for the same unit where the same phone comes again."
    )
    figure = draw_utterance(item.audio, item.phones, units)
    return Picture(f"utterance_{number}", f"Utterance {item.name}", alt, caption, figure)


def unit_map_pictures(report: dict, counts: dict[str, tuple[list[str], np.ndarray]]) -> list[Picture]:
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
        pictures.append(Picture(f"map_{index}", f"Units and phones: {title}", alt, caption, draw_unit_map(content)))
    return pictures
