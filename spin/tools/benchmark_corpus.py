"""Generated speech in the lengths of read speech, analysed as in stage 1, for the loader of a benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from lhotse import MonoCut, Recording, SupervisionSegment

from spin import artifacts
from spin.config import PerturbationConfig
from spin.data.cuts import write_cuts
from spin.perturbation.analyse_part import analyse_part
from spin.perturbation.speakers import estimate_ranges
from spin.runtime.logs import get_logger
from spin.runtime.seeding import generator
from spin.runtime.workers import map_jobs
from spin.tools.benchmark_perturb import vowels

PART, SPEAKERS = "benchmark", 8
# Most sentences of train-clean-100 take 11 to 16.5 s, the others 2.5 s and more; the mean of this is 11.7 s.
LONG_SHARE, LONG, SHORT = 0.7, (11.0, 16.5), (2.5, 11.0)


def durations(seconds: float, seed: int) -> list[float]:
    """Lengths of utterances, in seconds, that add up to `seconds` or a little more."""
    random, drawn = generator(seed, "benchmark durations"), []
    while sum(drawn) < seconds:
        low, high = LONG if random.uniform() < LONG_SHARE else SHORT
        drawn.append(round(float(random.uniform(low, high)), 3))
    return drawn


def make_corpus(folder: Path, seconds: float, nj: int, seed: int = 0) -> Path:
    """Writes FLAC files, cuts and pitch analysis; returns the manifest that a training reads.

    Args:
        folder: an empty folder.
        seconds: total duration.
        nj: number of processes.
        seed: random seed of lengths and voices.
    """
    manifest, analysed = artifacts.cuts(folder, PART), folder / "pitch"
    for path in (folder / "audio", analysed):
        path.mkdir(parents=True)
    jobs = [(index, length, folder / "audio" / f"{index:05d}.flac") for index, length in enumerate(durations(seconds, seed))]
    write_cuts(manifest, map_jobs(_speak, jobs, nj, "fork"))
    ranges = estimate_ranges([manifest], PerturbationConfig(), nj)
    analyse_part(manifest, PART, ranges, analysed, nj, max_bad_share=0.0, log=get_logger("benchmark"))
    return artifacts.cuts_in(analysed)


def _speak(job: tuple[int, float, Path]) -> MonoCut:
    index, length, path = job
    waveform = np.clip(vowels(index, length, artifacts.SAMPLE_RATE), -1.0, 1.0)
    soundfile.write(path, waveform, artifacts.SAMPLE_RATE, subtype="PCM_16")
    recording = Recording.from_file(path, recording_id=path.stem)
    supervision = SupervisionSegment(path.stem, path.stem, 0.0, recording.duration, text="", speaker=f"voice{index % SPEAKERS}")
    return MonoCut(path.stem, 0.0, recording.duration, 0, [supervision], recording=recording)
