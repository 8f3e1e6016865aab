"""The one audio reader: the samples of a cut, or one exception that says why there are none."""

from __future__ import annotations

import numpy as np
import soundfile
from lhotse.audio import AudioLoadingError, DurationMismatchError
from lhotse.cut import Cut, MultiCut

from spin import artifacts
from spin.data.noise import Noise, add_noise

_LIBRARY_ERRORS = (
    OSError,
    ValueError,
    RuntimeError,
    AssertionError,
    EOFError,
    soundfile.SoundFileError,
    AudioLoadingError,
    DurationMismatchError,
)
MAX_REASON = 200  # characters of a library's message; some fill a page


class UnreadableAudio(Exception):
    """The audio of an utterance cannot be used.

    Attributes:
        reason: one line; details follow a colon.
    """

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


def read_audio(cut: Cut) -> np.ndarray:
    """Reads the stretch of the recording that a cut describes, with its noise where it has NOISE_FIELD.

    A cut whose recording is resampled lazily (lhotse's `cut.resample`) is resampled here; a MultiCut is mixed down.

    Args:
        cut: a cut at 16 kHz.

    Returns:
        (S,) float32 samples at 16 kHz, nominally in [-1, 1].

    Raises:
        UnreadableAudio: a missing or damaged file, a wrong sampling rate, or several channels in a MonoCut.
    """
    if cut.sampling_rate != artifacts.SAMPLE_RATE:
        raise UnreadableAudio(f"wrong sampling rate: {cut.sampling_rate} Hz, not {artifacts.SAMPLE_RATE}")
    audio = _load(cut)
    noise = (cut.custom or {}).get(artifacts.NOISE_FIELD)
    if noise is None:
        return audio
    return add_noise(audio, Noise.from_dict(noise), read_noise)


def read_noise(cut: Cut) -> np.ndarray:
    """read_audio for a recording of a noise; the reason of its UnreadableAudio says so."""
    try:
        return read_audio(cut)
    except UnreadableAudio as error:
        raise UnreadableAudio(f"unreadable noise: {cut.id}: {error.reason}") from error


def _load(cut: Cut) -> np.ndarray:
    try:
        audio = np.asarray(cut.load_audio(), dtype=np.float32)
    except _LIBRARY_ERRORS as error:
        raise UnreadableAudio(f"unreadable audio: {' '.join(str(error).split())[:MAX_REASON]}") from error
    if isinstance(cut, MultiCut):
        return audio.mean(axis=0)
    if audio.ndim != 2 or audio.shape[0] != 1:
        raise UnreadableAudio(f"not one channel: shape {audio.shape}")
    return audio[0]
