"""A few test utterances: spectrogram, phones, and the units of both systems under them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lhotse import MonoCut
from lhotse.audio.utils import AudioLoadingError, DurationMismatchError
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from spin import artifacts
from spin.config import Config
from spin.report import metrics
from spin.report.pictures import COLOURS, Picture, colour, style
from spin.report.unit_map import BRIGHT
from spin.runtime.files import read_jsonl
from spin.runtime.logs import get_logger

MOST_PICTURES = 2  # in a report; TensorBoard has units.pictures of them
LONGEST_IN_S = 2.5  # longer ones are cut here: labels of units must stay readable
NARROWEST_IN_S = 0.03  # a box below it, of a single unit, is drawn without its label
RANGE_IN_DB = 60.0
BANDS, SHADES = 64, 24
Span = tuple[float, float, str]  # from, to in seconds, label


@dataclass(frozen=True)
class Speech:
    """One utterance.

    Args:
        name, text: of the utterance.
        audio: (S,) at 16 kHz, the first LONGEST_IN_S at most.
        phones: in seconds, may be empty.
        units: system -> (T,) units of 20 ms.
    """

    name: str
    text: str
    audio: np.ndarray
    phones: list[Span]
    units: dict[str, list[int]]


def read_speech(config: Config, exp: Path) -> list[Speech]:
    """The first utterances of the first test part; none where stage 3's manifests are not there, fewer where audio is not."""
    part = config.corpus.test[0]
    count = min(MOST_PICTURES, config.units.pictures)
    cuts = list(itertools.islice(read_jsonl(artifacts.units_cuts(exp, artifacts.SYSTEMS[0], part)), count))
    lines = {system: _units(artifacts.units_lines(exp, system, part), count) for system in artifacts.SYSTEMS}
    made = [_speech(MonoCut.from_dict(cut), lines) for cut in cuts if all(cut["id"] in units for units in lines.values())]
    return [speech for speech in made if speech is not None]


def _units(path: Path, count: int) -> dict[str, list[int]]:
    return {line[artifacts.UNITS_ID]: line[artifacts.UNITS_SEQUENCE] for line in itertools.islice(read_jsonl(path), count)}


def _speech(cut: MonoCut, lines: dict[str, dict[str, list[int]]]) -> Speech | None:
    try:
        audio = np.asarray(cut.load_audio(), dtype=np.float64)[0]
    except (OSError, RuntimeError, ValueError, AudioLoadingError, DurationMismatchError) as error:
        get_logger("spin.report").warning("no picture of %s: %s", cut.id, " ".join(str(error).split())[:200])
        return None
    samples = int(min(LONGEST_IN_S, cut.duration) * artifacts.SAMPLE_RATE)
    seconds, frames = samples / artifacts.SAMPLE_RATE, int(samples / artifacts.SAMPLE_RATE / artifacts.FRAME_SHIFT_IN_S)
    supervision = cut.supervisions[0] if cut.supervisions else None
    items = (supervision.alignment or {}).get(artifacts.PHONE_TIER, ()) if supervision else ()
    phones = [(item.start, min(item.start + item.duration, seconds), item.symbol) for item in items if item.start < seconds]
    units = {system: units[cut.id][:frames] for system, units in lines.items()}
    return Speech(cut.id, supervision.text or "" if supervision else "", audio[:samples], phones, units)


def speech_pictures(speeches: list[Speech]) -> list[Picture]:
    """One picture an utterance."""
    return [_picture(number, speech) for number, speech in enumerate(speeches, start=1)]


def unit_spans(units: list[int]) -> list[Span]:
    """Runs of equal units, in seconds."""
    spans, start = [], 0
    for unit, run in itertools.groupby(units):
        stop = start + len(list(run))
        spans.append((start * artifacts.FRAME_SHIFT_IN_S, stop * artifacts.FRAME_SHIFT_IN_S, str(unit)))
        start = stop
    return spans


def spectrogram(audio: np.ndarray) -> np.ndarray:
    """(BANDS, frames of 10 ms) in 0 to 1: power in dB from RANGE_IN_DB below the loudest to the loudest, 0 to 8 kHz upwards."""
    window, shift, points = 400, 160, 512
    audio = np.pad(audio, (0, max(0, window - len(audio))))
    frames = np.lib.stride_tricks.sliding_window_view(audio, window)[::shift] * np.hanning(window)
    power = np.abs(np.fft.rfft(frames, points)[:, 1:]) ** 2
    level = 10 * np.log10(power.reshape(len(power), BANDS, -1).sum(2).T + 1e-12)
    return np.clip((level - level.max()) / RANGE_IN_DB + 1, 0, 1)


def _picture(number: int, speech: Speech) -> Picture:
    seconds = len(speech.audio) / artifacts.SAMPLE_RATE
    strips = [("phones", speech.phones, COLOURS["muted"])]
    strips += [(metrics.system_title(system), unit_spans(units), colour(system)) for system, units in speech.units.items()]
    with style():
        figure = Figure(figsize=(8.4, 2.2 + 0.42 * len(strips)), layout="constrained")
        rows = figure.subplots(1 + len(strips), 1, sharex=True, height_ratios=[5] + [1] * len(strips))
        image = np.zeros((*(shades := spectrogram(speech.audio)).shape, 4))
        image[..., :3] = to_rgb(BRIGHT)
        image[..., 3] = np.round(shades * SHADES) / SHADES  # few shades make a small file
        extent = (0, shades.shape[1] * 0.01, 0, artifacts.SAMPLE_RATE / 2000)
        rows[0].imshow(image, origin="lower", aspect="auto", interpolation="none", extent=extent)
        rows[0].set(ylabel="kHz", xlim=(0, seconds))
        rows[0].tick_params(bottom=False)
        for axes, (name, spans, ink) in zip(rows[1:], strips, strict=True):
            _strip(axes, name, spans, ink)
        rows[-1].set_xlabel("seconds")
    counts = ", ".join(f"{len(spans)} runs of units {name}" for name, spans, _ in strips[1:])
    alt = f"Spectrogram of {seconds:.1f} s of utterance {speech.name} with {len(speech.phones)} phones and {counts} under it."
    caption = (
        f"\u201c{speech.text}\u201d. Each box is a run of equal units, its number in it where it is longer than a frame. Look "
        "for units that begin and end with the phones, and for the same unit where the same phone comes again."
    )
    return Picture(f"speech_{number}", f"Utterance {speech.name}", alt, caption, figure)


def _strip(axes, name: str, spans: list[Span], ink: str) -> None:
    """Boxes along time with their labels; upright ones where they are narrow."""
    for index, (start, stop, label) in enumerate(spans):
        axes.axvspan(start, stop, color=ink, alpha=(0.30, 0.14)[index % 2], linewidth=0)
        turned = 90 if stop - start < 0.02 * len(label) else 0
        if stop - start >= NARROWEST_IN_S:
            axes.text((start + stop) / 2, 0.5, label, ha="center", va="center", fontsize=6.0, rotation=turned)
    axes.set(yticks=[], ylim=(0, 1))
    axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
