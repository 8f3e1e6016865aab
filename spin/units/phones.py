"""Phone labels on the grid of frames, and the classes that order phones in pictures."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from spin import artifacts

LABELS_A_UNIT = round(artifacts.FRAME_SHIFT_IN_S / artifacts.PHONE_SHIFT_IN_S)

# ARPAbet without stress, by manner of articulation; the order of rows in the units-by-phones picture.
PHONE_CLASSES = {
    "silence": ("SIL", "SPN"),
    "vowels": ("IY", "IH", "EH", "EY", "AE", "AA", "AW", "AY", "AH", "AO", "OY", "OW", "UH", "UW", "ER"),
    "approximants": ("W", "Y", "R", "L"),
    "nasals": ("M", "N", "NG"),
    "fricatives": ("HH", "F", "V", "TH", "DH", "S", "Z", "SH", "ZH"),
    "affricates": ("CH", "JH"),
    "stops": ("P", "B", "T", "D", "K", "G"),
}
_RANK = {phone: rank for rank, phone in enumerate(phone for phones in PHONE_CLASSES.values() for phone in phones)}


def phone_class(phone: str) -> str:
    """The class of an ARPAbet phone; 'other' for a symbol of another set."""
    return next((name for name, phones in PHONE_CLASSES.items() if phone in phones), "other")


def by_class(phones: Iterable[str]) -> list[str]:
    """Phones in the order of PHONE_CLASSES, other symbols after them in alphabetical order."""
    return sorted(phones, key=lambda phone: (_RANK.get(phone, len(_RANK)), phone))


def frame_labels(items: Iterable, count: int, shift_in_s: float = artifacts.PHONE_SHIFT_IN_S) -> list[str]:
    """The phone at the middle of each of `count` frames of `shift_in_s` seconds.

    Args:
        items: alignment items with symbol, start and duration in seconds (lhotse's AlignmentItem), in any order; where two overlap
            the later start wins.
        count: number of labels wanted; frame i is [i, i + 1) * shift_in_s.

    Returns:
        `count` symbols; artifacts.SILENCE where no item covers the middle of the frame, and for zero items.
    """
    items = sorted(items, key=lambda item: item.start)
    if not items or count <= 0:
        return [artifacts.SILENCE] * max(count, 0)
    starts = np.array([item.start for item in items])
    ends = np.array([item.start + item.duration for item in items])
    middles = (np.arange(count) + 0.5) * shift_in_s
    # Boundaries on a grid of 5 ms would fall on middles, where float noise decides: move the middles by less than a sample.
    found = np.searchsorted(starts, middles + 1e-6, side="right") - 1
    inside = (found >= 0) & (middles + 1e-6 < ends[np.maximum(found, 0)])
    symbols = [item.symbol for item in items]
    return [symbols[index] if ok else artifacts.SILENCE for index, ok in zip(found, inside)]


def alignment_of(cut) -> list | None:
    """The phone alignment of a cut's one supervision, None where it has none."""
    for supervision in cut.supervisions:
        items = (supervision.alignment or {}).get(artifacts.PHONE_TIER)
        if items:
            return items
    return None
