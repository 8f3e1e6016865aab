"""Speech for the tests of the perturbation: embedded everywhere, LibriSpeech where it lies next to the repository."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import soundfile

from spin.corpus.generated.render import SpeakerJob, render_speaker

EMBEDDED = (0, 3, 500, 701)  # speakers; the last one breathes
SENTENCES = 2
LIBRISPEECH = ("train-clean-5", "test-other")


@pytest.fixture(scope="session")
def embedded_speech(tmp_path_factory):
    """(waveform (samples,), rate) of generated utterances."""
    folder = str(tmp_path_factory.mktemp("embedded"))
    jobs = [SpeakerJob(folder, 0, index, SENTENCES, "train") for index in EMBEDDED]
    for job in jobs:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:  # the engine needs a new process for each speaker
            pool.submit(render_speaker, job).result()
    return [soundfile.read(path) for path in sorted(tmp_path_factory.getbasetemp().glob("embedded*/*/*.flac"))]


@pytest.fixture(scope="session")
def libri_speech(librispeech_dir):
    """(waveform (samples,), rate) of ten utterances of ten speakers."""
    files = []
    for part in LIBRISPEECH:
        speakers = sorted(path for path in (librispeech_dir / part).iterdir() if path.is_dir())
        files += [sorted(speaker.rglob("*.flac"))[0] for speaker in speakers[:: max(1, len(speakers) // 6)]]
    return [soundfile.read(path) for path in files[:10]]


@pytest.fixture(scope="session", params=["embedded", "LibriSpeech"])
def speech(request):
    """Both kinds, one after the other; LibriSpeech is skipped where it is missing."""
    return request.getfixturevalue("embedded_speech" if request.param == "embedded" else "libri_speech")
