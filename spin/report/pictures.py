"""Pictures of the page: SVG in the page's colours, units by phones, and a few test utterances with the units of every system."""

import functools
import io
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import matplotlib
import numpy as np
from lhotse.cut import Cut
from matplotlib.figure import Figure

from spin import artifacts, products
from spin.data.audio import UnreadableAudio, read_audio
from spin.data.cuts import read_cuts
from spin.report import measures
from spin.runtime.context import Context
from spin.runtime.figures import COLOURS, SYSTEM_COLOURS, style
from spin.systems import systems_of
from spin.units.figures import Span, plot_unit_map, plot_utterance, unit_map
from spin.units.units import alignment_of, read_units

UTTERANCES_SHOWN = 2
LONGEST_IN_S = 2.5  # longer utterances are cut: the labels of units must stay readable
VARIABLES = {**COLOURS, **{f"system{index}": colour for index, colour in enumerate(SYSTEM_COLOURS)}}  # CSS variable -> colour


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


def on_white(picture: Picture) -> str:
    """The SVG document on white, for readers that show it alone."""
    return picture.document.replace("<svg ", '<svg style="background: white" ', 1)


def inline_svg(picture: Picture) -> str:
    """The picture as an element of a page: as wide as its column, in the page's colours, with identifiers of its own."""
    text = picture.document
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text[text.index("<svg") :], flags=re.DOTALL)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda match: f' id="{picture.name}-{match[1]}"' if match[1] in used else "", text)
    text = re.sub(r"(url\(#|href=\"#)", rf"\g<1>{picture.name}-", text)
    for name, value in VARIABLES.items():
        text = text.replace(value, f"var(--{name})")
    text = re.sub(r"font: ([0-9.]+)px [^;\"]*", r"font-size: \1px", text)
    head, rest = text.split(">", 1)
    size = re.search(r'viewBox="[^"]+"', head)[0]
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    opening = f'<svg {size} role="img" aria-labelledby="{picture.name}-alt" {spaces}'
    return re.sub(r"\n\s*", "\n", f"{opening}>{rest}").strip()


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
    figure = plot_utterance(item.audio, item.phones, units)
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
        pictures.append(Picture(f"map_{index}", f"Units and phones: {title}", alt, caption, plot_unit_map(content)))
    return pictures
