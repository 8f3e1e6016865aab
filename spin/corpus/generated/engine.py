"""eSpeak NG through ctypes: text to samples with the position of every phoneme.

The engine keeps state between calls that no reset reaches, is not thread-safe, and cannot be initialised twice. So a process
speaks for one speaker only, from a fresh start, and ends; then the same sentences give the same bytes.
"""

import ctypes
import os
from pathlib import Path

import numpy as np

from spin import artifacts
from spin.errors import DataError

SYNCHRONOUS, PHONEME_EVENTS, DONT_EXIT, CHARS_UTF8, RATE_PARAMETER = 2, 1, 0x8000, 1, 1  # of espeak-ng/speak_lib.h
EVENT_END, EVENT_PHONEME = 0, 7
NOISE_SEED = 1
LONGEST_DATA_PATH = 140  # the engine's buffer holds 160 characters and appends names of its own
# Phones of ARPAbet (as in the CMU dictionary, without stress): the mnemonics of the engine's English voices.
_TABLE = """SIL: _ _: _| _! _|| _^_
IY: i: i, IH: I I2 I# i@ i@3, EH: E e@ E2, AE: a aa, AA: A: A@ 0, AO: O: O@ o@ O O2 02, UH: U U@, UW: u: u
AH: @ @2 @5 V a# @L @- @# V2, ER: 3 3: VR IR ER, EY: eI, AY: aI aI2 aI@ aI3, OY: OI OI2, AW: aU aU@ aU2, OW: oU oU# o
P: p, B: b, T: t t# t2 ? t[, D: d d# d[, K: k x, G: g, CH: tS, JH: dZ
F: f, V: v v#, TH: T, DH: D, S: s, Z: z z#, SH: S, ZH: Z, HH: h
M: m m-, N: n n-, NG: N, L: l l# L, R: r r- r/ *, W: w w# W, Y: j"""
PHONES_OF = dict(entry.split(": ", 1) for entry in _TABLE.replace("\n", ", ").split(", "))
FOLD = {mnemonic: phone for phone, mnemonics in PHONES_OF.items() for mnemonic in mnemonics.split()}
MARKS = (";", "")  # palatalisation and the like: no segment of their own, their time belongs to the phone before


class _Event(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int) for name in ("type", "identifier", "text_position", "length", "audio_position", "sample")),
        ("user_data", ctypes.c_void_p),
        ("mnemonic", ctypes.c_char * 8),  # of a union with numbers and names
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def link_data(folder: Path, name: str, variant: str) -> Path:
    """A private copy of the engine's data in an empty folder, to hand to Engine: links, and a voice variant by its name."""
    import espeakng_loader

    source, data = Path(espeakng_loader.get_data_path()), folder / "espeak-ng-data"
    if len(str(data)) > LONGEST_DATA_PATH:
        found, expected = f"a path of {len(str(data))} characters", f"at most {LONGEST_DATA_PATH}, as eSpeak NG's buffer is short"
        raise DataError(f"temporary folder {folder}", found=found, expected=expected, remedy="set TMPDIR to a shorter path")
    (data / "voices" / "!v").mkdir(parents=True)
    for entry in source.iterdir():
        if entry.name != "voices":
            os.symlink(entry, data / entry.name)
    (data / "voices" / "!v" / name).write_text(variant, encoding="utf-8")
    return data


class Engine:
    """One voice in this process: data and variant as for link_data, an accent of render.ACCENTS, words per minute."""

    def __init__(self, data: Path, accent: str, variant: str, rate: int):
        import espeakng_loader

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._library.espeak_Initialize.restype = ctypes.c_int
        self.sample_rate = self._library.espeak_Initialize(SYNCHRONOUS, 0, str(data).encode(), PHONEME_EVENTS | DONT_EXIT)
        if self.sample_rate <= 0:
            cause = f"its data at {data} cannot be read"
            raise DataError("eSpeak NG", found=f"status {self.sample_rate}", expected="a sample rate", cause=cause)
        self._keep = _Callback(self._receive)  # a callback that Python frees would still be called
        self._library.espeak_SetSynthCallback(self._keep)
        status = self._library.espeak_SetVoiceByName(f"{accent}+{variant}".encode())
        if status != 0:
            expected = "an accent and a variant it knows"
            raise DataError(f"voice {accent}+{variant}", found=f"status {status} of eSpeak NG", expected=expected)
        self._library.espeak_SetParameter(RATE_PARAMETER, rate, 0)
        # Breath is noise, and the engine seeds its noise from the clock when it starts.
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(NOISE_SEED))

    def _receive(self, wave, count, events) -> int:
        if count > 0 and wave:
            self._samples.append(np.ctypeslib.as_array(wave, shape=(count,)).copy())
        index = 0
        while (event := events[index]).type != EVENT_END:
            if event.type == EVENT_PHONEME:
                self._phonemes.append((event.mnemonic.decode("utf-8"), event.sample))
            index += 1
        return 0

    def speak(self, text: str) -> tuple[np.ndarray, list[tuple[str, int]]]:
        """Samples (S,) int16 at self.sample_rate, and (mnemonic, start in samples) of each phoneme in order."""
        self._samples, self._phonemes = [], []
        content = text.encode("utf-8")
        status = self._library.espeak_Synth(content, len(content) + 1, 0, 1, 0, CHARS_UTF8, None, None)
        if status != 0 or not self._samples:
            found = f"status {status} of eSpeak NG, {len(self._samples)} blocks of audio"
            raise DataError(f"sentence {text!r}", found=found, expected="audio")
        return np.concatenate(self._samples), self._phonemes


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
