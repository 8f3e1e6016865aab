"""Made-up speech in the lengths of read speech, analysed by stage 1, so that a benchmark's loader does what a training's does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

from spin import artifacts
from spin.config import Config, CorpusConfig
from spin.perturbation.benchmark import vowels
from spin.perturbation.stage import analyse_pitch
from spin.runtime.logs import get_logger
from spin.runtime.seeding import generator
from spin.runtime.stages import Context
from spin.runtime.workers import map_parts

PART, SPEAKERS = "benchmark", 8
# Most sentences of train-clean-100 take 11 to 16.5 s, the others anything from 2.5 s; the mean of this is 11.7 s.
LONG_SHARE, LONG, SHORT = 0.7, (11.0, 16.5), (2.5, 11.0)


def durations(seconds: float, seed: int) -> list[float]:
    """Lengths of utterances, in seconds, that add up to `seconds` or a little more."""
    random, drawn = generator(seed, "benchmark durations"), []
    while sum(drawn) < seconds:
        low, high = LONG if random.uniform() < LONG_SHARE else SHORT
        drawn.append(round(float(random.uniform(low, high)), 3))
    return drawn


def make_corpus(folder: Path, seconds: float, nj: int, seed: int = 0) -> Path:
    """Writes FLAC files, cuts and stage 1's arrays below `folder`; returns the manifest of stage 1.

    Args:
        folder: an empty one.
        seconds: of audio.
        nj: processes.
        seed: of lengths and voices.
    """
    corpus = artifacts.corpus_folder(folder, PART)
    (corpus / "audio").mkdir(parents=True)
    jobs = [(index, length, corpus / "audio" / f"{index:05d}.flac") for index, length in enumerate(durations(seconds, seed))]
    CutSet.from_cuts(map_parts(_speak, jobs, nj, "fork")).to_file(artifacts.cuts(corpus, PART))
    settings = CorpusConfig(name=PART, data_dir=str(folder), spin_train=(PART,), asr_train=(), valid=(), test=())
    config = Config(name=PART, seed=seed, corpus=settings)
    analyse_pitch(Context(config, folder, corpus, folder / "tensorboard", False, get_logger("benchmark"), ""))
    return artifacts.pitch_cuts(corpus, PART)


def _speak(job: tuple[int, float, Path]) -> MonoCut:
    index, length, path = job
    name = path.stem
    soundfile.write(
        path, np.clip(vowels(index, length, artifacts.SAMPLE_RATE), -1.0, 1.0), artifacts.SAMPLE_RATE, subtype="PCM_16"
    )
    recording = Recording.from_file(path, recording_id=name)
    supervision = SupervisionSegment(
        id=name, recording_id=name, start=0.0, duration=recording.duration, text="", speaker=f"voice{index % SPEAKERS}"
    )
    return MonoCut(id=name, start=0.0, duration=recording.duration, channel=0, recording=recording, supervisions=[supervision])
