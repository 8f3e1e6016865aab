"""python -m spin benchmark perturb: CPU time of analysis and synthesis, next to Praat's way on the same utterances.

Praat (praat-parselmouth) is a test dependency; without it its figures are null. Audio comes from files, or is generated.
"""

import collections
import statistics
import time
import timeit
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from spin.errors import DataError
from spin.perturbation.analysis import Analysis, analyse, estimate_pitch_range
from spin.perturbation.equaliser import design
from spin.perturbation.perturb import PerturbationParameters, compile_kernels, draw_parameters, synthesise, target_pitch
from spin.perturbation.synthesis import MIN_TARGET_IN_HZ
from spin.tools.benchmark import make_parser, show

AUDIO = (".flac", ".wav", ".ogg", ".mp3")
RATE = 16_000
REPEATS = 3
Utterances = list[tuple[np.ndarray, int]]
Steps = dict[str, Callable[[], object]]


def main(argv: list[str]) -> None:
    """Prints what `measure` returns."""
    parser = make_parser("perturb", __doc__)
    parser.add_argument("--audio", nargs="*", type=Path, default=[], metavar="PATH", help="files or folders; default: generated")
    parser.add_argument("--utterances", type=int, default=24, help="at most this many, evenly chosen")
    arguments = parser.parse_args(argv)
    show(measure(load(arguments.audio, arguments.utterances)), arguments.json)


def load(paths: list[Path], count: int) -> Utterances:
    """(waveform (samples,) float32, rate) of at most `count` utterances."""
    if not paths:
        return [(vowels(index, 12.0), RATE) for index in range(count)]
    found = (sorted(path.rglob("*")) if path.is_dir() else [path] for path in paths)
    files = [file for group in found for file in group if file.suffix.lower() in AUDIO or file in paths]
    chosen = files[:: max(1, -(-len(files) // max(1, count)))]
    return [(audio[:, 0], rate) for audio, rate in (soundfile.read(file, dtype="float32", always_2d=True) for file in chosen)]


def vowels(index: int, seconds: float, rate: int = RATE) -> np.ndarray:
    """(samples,) float32: an invented voice, vowels with a moving pitch between stretches of noise and silence."""
    random = np.random.default_rng(index)
    samples, base = int(seconds * rate), random.uniform(90.0, 230.0)
    time_in_s = np.arange(samples) / rate
    slow, fast = np.sin(2 * np.pi * (0.4 * time_in_s + random.uniform())), np.sin(2 * np.pi * 1.7 * time_in_s)
    cycles = np.cumsum(base * 2.0 ** (0.3 * slow + 0.1 * fast)) / rate
    wave = np.diff(np.floor(cycles), prepend=0.0) + 0.002 * random.normal(size=samples)
    ring = np.arange(int(0.03 * rate)) / rate
    for start in range(0, samples, rate // 5):
        low, high = random.uniform(250, 850), random.uniform(900, 2600)
        response = np.exp(-ring * 250) * (np.sin(2 * np.pi * low * ring) + 0.6 * np.sin(2 * np.pi * high * ring))
        piece = wave[start : start + rate // 5]
        kind = random.uniform()
        if kind < 0.25:
            piece[:] = (0.02 if kind < 0.15 else 0.0005) * random.normal(size=len(piece))
        wave[start : start + rate // 5] = np.convolve(piece, response)[: len(piece)]
    return (0.5 * wave / np.abs(wave).max()).astype(np.float32)


def measure(utterances: Utterances) -> dict:
    """CPU milliseconds per second of audio, each step the median over utterances of the fastest of REPEATS runs.

    `ratio` is Praat's analysis and synthesis over our synthesis, which a training step waits for, as the analysis is done once.
    Praat's figures are None without praat-parselmouth. Raises DataError where no utterance can be perturbed.
    """
    compile_kernels()
    times: dict[str, list[float]] = collections.defaultdict(list)
    for index, (waveform, rate) in enumerate(utterances):
        for name, step in _steps(waveform, rate, index).items():
            fastest = min(timeit.repeat(step, timer=time.process_time, repeat=REPEATS, number=1))
            times[name].append(fastest * rate / len(waveform) * 1e3)
    if not times:
        found, expected = f"{len(utterances)} utterance(s), none with voiced speech", "at least one"
        raise DataError("benchmark perturb", found=found, expected=expected, remedy="name other files with --audio")
    cost = {name: statistics.median(values) for name, values in times.items()}
    praat = cost["praat_analysis"] + cost["praat_synthesis"] if "praat_analysis" in cost else None
    names = ("pitch_range", "analysis", "synthesis", "praat_analysis", "praat_synthesis")
    return {
        "ratio": praat and round(praat / cost["synthesis"], 2),
        "ratio_with_analysis": praat and round(praat / (cost["pitch_range"] + cost["analysis"] + cost["synthesis"]), 2),
        "utterances": len(times["synthesis"]),
        "unit": "ms of CPU per second of audio, one thread",
        **{name: round(cost[name], 3) if name in cost else None for name in names},
    }


def _steps(waveform: np.ndarray, rate: int, index: int) -> Steps:
    """What is timed on an utterance; {} for one that cannot be perturbed."""
    pitch_range = estimate_pitch_range([(waveform, rate)])
    analysis = analyse(waveform, rate, pitch_range)
    drawn = (draw_parameters(0, epoch, f"utterance {index}") for epoch in range(50))
    # Near a target of zero Praat hangs.
    usable = (one for one in drawn if target_pitch(analysis, one)[1].min() >= 2 * MIN_TARGET_IN_HZ)
    parameters = None if analysis.note else next(usable, None)
    if parameters is None:
        return {}
    return {
        "pitch_range": lambda: estimate_pitch_range([(waveform, rate)]),
        "analysis": lambda: analyse(waveform, rate, pitch_range),
        "synthesis": lambda: synthesise(waveform, rate, analysis, parameters),
        **_praat_steps(waveform, rate, analysis, parameters),
    }


def _praat_steps(waveform: np.ndarray, rate: int, analysis: Analysis, parameters: PerturbationParameters) -> Steps:
    """The official way: To Pitch (ac), Change gender, ten-band sosfilt; {} without praat-parselmouth."""
    try:
        import parselmouth
        import scipy.signal
    except ImportError:
        return {}
    sections = design(rate, parameters.gains_in_db, parameters.qualities)
    sound = parselmouth.Sound(waveform.astype(np.float64), sampling_frequency=rate)
    ratios = (parameters.formant_ratio, parameters.pitch_median_ratio * analysis.median(), parameters.pitch_range_ratio, 1.0)

    def track():
        return sound.to_pitch_ac(time_step=analysis.step, pitch_floor=analysis.floor, pitch_ceiling=analysis.ceiling)

    pitch = track()

    def change():
        changed = parselmouth.praat.call([sound, pitch], "Change gender", *ratios).values[0]
        return np.clip(scipy.signal.sosfilt(sections, changed), -1.0, 1.0)

    return {"praat_analysis": track, "praat_synthesis": change}
