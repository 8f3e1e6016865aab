"""The engine's phoneme mnemonics, folded to the 39 phones of ARPAbet (as in the CMU dictionary, without stress) and silence."""

from __future__ import annotations

from spin import artifacts
from spin.errors import DataError

_TABLE = """SIL: _ _: _| _! _|| _^_
IY: i: i, IH: I I2 I# i@ i@3, EH: E e@ E2, AE: a aa, AA: A: A@ 0, AO: O: O@ o@ O O2 02, UH: U U@, UW: u: u
AH: @ @2 @5 V a# @L @- @# V2, ER: 3 3: VR IR ER, EY: eI, AY: aI aI2 aI@ aI3, OY: OI OI2, AW: aU aU@ aU2, OW: oU oU# o
P: p, B: b, T: t t# t2 ? t[, D: d d# d[, K: k x, G: g, CH: tS, JH: dZ
F: f, V: v v#, TH: T, DH: D, S: s, Z: z z#, SH: S, ZH: Z, HH: h
M: m m-, N: n n-, NG: N, L: l l# L, R: r r- r/ *, W: w w# W, Y: j"""
PHONES_OF = dict(entry.split(": ", 1) for entry in _TABLE.replace("\n", ", ").split(", "))
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
        expected = "a mnemonic of eSpeak NG's English voices"
        raise DataError(f"phoneme mnemonic {mnemonic!r}", found="not in the table", expected=expected)
    return FOLD[plain]


def segments(events: list[tuple[str, int]], end: int) -> list[tuple[str, int, int]]:
    """(phone, start, stop) in samples, without gaps from the first event to `end`.

    Silences in a row are joined, empty segments left out.
    """
    bounds = [(phone, start) for mnemonic, start in events if (phone := fold(mnemonic)) is not None]
    joined: list[tuple[str, int, int]] = []
    for (phone, start), stop in zip(bounds, [*(start for _, start in bounds[1:]), end]):
        if stop > start and joined and phone == joined[-1][0] == artifacts.SILENCE:
            joined[-1] = (phone, joined[-1][1], stop)
        elif stop > start:
            joined.append((phone, start, stop))
    return joined
