"""The engine's phoneme mnemonics, folded to the 39 phones of ARPAbet (as in the CMU dictionary, without stress) and silence."""

from __future__ import annotations

from spin import artifacts
from spin.errors import DataError

PHONES_OF = {
    artifacts.SILENCE: "_ _: _| _! _|| _^_",
    "IY": "i: i",
    "IH": "I I2 I# i@ i@3",
    "EH": "E e@ E2",
    "AE": "a aa",
    "AA": "A: A@ 0",
    "AO": "O: O@ o@ O O2 02",
    "UH": "U U@",
    "UW": "u: u",
    "AH": "@ @2 @5 V a# @L @- @# V2",
    "ER": "3 3: VR IR ER",
    "EY": "eI",
    "AY": "aI aI2 aI@ aI3",
    "OY": "OI OI2",
    "AW": "aU aU@ aU2",
    "OW": "oU oU# o",
    "P": "p",
    "B": "b",
    "T": "t t# t2 ? t[",
    "D": "d d# d[",
    "K": "k x",
    "G": "g",
    "CH": "tS",
    "JH": "dZ",
    "F": "f",
    "V": "v v#",
    "TH": "T",
    "DH": "D",
    "S": "s",
    "Z": "z z#",
    "SH": "S",
    "ZH": "Z",
    "HH": "h",
    "M": "m m-",
    "N": "n n-",
    "NG": "N",
    "L": "l l# L",
    "R": "r r- r/ *",
    "W": "w w# W",
    "Y": "j",
}
FOLD = {mnemonic: phone for phone, mnemonics in PHONES_OF.items() for mnemonic in mnemonics.split()}
MARKS = (";", "")  # palatalisation and the like: no segment of their own, their time belongs to the phone before


def fold(mnemonic: str) -> str | None:
    """The ARPAbet phone of a mnemonic, None for a mark that is no segment.

    Raises:
        DataError: a mnemonic that the table does not know.
    """
    plain = mnemonic.lstrip("'," + '"').rstrip("\x00")
    if plain in MARKS:
        return None
    if plain not in FOLD:
        raise DataError(
            f"phoneme mnemonic {mnemonic!r}", found="not in the table", expected="a mnemonic of eSpeak NG's English voices"
        )
    return FOLD[plain]


def segments(events: list[tuple[str, int]], end: int) -> list[tuple[str, int, int]]:
    """(phone, start, stop) in samples, without gaps from the first event to `end`.

    Silences in a row are joined, empty segments left out.
    """
    bounds = [(fold(mnemonic), start) for mnemonic, start in events]
    bounds = [(phone, start) for phone, start in bounds if phone is not None]
    joined: list[tuple[str, int, int]] = []
    for index, (phone, start) in enumerate(bounds):
        stop = bounds[index + 1][1] if index + 1 < len(bounds) else end
        if stop <= start:
            continue
        if joined and phone == artifacts.SILENCE and joined[-1][0] == phone:
            joined[-1] = (phone, joined[-1][1], stop)
        else:
            joined.append((phone, start, stop))
    return joined
