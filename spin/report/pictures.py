"""How a picture is held and written: SVG of the same bytes every time, whose colours follow the page's light or dark scheme."""

from __future__ import annotations

import functools
import io
import re
from dataclasses import dataclass

import matplotlib
from matplotlib.figure import Figure

# Colours of the light scheme, by the name of the page's CSS variable: in a page every one becomes var(--name), so that one
# drawing serves both schemes.
COLOURS = {"ink": "#1d2530", "muted": "#5d6874", "grid": "#dde2e8", "baseline": "#8b95a1", "spin": "#1769c2", "other": "#b4731c"}
STYLE = {
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.0,
    "svg.fonttype": "none",  # text stays text: small, readable aloud, and in the page's own face
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": COLOURS["muted"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.labelsize": 10.0,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.8,
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "savefig.pad_inches": 0.06,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


@dataclass(frozen=True)
class Picture:
    """A drawing with its words.

    Args:
        name: file name without suffix, unique in the report.
        title: what it shows.
        alt: what a reader who cannot see it should know.
        caption: what to look for.
        figure: the drawing.
    """

    name: str
    title: str
    alt: str
    caption: str
    figure: Figure

    @functools.cached_property
    def document(self) -> str:
        """The drawing as an SVG document on nothing, without date or version: the same bytes every time."""
        buffer = io.StringIO()
        metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        with style(), matplotlib.rc_context({"svg.hashsalt": self.name}):
            self.figure.savefig(buffer, format="svg", metadata=metadata, facecolor="none", bbox_inches="tight")
        return buffer.getvalue()


def style():
    """The context in which every figure is made and written."""
    return matplotlib.rc_context(STYLE)


def colour(system: str) -> str:
    return COLOURS.get(system, COLOURS["other"])


def on_white(picture: Picture) -> str:
    """The SVG document with a white ground, for readers that show it alone."""
    return picture.document.replace("<svg ", '<svg style="background: white" ', 1)


def inline_svg(picture: Picture) -> str:
    """The picture as an element of a page: as wide as its column, in the page's colours, with identifiers of its own."""
    text = picture.document
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda match: f' id="{picture.name}-{match[1]}"' if match[1] in used else "", text)
    text = re.sub(r"(url\(#|href=\"#)", rf"\g<1>{picture.name}-", text)
    for name, value in COLOURS.items():
        text = text.replace(value, f"var(--{name})")
    text = re.sub(r"font: ([0-9.]+)px [^;\"]*", r"font-size: \1px", text)
    head, rest = text.split(">", 1)
    size = re.search(r'viewBox="[^"]+"', head)[0]
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    opening = f'<svg {size} role="img" aria-labelledby="{picture.name}-alt" {spaces}'
    return re.sub(r"\n\s*", "\n", f"{opening}>{rest}").strip()


def pixels(picture: Picture):
    """The picture on white as an array (height, width, 3) of uint8, for TensorBoard."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with style():
        picture.figure.set_facecolor("white")
        canvas = FigureCanvasAgg(picture.figure)
        canvas.draw()
        array = np.asarray(canvas.buffer_rgba())[..., :3].copy()
        picture.figure.set_facecolor("none")
    return array
