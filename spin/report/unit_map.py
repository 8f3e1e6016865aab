"""Units by phones: a picture of what each unit stands for, before and after Spin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from spin import artifacts
from spin.report import metrics
from spin.report.pictures import COLOURS, Picture, style

# ARPAbet by manner of articulation; inside a class, neighbours sound alike.
PHONE_CLASSES = {
    "vowels": ("IY", "IH", "EY", "EH", "AE", "AA", "AO", "OW", "UH", "UW", "AH", "AX", "ER", "AY", "AW", "OY"),
    "glides": ("W", "Y", "R", "L"),
    "nasals": ("M", "N", "NG"),
    "fricatives": ("HH", "V", "F", "DH", "TH", "Z", "S", "ZH", "SH", "JH", "CH"),
    "stops": ("B", "P", "D", "T", "DX", "G", "K"),
    "silence": (artifacts.SILENCE,),
}
OTHER = "other"
BRIGHT = "#2f7de1"  # reads on white and on black; its opacity carries the number


@dataclass(frozen=True)
class UnitMap:
    """P(phone | unit) in reading order.

    Args:
        phones: (P,) names, by class.
        classes: (P,) class of each phone.
        shares: (P, U) float64, each column sums to 1; columns by main phone, then by its share.
        unused: number of units that no frame has.
    """

    phones: tuple[str, ...]
    classes: tuple[str, ...]
    shares: np.ndarray
    unused: int


def phone_class(phone: str) -> str:
    """The class of a phone, 'other' for one outside the table."""
    return next((name for name, members in PHONE_CLASSES.items() if phone in members), OTHER)


def unit_map(phones: list[str], counts: np.ndarray) -> UnitMap:
    """Sorts counts (P, K) of frames into a map; phones that never occur and units that are never used are left out."""
    order = {phone: index for index, phone in enumerate(phone for members in PHONE_CLASSES.values() for phone in members)}
    rows = sorted(range(len(phones)), key=lambda row: (order.get(phones[row], len(order)), phones[row]))
    rows = [row for row in rows if counts[row].sum() > 0]
    counts = counts[rows].astype(np.float64)
    used = np.flatnonzero(counts.sum(axis=0) > 0)
    shares = counts[:, used] / counts[:, used].sum(axis=0)
    columns = sorted(range(len(used)), key=lambda unit: (shares[:, unit].argmax(), -shares[:, unit].max(), unit))
    names = tuple(phones[row] for row in rows)
    return UnitMap(names, tuple(phone_class(name) for name in names), shares[:, columns], int(counts.shape[1] - len(used)))


def perplexity(counts: np.ndarray) -> float | None:
    """exp of the entropy of the units in counts (P, K): from 1 to K; None without any frame."""
    frames = counts.sum(axis=0).astype(np.float64)
    if frames.sum() == 0:
        return None
    shares = frames[frames > 0] / frames.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def unit_pictures(phones: list[str], counts: dict[str, np.ndarray], report: dict) -> list[Picture]:
    """One picture a system; a system without a counted frame has none."""
    made = []
    for system, table in counts.items():
        content = unit_map(phones, table)
        if content.shares.size:
            made.append(_picture(system, content, (report["units"].get(system) or {}).get("pnmi")))
    return made


def _picture(system: str, content: UnitMap, pnmi: float | None) -> Picture:
    with style():
        figure = Figure(figsize=(5.6, 0.9 + 0.128 * len(content.phones)), layout="tight")
        axes = figure.add_subplot()
        axes.imshow(_coloured(content.shares), aspect="auto", interpolation="none")
        axes.set_yticks(range(len(content.phones)), content.phones, fontsize=7)
        axes.set_xlabel(f"{content.shares.shape[1]} units, sorted by their commonest phone")
        axes.tick_params(length=0)
        for side in axes.spines.values():
            side.set_visible(False)
        _draw_classes(axes, content)
        _draw_scale(axes)
    name, columns = metrics.system_title(system), content.shares.shape[1]
    sure = 100 * float((content.shares.max(axis=0) >= 0.5).mean())
    alt = (
        f"Map of P(phone | unit) for {name}: {columns} units, {len(content.phones)} phones, PNMI {metrics.number(pnmi, 3)}; "
        f"{sure:.0f} % of the units have one phone in at least half of their frames."
    )
    unused = f" Units that no frame has: {content.unused}." if content.unused else ""
    caption = (
        "Columns are units, rows phones; the depth of colour is the share of the unit's frames with that phone. Look for a sharp "
        f"staircase with little haze. Units that have one phone in at least half of their frames: {sure:.0f}\u00a0%.{unused}"
    )
    title = f"Units and phones: {name}"
    return Picture(f"map_{system}", title, alt, caption, figure)


def _coloured(shares: np.ndarray) -> np.ndarray:
    """(P, U) shares -> (P, U, 4) colours whose opacity is the share, the faint ones lifted a little."""
    image = np.zeros((*shares.shape, 4))
    image[..., :3] = to_rgb(BRIGHT)
    image[..., 3] = np.round(shares**0.75, 3)
    return image


def _draw_scale(axes) -> None:
    scale = axes.inset_axes((0.7, 1.02, 0.3, 0.016))
    scale.imshow(_coloured(np.linspace(0.0, 1.0, 64)[None, :]), aspect="auto", interpolation="none", extent=(0.0, 1.0, 0.0, 1.0))
    scale.set_yticks([])
    scale.set_xticks([0.0, 0.5, 1.0], ["0", "share 0.5", "1"], fontsize=7.5)
    scale.tick_params(length=0, pad=1, labelbottom=False, labeltop=True)
    for side in scale.spines.values():
        side.set_visible(False)


def _draw_classes(axes, content: UnitMap) -> None:
    """Lines between the classes of phones, and their names on the right."""
    starts = [row for row in range(len(content.classes)) if row == 0 or content.classes[row] != content.classes[row - 1]]
    for start, stop in zip(starts, [*starts[1:], len(content.classes)]):
        if start > 0:
            axes.axhline(start - 0.5, color=COLOURS["grid"], linewidth=0.8)
        axes.annotate(
            content.classes[start], (1.0, (start + stop - 1) / 2), (5, 0), xycoords=("axes fraction", "data"),
            textcoords="offset points", va="center", fontsize=7.5, color=COLOURS["muted"],
        )  # fmt: skip
