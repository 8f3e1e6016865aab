"""The phones of a cut, and the classes that order phones in pictures."""

from __future__ import annotations

from collections.abc import Iterable

from spin import artifacts
from spin.corpus.alignment import labels_from_items

LABELS_A_UNIT = round(artifacts.FRAME_SHIFT_IN_S / artifacts.PHONE_SHIFT_IN_S)

# ARPAbet without stress, by manner of articulation; the order of rows in the units-by-phones picture.
PHONE_CLASSES = {
    "silence": (artifacts.SILENCE,),
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


def frame_labels(items: Iterable, count: int) -> list[str]:
    """The phone at the middle of each of `count` frames of 10 ms; silence where no item is.

    Args:
        items: alignment items in seconds, in any order, not overlapping.
    """
    return labels_from_items(sorted(items, key=lambda item: item.start), count)


def alignment_of(cut) -> list | None:
    """The phone alignment of a cut's one supervision, None where it has none."""
    for supervision in cut.supervisions:
        items = (supervision.alignment or {}).get(artifacts.PHONE_TIER)
        if items:
            return items
    return None
