"""Generated speakers: eSpeak NG voices that speak sentences, sent through a channel, written as FLAC, with text and phones.

A voice is an eSpeak NG voice variant (vocal tract, pitch, roughness), an accent, a channel and a noise level. The engine, driven
through its C interface, keeps state between calls that no reset reaches, is not thread-safe, and cannot be initialised twice. So
each speaker loads a private copy of the engine in its initial state; then the same sentences give the same bytes.
"""

import contextlib
import ctypes
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import scipy.signal
import soundfile

from spin import artifacts
from spin.corpus.grammar import SEED, draw_sentence
from spin.errors import DataError
from spin.runtime.files import atomic_path, read_json, write_json
from spin.runtime.process import StopRequest
from spin.runtime.seeding import generator

PAD_IN_S = (0.10, 0.30)
NOISE_TAPS = 128
# Accents of English that the engine carries; all share one grammar and one dictionary of spellings.
# "en" is the engine's British English: it takes no variant under the name en-gb.
ACCENTS = ("en-us", "en", "en-gb-x-rp", "en-gb-scotland", "en-029", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-us-nyc")
TRACT_SCALE = (0.84, 1.28)  # formant frequencies relative to the engine's adult male; short tracts are above 1
CHANNEL_BANDS_IN_HZ = (120.0, 500.0, 1800.0, 5000.0)
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


@dataclass(frozen=True)
class Voice:
    """One speaker. `variant` is the text of the engine's variant file; the rest is applied to the waveform."""

    speaker: str
    gender: str
    accent: str
    variant: str
    rate_in_words_per_minute: int
    channel_gains_in_db: tuple[float, ...]
    snr_in_db: float
    noise_tilt: float  # exponent of the noise spectrum: 0 white, 1 pink
    level: float  # root mean square of speech


def draw_voice(index: int) -> Voice:
    """The speaker of this number; the same on every machine, whatever other speakers there are."""
    random, name = generator("generated voice", SEED, index), f"g{index:04d}"
    tract = float(random.uniform(*TRACT_SCALE))
    # Short vocal tracts go with high voices in people; the spread keeps the two from naming each other.
    middle = 105.0 * (tract / TRACT_SCALE[0]) ** 2.1
    low = float(np.clip(middle * np.exp(random.normal(0.0, 0.16)), 65.0, 280.0))
    high = low * float(random.uniform(1.25, 1.9))
    lines = ["language variant", f"name {name}", f"pitch {low:.0f} {high:.0f}"]
    for formant in range(9):
        frequency = 100.0 * tract * random.uniform(0.94, 1.06)
        strength, width = 100.0 * random.uniform(0.75, 1.2), 100.0 * random.uniform(0.8, 1.4)
        lines.append(f"formant {formant} {frequency:.0f} {strength:.0f} {width:.0f}")
    lines += [f"flutter {random.integers(0, 8)}", f"roughness {random.integers(0, 5)}", f"intonation {random.integers(1, 5)}"]
    lines += [f"voicing {random.integers(70, 121)}", f"consonants {random.integers(70, 121)} {random.integers(70, 121)}"]
    if random.random() < 0.4:
        lines.append("breath " + " ".join(str(random.integers(0, 5)) for _ in range(8)))
    if random.random() < 0.25:
        lines.append(f"klatt {random.integers(1, 4)}")
    lines.append("stressAdd " + " ".join(str(random.integers(-20, 41)) for _ in range(8)))
    return Voice(
        speaker=name,
        gender="F" if tract > 1.06 else "M",
        accent=ACCENTS[int(random.integers(len(ACCENTS)))],
        variant="\n".join(lines) + "\n",
        rate_in_words_per_minute=int(random.integers(140, 191)),
        channel_gains_in_db=tuple(float(gain) for gain in random.uniform(-6.0, 6.0, len(CHANNEL_BANDS_IN_HZ))),
        snr_in_db=float(random.uniform(22.0, 40.0)),
        noise_tilt=float(random.uniform(0.0, 1.0)),
        level=float(random.uniform(0.03, 0.08)),
    )


class _Event(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int) for name in ("type", "identifier", "text_position", "length", "audio_position", "sample")),
        ("user_data", ctypes.c_void_p),
        ("mnemonic", ctypes.c_char * 8),  # of a union with numbers and names
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def _link_data(folder: Path, voice: Voice) -> Path:
    """A private copy of the engine's data in an empty folder: links, and the variant of the voice by the speaker's name."""
    import espeakng_loader

    source, data = Path(espeakng_loader.get_data_path()), folder / "espeak-ng-data"
    if len(str(data)) > LONGEST_DATA_PATH:
        found, expected = f"a path of {len(str(data))} characters", f"at most {LONGEST_DATA_PATH}, as eSpeak NG's buffer is short"
        raise DataError(f"temporary folder {folder}", found=found, expected=expected, remedy="set TMPDIR to a shorter path")
    (data / "voices" / "!v").mkdir(parents=True)
    for entry in source.iterdir():
        if entry.name != "voices":
            os.symlink(entry, data / entry.name)
    (data / "voices" / "!v" / voice.speaker).write_text(voice.variant, encoding="utf-8")
    return data


class Engine:
    """One voice of an engine of its own: a copy of the library, with the data of _link_data, in an empty folder."""

    def __init__(self, voice: Voice, folder: Path):
        import espeakng_loader

        data = _link_data(folder, voice)
        copy = shutil.copy(espeakng_loader.get_library_path(), folder)
        try:
            self._library = ctypes.CDLL(copy)  # the system tells libraries apart by their files: a copy has variables of its own
        except OSError as error:
            expected, remedy = "a folder that programs may be run from", "set TMPDIR to another folder"
            raise DataError(f"temporary folder {folder}", found=str(error), expected=expected, remedy=remedy) from error
        self.sample_rate = self._library.espeak_Initialize(SYNCHRONOUS, 0, str(data).encode(), PHONEME_EVENTS | DONT_EXIT)
        if self.sample_rate <= 0:
            cause = f"its data at {data} cannot be read"
            raise DataError("eSpeak NG", found=f"status {self.sample_rate}", expected="a sample rate", cause=cause)
        self._keep = _Callback(self._receive)  # a callback that Python frees would still be called
        self._library.espeak_SetSynthCallback(self._keep)
        name = f"{voice.accent}+{voice.speaker}"
        status = self._library.espeak_SetVoiceByName(name.encode())
        if status != 0:
            raise DataError(f"voice {name}", found=f"status {status} of eSpeak NG", expected="an accent and a variant it knows")
        self._library.espeak_SetParameter(RATE_PARAMETER, voice.rate_in_words_per_minute, 0)
        # Breath is noise, and the engine seeds its noise from the clock when it starts.
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(NOISE_SEED))

    def close(self) -> None:
        """Frees the memory of the engine, which cannot speak any more."""
        self._library.espeak_Terminate()
        ctypes.CDLL(None).dlclose(ctypes.c_void_p(self._library._handle))

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
        with StopRequest() as stop:  # an exception of a signal's handler would be lost in the callback
            status = self._library.espeak_Synth(content, len(content) + 1, 0, 1, 0, CHARS_UTF8, None, None)
        if stop.signal is not None:
            sys.exit(stop.status())
        if status != 0 or not self._samples:
            found = f"status {status} of eSpeak NG, {len(self._samples)} blocks of audio"
            raise DataError(f"sentence {text!r}", found=found, expected="audio")
        return np.concatenate(self._samples), self._phonemes


def fold(mnemonic: str) -> str | None:
    """The ARPAbet phone of a mnemonic, None for a mark that is no segment; raises DataError for one that is not in the table."""
    plain = mnemonic.lstrip("'," + '"').rstrip("\x00")
    if plain in MARKS:
        return None
    if plain not in FOLD:
        expected = "a mnemonic of eSpeak NG's English voices"
        raise DataError(f"phoneme mnemonic {mnemonic!r}", found="not in the table", expected=expected)
    return FOLD[plain]


def segments(events: list[tuple[str, int]], end: int) -> list[tuple[str, int, int]]:
    """(phone, start, stop) in samples, without gaps from the first event to `end`; silences in a row are joined."""
    bounds = [(phone, start) for mnemonic, start in events if (phone := fold(mnemonic)) is not None]
    joined: list[tuple[str, int, int]] = []
    for (phone, start), stop in zip(bounds, [*(start for _, start in bounds[1:]), end]):
        if stop > start and joined and phone == joined[-1][0] == artifacts.SILENCE:
            joined[-1] = (phone, joined[-1][1], stop)
        elif stop > start:
            joined.append((phone, start, stop))
    return joined


def render_speaker(index: int, folder: Path, utterances: int, pool: str) -> Path:
    """Writes <folder>/<speaker>/*.flac, the speaker's first sentences from a pool, and last <folder>/<speaker>.json; returns it.

    A speaker whose JSON is there already, from the same job, is left alone.
    """
    voice = draw_voice(index)
    record_path = folder / f"{voice.speaker}.json"
    wanted = {"seed": SEED, "pool": pool, "utterances": utterances}
    if record_path.exists() and read_json(record_path)["made_from"] == wanted:
        return record_path
    with tempfile.TemporaryDirectory(prefix="spin-") as private:
        with contextlib.closing(Engine(voice, Path(private))) as engine:
            render = partial(_render_utterance, engine, voice, index, pool=pool, folder=folder / voice.speaker)
            records = [render(number) for number in range(utterances)]
    facts = {"speaker": voice.speaker, "gender": voice.gender, "accent": voice.accent}
    write_json(record_path, {"made_from": wanted, **facts, "utterances": records})
    return record_path


def _render_utterance(engine: Engine, voice: Voice, index: int, number: int, pool: str, folder: Path) -> dict:
    text = draw_sentence(index, number, pool)
    spoken, events = engine.speak(text.lower())
    random = generator("generated channel", SEED, pool, index, number)
    before, after = (int(random.uniform(*PAD_IN_S) * artifacts.SAMPLE_RATE) for _ in range(2))
    samples = transmit(spoken, engine.sample_rate, voice, random, before, after)
    utterance = f"{voice.speaker}-{pool}-{number:04d}"
    with atomic_path(folder / f"{utterance}.flac") as temporary:
        soundfile.write(temporary, samples, artifacts.SAMPLE_RATE, subtype="PCM_16")
    lead, duration = before / artifacts.SAMPLE_RATE, len(samples) / artifacts.SAMPLE_RATE
    phones = [
        [phone, round(lead + start / engine.sample_rate, 5), round(lead + stop / engine.sample_rate, 5)]
        for phone, start, stop in segments(events, len(spoken))
    ]
    return {"id": utterance, "text": text, "samples": len(samples), "phones": _with_silence(phones, duration)}


def _with_silence(phones: list[list], duration: float) -> list[list]:
    """Lets the silence at both ends reach the ends of the recording."""
    silence = artifacts.SILENCE
    if phones[0][0] != silence:
        phones.insert(0, [silence, 0.0, phones[0][1]])
    phones[0][1] = 0.0
    if phones[-1][0] != silence and phones[-1][2] < duration:
        phones.append([silence, phones[-1][2], duration])
    phones[-1][2] = duration
    return phones


def transmit(
    spoken: np.ndarray, sample_rate: int, voice: Voice, random: np.random.Generator, before: int, after: int
) -> np.ndarray:
    """Speech (S,) int16 at the engine's rate -> (before + S' + after,) int16 at 16 kHz: equalised, levelled, with noise."""
    speech = scipy.signal.resample_poly(spoken.astype(np.float64) / 32768.0, artifacts.SAMPLE_RATE, sample_rate)
    speech = np.pad(speech, (before, after))
    for centre, gain in zip(CHANNEL_BANDS_IN_HZ, voice.channel_gains_in_db):
        speech = scipy.signal.sosfilt(_peaking(centre, gain), speech)
    speech *= voice.level / max(float(np.sqrt(np.mean(speech**2))), 1e-9)
    noise = _noise(len(speech), voice.noise_tilt, random)
    mixed = speech + noise * voice.level * 10.0 ** (-voice.snr_in_db / 20.0)
    mixed *= min(1.0, 0.95 / float(np.max(np.abs(mixed))))
    return np.round(mixed * 32767.0).astype(np.int16)


def _peaking(centre_in_hz: float, gain_in_db: float, quality: float = 0.9) -> np.ndarray:
    """A peaking biquad (Bristow-Johnson, Audio EQ Cookbook) as one second-order section."""
    amplitude = 10.0 ** (gain_in_db / 40.0)
    angle = 2.0 * np.pi * centre_in_hz / artifacts.SAMPLE_RATE
    alpha, cosine = np.sin(angle) / (2.0 * quality), np.cos(angle)
    b = np.array([1.0 + alpha * amplitude, -2.0 * cosine, 1.0 - alpha * amplitude])
    a = np.array([1.0 + alpha / amplitude, -2.0 * cosine, 1.0 - alpha / amplitude])
    return np.concatenate([b / a[0], a / a[0]])[None]


def _noise(length: int, tilt: float, random: np.random.Generator) -> np.ndarray:
    """Unit-power noise with a power spectrum of 1/f**tilt, through a short linear-phase filter."""
    frequency = np.linspace(0.0, 1.0, NOISE_TAPS // 2 + 1)
    gain = np.maximum(frequency, 1.0 / NOISE_TAPS) ** (-tilt / 2.0)
    taps = scipy.signal.firwin2(NOISE_TAPS + 1, frequency, gain / gain.max())
    noise = np.convolve(random.standard_normal(length + NOISE_TAPS), taps, mode="valid")
    return noise / np.sqrt(np.mean(noise**2))
