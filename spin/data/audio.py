"""The one audio reader: the samples of a cut, with the noise that its NOISE_FIELD names, or one exception that says why not.

A Noise holds everything that decides its samples: generated noise, babble of other voices, a noise corpus, or reverberation. The
same record gives the same noisy speech in a training, in every stage that reads a noisy test part, and on every machine.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from lhotse import MonoCut, Recording
from lhotse.audio import AudioLoadingError, DurationMismatchError
from lhotse.cut import Cut, MultiCut
from lhotse.serialization import deserialize_item
from lhotse.utils import fastcopy
from soundfile import SoundFileError

from spin import artifacts
from spin.data.cuts import count_cuts, read_records, without_words
from spin.errors import DataError
from spin.runtime import seeding

GAUSSIAN, COLOURED, BABBLE, CORPUS, REVERB = "gaussian", "coloured", "babble", "noise", "reverb"
MAX_REASON = 200  # characters of a library's message; some fill a page
MAX_POOL = 2000  # cuts that noise is drawn from, spread evenly over the manifests; a few MB
MIN_VOICES, MAX_VOICES = 3, 8  # of babble
MIN_EXPONENT, MAX_EXPONENT = 0.5, 2.0  # of 1/f^a noise: nearly white to brown; white noise stays unseen in training
REMEDIES = {  # by the kind of noise whose recordings cannot be read
    BABBLE: "--set corpus.spin_train=[PART]",
    CORPUS: "--set noise.manifests=[FILE]",
    REVERB: "--set noise.impulse_responses=[FILE]",
}
_LIBRARY_ERRORS = (
    *(OSError, ValueError, RuntimeError, AssertionError, EOFError),
    *(SoundFileError, AudioLoadingError, DurationMismatchError),
)


class UnreadableAudio(Exception):
    """The audio of an utterance cannot be used; the text is one line, in which details follow a colon."""


def read_audio(cut: Cut) -> np.ndarray:
    """(S,) float32 samples at 16 kHz, nominally in [-1, 1], of the stretch that a cut at 16 kHz describes, with its noise.

    A cut whose recording is resampled lazily (lhotse's `cut.resample`) is resampled here; a MultiCut is mixed down. Raises
    UnreadableAudio for a missing or damaged file, a wrong sampling rate, or several channels in a MonoCut.
    """
    if cut.sampling_rate != artifacts.SAMPLE_RATE:
        raise UnreadableAudio(f"wrong sampling rate: {cut.sampling_rate} Hz, not {artifacts.SAMPLE_RATE}")
    try:
        audio = np.asarray(cut.load_audio(), dtype=np.float32)
    except _LIBRARY_ERRORS as error:
        raise UnreadableAudio(f"unreadable audio: {' '.join(str(error).split())[:MAX_REASON]}") from error
    if isinstance(cut, MultiCut):
        audio = audio.mean(axis=0, keepdims=True)
    if audio.ndim != 2 or audio.shape[0] != 1:
        raise UnreadableAudio(f"not one channel: shape {audio.shape}")
    noise = (cut.custom or {}).get(artifacts.NOISE_FIELD)
    return audio[0] if noise is None else add_noise(audio[0], Noise(**noise))


@dataclass(frozen=True)
class Noise:
    """One noise for one utterance; as JSON it is the NOISE_FIELD of a cut."""

    kind: str  # GAUSSIAN, COLOURED, BABBLE, CORPUS (from a noise corpus) or REVERB
    snr_in_db: float | None  # ratio of the mean powers of speech and noise; None for REVERB
    seed: int  # decides the samples of generated noise, and which stretch of each cut is used
    cuts: Sequence[dict]  # voices of the babble, the noise recording, or the impulse response


def read_pool(manifests: Iterable[str | Path], kind: str) -> list[MonoCut]:
    """Cuts for a kind of noise, about MAX_POOL at most, spread evenly over cut or recording manifests, at 16 kHz, one channel.

    Raises DataError for a manifest that is missing, damaged or empty.
    """
    pool: list[MonoCut] = []
    for path in (paths := [Path(path) for path in manifests]):
        step = max(1, -(-count_cuts(path) * len(paths) // MAX_POOL))
        pool += [_pool_cut(path, record, kind) for number, record in enumerate(read_records(path)) if number % step == 0]
    if not pool:
        names = ", ".join(map(str, paths)) or f"manifests for {kind}"
        raise DataError(names, found="no cut or recording", expected="at least one", remedy=REMEDIES[kind])
    return pool


def _pool_cut(path: Path, record: dict, kind: str) -> MonoCut:
    if "supervisions" in record:
        record = without_words({**record, "supervisions": record["supervisions"][:1], "custom": None})
    try:
        item = deserialize_item(record)
        cut = item.to_cut() if isinstance(item, Recording) else item
        cut = cut if isinstance(cut, MonoCut) else cut.to_mono()[0]
        return cut if cut.sampling_rate == artifacts.SAMPLE_RATE else cut.resample(artifacts.SAMPLE_RATE)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(str(path), found=str(error), expected="cuts or recordings", remedy=REMEDIES[kind]) from error


def speaker_of(cut: Cut) -> str | None:
    """Speaker of the first supervision; None where the cut names none."""
    return cut.supervisions[0].speaker if cut.supervisions else None


def draw_noise(
    random: np.random.Generator, kind: str, snr_in_db: float | None, pool: Sequence[MonoCut] = (), speaker: str | None = None
) -> Noise:
    """Chooses the cuts of a noise, and its seed, with the generator of an utterance; see Noise.

    The pool has utterances for babble, noise recordings, or impulse responses. The speaker takes no part in the babble.
    """
    seed, cuts = int(random.integers(2**63)), []
    if kind == BABBLE:
        count = int(random.integers(MIN_VOICES, MAX_VOICES + 1))
        order = random.permutation(len(pool))
        cuts = [pool[place] for place in order[: 20 * count] if speaker is None or speaker_of(pool[place]) != speaker][:count]
        if not cuts:
            raise DataError(
                "babble in noise.test_kinds",
                found=f"no voice other than {speaker} in the parts of corpus.spin_train",
                expected="at least two speakers",
                remedy="--set corpus.spin_train=[PART] with a part of several speakers, or --set noise.test_kinds=[gaussian]",
            )
    elif kind in (CORPUS, REVERB):
        cuts = [pool[int(random.integers(len(pool)))]]
    return Noise(kind, snr_in_db, seed, [cut.to_dict() for cut in cuts])


def noisy_cut(cut: MonoCut, kind: str, snr_in_db: float | None, seed: int, pool: Sequence[MonoCut] = ()) -> MonoCut:
    """A copy of a cut that read_audio reads with noise; see draw_noise.

    The draws depend on the seed, the kind and the utterance alone: at every SNR the noise itself is the same.
    """
    noise = draw_noise(seeding.generator("noisy part", seed, kind, cut.id), kind, snr_in_db, pool, speaker_of(cut))
    return fastcopy(cut, custom={**(cut.custom or {}), artifacts.NOISE_FIELD: asdict(noise)})


def add_noise(waveform: np.ndarray, noise: Noise) -> np.ndarray:
    """(S,) float32 speech with noise, neither clipped nor rescaled; unchanged where the speech or the noise is silent.

    Raises UnreadableAudio where a recording of the noise cannot be read; the reason says so.
    """
    random = np.random.Generator(np.random.PCG64(noise.seed))
    cuts = [deserialize_item(copy.deepcopy(cut)) for cut in noise.cuts]  # lhotse empties what it is given
    if noise.kind == REVERB:
        return _reverberate(waveform, _read_noise(cuts[0]))
    if noise.kind == GAUSSIAN:
        added = random.standard_normal(len(waveform))
    elif noise.kind == COLOURED:
        added = coloured_noise(random, len(waveform), random.uniform(MIN_EXPONENT, MAX_EXPONENT))
    else:
        added = _mix_equally([_read_stretch(cut, len(waveform), random) for cut in cuts])
    return mix(waveform, added, noise.snr_in_db)


def mix(waveform: np.ndarray, noise: np.ndarray, snr_in_db: float) -> np.ndarray:
    """Adds (S,) noise so that mean power of speech over mean power of noise is 10^(snr_in_db / 10); returns (S,) float32."""
    speech_power, noise_power = _power(waveform), _power(noise)
    if speech_power == 0.0 or noise_power == 0.0:
        return waveform
    gain = np.sqrt(speech_power / noise_power * 10.0 ** (-snr_in_db / 10.0))
    return (waveform + gain * noise).astype(np.float32)


def coloured_noise(random: np.random.Generator, samples: int, exponent: float) -> np.ndarray:
    """(samples,) float64 noise whose power falls with frequency as 1/f^exponent, without a constant part."""
    if samples < 2:
        return np.zeros(samples)
    spectrum = np.fft.rfft(random.standard_normal(samples))
    spectrum[1:] *= np.arange(1, len(spectrum)) ** (-0.5 * exponent)
    spectrum[0] = 0.0
    return np.fft.irfft(spectrum, samples)


def _read_noise(cut: MonoCut) -> np.ndarray:
    try:
        return read_audio(cut)
    except UnreadableAudio as error:
        raise UnreadableAudio(f"unreadable noise: {cut.id}: {error}") from error


def _read_stretch(cut: MonoCut, samples: int, random: np.random.Generator) -> np.ndarray:
    """(samples,) of a cut from a random place; a shorter cut is repeated."""
    share = random.uniform()
    if cut.num_samples > samples:
        start = int(share * (cut.num_samples - samples + 1)) / cut.sampling_rate
        return _read_noise(fastcopy(cut, start=cut.start + start, duration=samples / cut.sampling_rate))[:samples]
    audio = _read_noise(cut)
    return np.resize(np.roll(audio, -int(share * len(audio))), samples) if len(audio) else np.zeros(samples)


def _mix_equally(voices: list[np.ndarray]) -> np.ndarray:
    """The sum of voices at equal mean power; silent ones are left out."""
    powers = [_power(voice) for voice in voices]
    return sum((voice / np.sqrt(power) for voice, power in zip(voices, powers) if power > 0.0), np.zeros(len(voices[0])))


def _reverberate(waveform: np.ndarray, response: np.ndarray) -> np.ndarray:
    """The waveform in a room, not delayed (the response counts from its largest sample) and as loud as before."""
    if not response.any() or not len(waveform):
        return waveform
    import scipy.signal  # slow to import

    direct = int(np.abs(response).argmax())
    wet = scipy.signal.oaconvolve(waveform.astype(np.float64), response)[direct : direct + len(waveform)]
    power = _power(wet)
    return (wet * np.sqrt(_power(waveform) / power)).astype(np.float32) if power > 0.0 else waveform


def _power(waveform: np.ndarray) -> float:
    return float(np.mean(np.square(waveform, dtype=np.float64))) if len(waveform) else 0.0
