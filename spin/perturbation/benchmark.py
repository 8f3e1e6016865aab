"""python -m spin benchmark perturb: CPU time of analysis and synthesis, beside Praat's way on the same utterances.

Praat (praat-parselmouth) is a test dependency; where it is missing its figures are null. Audio given as files, or generated.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from spin.perturbation.analysis import Analysis, analyse
from spin.perturbation.equaliser import design
from spin.perturbation.parameters import PerturbationParameters, draw_parameters
from spin.perturbation.perturb import degenerate_case, synthesise
from spin.perturbation.pitch_range import estimate_pitch_range
from spin.perturbation.warm_up import warm_up

STEP_SECONDS, STEPS = 256.0, 5000  # of the published training
WORKERS = (8, 16)
AUDIO = (".flac", ".wav", ".ogg", ".mp3")
RATE = 16_000


def main(argv: list[str]) -> int:
    """Parses the words after `benchmark perturb`, measures and prints; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m spin benchmark perturb", description=__doc__, allow_abbrev=False)
    parser.add_argument("--audio", nargs="*", type=Path, default=[], metavar="PATH", help="files or folders; default: generated")
    parser.add_argument("--utterances", type=int, default=24, help="at most this many, evenly chosen")
    parser.add_argument("--repeats", type=int, default=3, help="the fastest of so many runs counts")
    parser.add_argument("--json", action="store_true", help="JSON only")
    arguments = parser.parse_args(argv)
    result = measure(load(arguments.audio, arguments.utterances), arguments.repeats)
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        for name, value in result.items():
            print(f"{name}: {value}")
    return 0


def load(paths: list[Path], count: int) -> list[tuple[np.ndarray, int]]:
    """(waveform (samples,) float32, rate) of at most `count` utterances."""
    files = [path for path in paths if path.is_file()]
    for folder in (path for path in paths if path.is_dir()):
        files += sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO)
    if not paths:
        return [(vowels(index, 12.0), RATE) for index in range(count)]
    import soundfile

    chosen = [files[index * len(files) // min(count, len(files))] for index in range(min(count, len(files)))]
    return [(audio[:, 0], rate) for audio, rate in (soundfile.read(path, dtype="float32", always_2d=True) for path in chosen)]


def vowels(index: int, seconds: float, rate: int = RATE) -> np.ndarray:
    """(samples,) float32: a made-up voice, vowels with a moving pitch between stretches of noise and silence."""
    random = np.random.default_rng(index)
    samples, base = int(seconds * rate), random.uniform(90.0, 230.0)
    time_in_s = np.arange(samples) / rate
    pitch = base * 2.0 ** (
        0.3 * np.sin(2 * np.pi * (0.4 * time_in_s + random.uniform())) + 0.1 * np.sin(2 * np.pi * 1.7 * time_in_s)
    )
    cycles = np.cumsum(pitch) / rate
    wave = np.diff(np.floor(cycles), prepend=0.0) + 0.002 * random.normal(size=samples)
    ring = np.arange(int(0.03 * rate)) / rate
    for start in range(0, samples, rate // 5):
        low, high = random.uniform(250, 850), random.uniform(900, 2600)
        response = np.exp(-ring * 250) * (np.sin(2 * np.pi * low * ring) + 0.6 * np.sin(2 * np.pi * high * ring))
        piece = wave[start : start + rate // 5]
        kind = random.uniform()
        if kind < 0.15:
            piece[:] = 0.02 * random.normal(size=len(piece))
        elif kind < 0.25:
            piece[:] = 0.0005 * random.normal(size=len(piece))
        wave[start : start + rate // 5] = np.convolve(piece, response)[: len(piece)]
    return (0.5 * wave / np.abs(wave).max()).astype(np.float32)


def measure(utterances: list[tuple[np.ndarray, int]], repeats: int = 3) -> dict:
    """CPU milliseconds per second of audio, each step the median over utterances of the fastest of `repeats` runs.

    Returns:
        `ratio` (Praat's synthesis and analysis over our synthesis, the two ways a training step can be fed), the parts, and what
        it means for the published training. Praat's figures are None without praat-parselmouth.
    """
    warm_up()
    own: dict[str, list[float]] = {"range": [], "analysis": [], "synthesis": []}
    praat: dict[str, list[float]] = {"analysis": [], "synthesis": []}
    for index, (waveform, rate) in enumerate(utterances):
        seconds = len(waveform) / rate
        found = estimate_pitch_range([waveform], rate)
        analysis, parameters = _usable(waveform, rate, found, index)
        if parameters is None:
            continue
        steps = {
            "range": lambda w=waveform, r=rate: estimate_pitch_range([w], r),
            "analysis": lambda w=waveform, r=rate, f=found: analyse(w, r, f),
            "synthesis": lambda w=waveform, r=rate, a=analysis, p=parameters: synthesise(w, r, a, p),
        }
        for name, step in steps.items():
            own[name].append(_fastest(step, repeats) / seconds * 1e3)
        for name, value in _praat(waveform, rate, analysis, parameters, repeats).items():
            praat[name].append(value / seconds * 1e3)
    return _summary(
        {name: _median(values) for name, values in own.items()}, {k: _median(v) for k, v in praat.items()}, len(own["range"])
    )


def _summary(own: dict[str, float], praat: dict[str, float | None], count: int) -> dict:
    synthesis, once = own["synthesis"], own["range"] + own["analysis"] + own["synthesis"]
    theirs = praat["analysis"] + praat["synthesis"] if praat["synthesis"] is not None else None
    step = synthesis * STEP_SECONDS / 1e3
    return {
        "ratio": None if theirs is None else round(theirs / synthesis, 2),
        "ratio_with_analysis": None if theirs is None else round(theirs / once, 2),
        "utterances": count,
        "unit": "ms of CPU per second of audio, one thread",
        "pitch_range": round(own["range"], 3),
        "analysis": round(own["analysis"], 3),
        "synthesis": round(synthesis, 3),
        "praat_analysis": praat["analysis"] and round(praat["analysis"], 3),
        "praat_synthesis": praat["synthesis"] and round(praat["synthesis"], 3),
        "seconds_a_step_of_256_s": {str(n): round(step / n, 4) for n in WORKERS},
        "minutes_for_5000_steps": {str(n): round(step * STEPS / n / 60, 2) for n in WORKERS},
        "praat_minutes_for_5000_steps": theirs
        and {str(n): round(theirs * STEP_SECONDS / 1e3 * STEPS / n / 60, 2) for n in WORKERS},
    }


def _usable(waveform, rate: int, found, index: int) -> tuple[Analysis, PerturbationParameters | None]:
    """Parameters with which neither way degenerates: near a target of zero Praat hangs."""
    analysis = analyse(waveform, rate, found)
    if not analysis.note:
        for epoch in range(50):
            parameters = draw_parameters(0, epoch, f"utterance {index}")
            if not degenerate_case(analysis, parameters, margin=2.0):
                return analysis, parameters
    return analysis, None


def _praat(waveform, rate: int, analysis: Analysis, parameters: PerturbationParameters, repeats: int) -> dict[str, float]:
    """Seconds of CPU of the official way: To Pitch (ac), Change gender, ten-band sosfilt; {} without praat-parselmouth."""
    try:
        import parselmouth
        import scipy.signal
    except ImportError:
        return {}
    double = waveform.astype(np.float64)
    sections = design(rate, parameters.gains_in_db, parameters.qualities)
    sound = parselmouth.Sound(double, sampling_frequency=rate)

    def track():
        return sound.to_pitch_ac(time_step=analysis.step, pitch_floor=analysis.floor, pitch_ceiling=analysis.ceiling)

    def change():
        ratios = (parameters.formant_ratio, parameters.pitch_median_ratio * analysis.median(), parameters.pitch_range_ratio, 1.0)
        changed = parselmouth.praat.call([sound, pitch], "Change gender", *ratios).values[0]
        return np.clip(scipy.signal.sosfilt(sections, changed), -1.0, 1.0)

    pitch = track()
    return {"analysis": _fastest(track, repeats), "synthesis": _fastest(change, repeats)}


def _fastest(step: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        begun = time.process_time()
        step()
        times.append(time.process_time() - begun)
    return min(times)


def _median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None
