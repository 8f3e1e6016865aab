"""What stage 0 shows in TensorBoard: durations, speakers, hours, and a few utterances to hear with their phones to see."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import matplotlib
import numpy as np
from lhotse import CutSet, MonoCut
from matplotlib.figure import Figure

from spin import artifacts
from spin.corpus.validate import PartSummary
from spin.runtime.logs import board
from spin.runtime.seeding import integer

_HEARD = 2  # utterances of a part
_SHOWN_IN_S = 6.0  # of an utterance's spectrogram
_WINDOW, _HOP = 400, 80  # samples: 25 ms and 5 ms at 16 kHz
_MOST_SPEAKERS = 60  # bars that can be told apart


def show_corpus(folder: Path, corpus: Path, summaries: Mapping[str, PartSummary], seed: int) -> None:
    """Writes the event file afresh.

    Args:
        folder: of the TensorBoard log; what a killed run left there is removed.
        corpus: where the manifests are.
        summaries: by part.
        seed: of the choice of utterances.
    """
    shutil.rmtree(folder, ignore_errors=True)
    writer = board(folder)
    try:
        for part, summary in summaries.items():
            _show_numbers(writer, part, summary)
            for cut in _some(artifacts.cuts(corpus, part), seed, _HEARD):
                audio = cut.load_audio()
                writer.add_audio(f"{part}/{cut.id}", audio, 0, sample_rate=cut.sampling_rate)
                writer.add_figure(f"{part}/{cut.id}", phone_figure(cut, audio[0]), 0)
        writer.add_text("parts", parts_table(summaries.values()), 0)
        writer.add_figure("speakers", speaker_figure(list(summaries.values())), 0)
    finally:
        writer.close()


def parts_table(summaries: Iterable[PartSummary]) -> str:
    """A Markdown table, a line a part."""
    lines = ["| part | utterances | hours | speakers | mean s | with phones |", "|---|---|---|---|---|---|"]
    for part in summaries:
        count, mean = len(part.durations), np.mean(part.durations)
        lines.append(f"| {part.name} | {count} | {part.hours:.2f} | {len(part.seconds_of)} | {mean:.1f} | {part.aligned} |")
    return "\n".join(lines)


def speaker_figure(summaries: list[PartSummary]) -> Figure:
    """Minutes of speech of each speaker, longest first, a panel a part; of many speakers, the quantiles."""
    figure = Figure(figsize=(10, 2.2 * len(summaries)), layout="constrained")
    for axes, part in zip(figure.subplots(len(summaries), squeeze=False)[:, 0], summaries, strict=True):
        minutes = sorted((seconds / 60 for seconds in part.seconds_of.values()), reverse=True)
        names = sorted(part.seconds_of, key=lambda name: -part.seconds_of[name])
        if len(minutes) <= _MOST_SPEAKERS:
            axes.bar(range(len(minutes)), minutes, color="tab:blue")
            axes.set_xticks(range(len(minutes)), names, rotation=90, fontsize=7)
        else:
            axes.fill_between(np.linspace(0, 100, len(minutes)), minutes, color="tab:blue", step="mid")
            axes.set_xlabel("share of the speakers (%)")
        axes.set_ylabel("minutes")
        axes.set_title(f"{part.name}: {len(minutes)} speakers, {part.hours:.2f} h", loc="left", fontsize=10)
        axes.margins(x=0.01)
    return figure


def phone_figure(cut: MonoCut, samples: np.ndarray) -> Figure:
    """The spectrogram of the first seconds of an utterance with its phones, as far as it has an alignment.

    Args:
        samples: (S,) float32 at the cut's rate.
    """
    rate = cut.sampling_rate
    samples = samples[: int(_SHOWN_IN_S * rate)]
    seconds = len(samples) / rate
    figure = Figure(figsize=(14, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.imshow(
        spectrogram_in_db(samples),
        origin="lower",
        aspect="auto",
        extent=(0, seconds, 0, rate / 2000),
        cmap=matplotlib.colormaps["magma"],
        vmin=-80,
        vmax=0,
    )
    supervision = cut.supervisions[0]
    for number, item in enumerate((supervision.alignment or {}).get(artifacts.PHONE_TIER, ())):
        if item.start >= seconds:
            break
        axes.axvline(item.start, color="white", linewidth=0.5, alpha=0.7)
        centre = (item.start + min(item.end, seconds)) / 2
        height = 1.01 + 0.05 * (number % 2)  # short phones are narrower than their names
        axes.text(centre, height, item.symbol, transform=axes.get_xaxis_transform(), ha="center", va="bottom", fontsize=7)
    axes.set_xlim(0, seconds)
    axes.set_xlabel("s")
    axes.set_ylabel("kHz")
    figure.suptitle(f"{cut.id} (speaker {supervision.speaker}): {supervision.text[:110]}", fontsize=9)
    return figure


def spectrogram_in_db(samples: np.ndarray) -> np.ndarray:
    """(S,) -> (bins, frames), dB below the loudest bin, Hann windows of 25 ms every 5 ms; short input is padded to one window."""
    padded = np.pad(samples, (0, max(0, _WINDOW - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW), axis=1)) ** 2
    return 10 * np.log10(power.T / max(float(power.max()), 1e-20) + 1e-10)


def _show_numbers(writer, part: str, summary: PartSummary) -> None:
    writer.add_histogram(f"duration_in_s/{part}", np.asarray(summary.durations), 0)
    writer.add_histogram(f"utterances_of_a_speaker/{part}", np.asarray(list(summary.utterances_of.values())), 0)
    writer.add_scalar(f"hours/{part}", summary.hours, 0)
    writer.add_scalar(f"speakers/{part}", len(summary.seconds_of), 0)
    writer.add_scalar(f"aligned_share/{part}", summary.aligned / len(summary.durations), 0)


def _some(path: Path, seed: int, count: int) -> list[MonoCut]:
    """Utterances drawn from the first thousand of a manifest, the same for the same seed; those with phones first."""
    first = itertools.islice(CutSet.from_jsonl_lazy(path), 1000)
    return sorted(first, key=lambda cut: (not cut.supervisions[0].alignment, integer(seed, "heard", cut.id)))[:count]
