"""The phones of a cut, and the classes that order phones in tables and figures."""

from __future__ import annotations

from collections.abc import Iterable

from spin import artifacts
from spin.corpus.alignment import labels_from_items

LABELS_PER_UNIT = round(artifacts.FRAME_SHIFT_IN_S / artifacts.PHONE_SHIFT_IN_S)

# ARPAbet without stress, by manner of articulation: the order of the rows of unit maps.
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
    """The phone at the middle of each of `count` frames of 10 ms; silence outside all alignment items, given in any order."""
    return labels_from_items(sorted(items, key=lambda item: item.start), count)


def alignment_of(cut, tier: str = artifacts.PHONE_TIER) -> list | None:
    """The alignment items of a cut's supervision in one tier; None without an alignment."""
    return next((items for own in cut.supervisions if (items := (own.alignment or {}).get(tier))), None)
