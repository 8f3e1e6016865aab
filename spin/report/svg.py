"""Pictures as SVG: the same bytes every time, in colours that follow the page's light or dark scheme."""

from __future__ import annotations

import functools
import io
import re
from dataclasses import dataclass

import matplotlib
from matplotlib.figure import Figure

from spin.runtime.figures import COLOURS, SYSTEM_COLOURS, style

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
