"""Sequences of units, 50 per second, as files of stage 3 and as runs of equal units; and the phones of a cut."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from lhotse.cut import Cut
from lhotse.supervision import AlignmentItem

from spin import artifacts
from spin.data.cuts import pair_cuts, write_cuts
from spin.data.store import ArrayWriter
from spin.errors import DataError, rerun
from spin.runtime.files import read_json, read_jsonl, write_json, write_jsonl

Lines = Iterable[tuple[str, np.ndarray | list[int]]]  # utterance id and (T,) units, one per line of units.jsonl
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


def find_runs(units: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Deduplication: (T,) units of frames -> (S,) one unit per run of equal ones, and (S,) frames of each run.

    >>> find_runs([7, 7, 7, 2])
    (array([7, 2]), array([3, 1]))
    """
    units = np.asarray(units, dtype=np.int64)
    starts = np.flatnonzero(np.diff(units, prepend=-1))  # units are at least 0
    return units[starts], np.diff(starts, append=len(units))


def smooth(units: np.ndarray, width: int) -> np.ndarray:
    """Majority filter: each frame gets the commonest unit of the `width` frames around it; of ties its own, else the lowest.

    Windows of an odd number of frames are cut at the ends of the (T,) units.
    """
    units, half = np.asarray(units), width // 2
    result = units.copy()
    for frame in range(len(units)) if half else ():
        counts = np.bincount(units[max(0, frame - half) : frame + half + 1])
        if counts[units[frame]] < counts.max():
            result[frame] = counts.argmax()
    return result


def read_units(path: str | Path) -> Iterator[tuple[str, np.ndarray]]:
    """(utterance id, (T,) int32 units) of each line of a units.jsonl of stage 3, in order."""
    for record in read_jsonl(path):
        yield record[artifacts.UNITS_ID], np.asarray(record[artifacts.UNITS_SEQUENCE], dtype=np.int32)


def find_units(exp: Path, system: str, parts: Iterable[str]) -> tuple[dict[str, Path], int]:
    """The units.jsonl of each part by one system of an experiment, and K; DataError where stage 3 has not written it."""
    lines = {part: artifacts.units_lines(artifacts.units_folder(exp, system, part)) for part in parts}
    for part, path in lines.items():
        if not path.is_file():
            expected, remedy = f"units of system {system}, part {part}", f"correct --system and --part, or {rerun(3)}"
            raise DataError(str(path), found="no such file", expected=expected, remedy=remedy)
    return lines, read_json(artifacts.codebook_in(path.parent))["codebook_size"]


def write_lines(folder: Path, lines: Lines, codebook_size: int) -> None:
    """Writes units.jsonl and codebook.json."""
    records = ({artifacts.UNITS_ID: name, artifacts.UNITS_SEQUENCE: np.asarray(units).tolist()} for name, units in lines)
    write_jsonl(artifacts.units_lines(folder), records)
    write_json(artifacts.codebook_in(folder), {"codebook_size": codebook_size})


def write_units(folder: Path, manifest: Path, lines: Lines, codebook_size: int) -> None:
    """Writes units.jsonl, codebook.json and cuts with UNITS_FIELD; raises as pair_cuts."""
    write_lines(folder, lines, codebook_size)
    with ArrayWriter(folder, "units") as writer:
        write_cuts(artifacts.cuts_in(folder), _cuts_with_units(manifest, folder, writer))


def _cuts_with_units(manifest: Path, folder: Path, writer: ArrayWriter) -> Iterator[Cut]:
    for cut, units in pair_cuts(manifest, read_units(artifacts.units_lines(folder))):
        array = writer.write(cut.id, units, artifacts.FRAME_SHIFT_IN_S, cut.start)
        kept = {key: value for key, value in (cut.custom or {}).items() if key != artifacts.HIDDEN_FIELD}
        cut.custom = kept | {artifacts.UNITS_FIELD: array}
        yield cut


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
