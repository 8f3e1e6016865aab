"""The phones of a cut, and the classes that order phones in tables and figures."""

import math
from collections.abc import Iterable

from lhotse.supervision import AlignmentItem

from spin import artifacts

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


def frame_labels(items: Iterable[AlignmentItem], frames: int, shift: float = artifacts.PHONE_SHIFT_IN_S) -> list[str]:
    """The phone at the centre of each of `frames` frames of `shift` seconds; SIL where no item is. Items do not overlap."""
    labels = [artifacts.SILENCE] * frames
    for item in sorted(items, key=lambda item: item.start):
        # How many frame centres (i + 1/2) * shift lie before a time; rounded first, as times are sums of binary fractions.
        centres = (math.ceil(round(time / shift, 6) - 0.5) for time in (item.start, item.end))
        first, last = (max(0, min(frames, count)) for count in centres)
        labels[first:last] = [item.symbol] * (last - first)
    return labels


def alignment_of(cut, tier: str = artifacts.PHONE_TIER) -> list | None:
    """The alignment items of a cut's supervision in one tier; None without an alignment."""
    return next((items for own in cut.supervisions if (items := (own.alignment or {}).get(tier))), None)
