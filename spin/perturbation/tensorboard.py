"""What stage 1 shows in TensorBoard: speakers' pitch ranges, histograms, perturbed pairs to hear, spectrograms with pitch."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import matplotlib
import numpy as np
from lhotse import CutSet
from matplotlib.figure import Figure

from spin import artifacts
from spin.config import Config
from spin.perturbation.analysis import analyse
from spin.perturbation.parameters import PerturbationParameters, draw_parameters
from spin.perturbation.perturb import synthesise
from spin.perturbation.pitch_range import PitchRange
from spin.perturbation.storage import load_analysis
from spin.runtime.logs import board

SHOWN_IN_S = 4.0  # of a pair's spectrograms
DRAWN = 2000  # utterances whose ratios of epoch 0 are in the histograms
WINDOW_IN_S, HOP_IN_S = 0.025, 0.005
FLOOR_IN_DB = -80.0


def show_perturbation(
    folder: Path, corpus: Path, config: Config, ranges: dict[str, PitchRange], medians: dict[str, list[float]]
) -> None:
    """Writes the event file afresh.

    Args:
        folder: of the TensorBoard log.
        corpus: where the manifests of stage 1 are.
        config: parts, seed and perturbation.
        ranges: by speaker.
        medians: part -> median F0 of each voiced utterance, Hz.
    """
    shutil.rmtree(folder, ignore_errors=True)
    writer = board(folder)
    try:
        writer.add_text("speaker pitch ranges", ranges_table(ranges), 0)
        for part, values in medians.items():
            if values:
                writer.add_histogram(f"F0 median in Hz/{part}", np.asarray(values), 0)
            cuts = CutSet.from_file(artifacts.pitch_cuts(corpus, part))
            _show_ratios(writer, part, (cut.id for cut in itertools.islice(cuts, DRAWN)), config)
            for cut in itertools.islice(cuts, config.perturbation.tensorboard_pairs):
                _show_pair(writer, part, cut, config)
    finally:
        writer.close()


def ranges_table(ranges: dict[str, PitchRange]) -> str:
    """A Markdown table, a line a speaker."""
    lines = ["| speaker | floor Hz | ceiling Hz | median Hz |", "|---|---|---|---|"]
    lines += [f"| {name} | {found.floor:.0f} | {found.ceiling:.0f} | {found.median:.0f} |" for name, found in ranges.items()]
    return "\n".join(lines)


def _show_ratios(writer, part: str, ids, config: Config) -> None:
    drawn = [draw_parameters(config.seed, 0, name, config=config.perturbation) for name in ids]
    if not drawn:
        return
    for name in ("formant_ratio", "pitch_median_ratio", "pitch_range_ratio"):
        writer.add_histogram(f"{name}/{part}", np.array([getattr(one, name) for one in drawn]), 0)


def _show_pair(writer, part: str, cut, config: Config) -> None:
    waveform, rate = cut.load_audio()[0], cut.sampling_rate
    analysis = load_analysis(cut).crop(round(cut.start * rate), len(waveform))
    parameters = draw_parameters(config.seed, 0, cut.id, config=config.perturbation)
    copy = synthesise(waveform, rate, analysis, parameters)
    writer.add_audio(f"{part}/{cut.id}/original", waveform[None], 0, sample_rate=rate)
    writer.add_audio(f"{part}/{cut.id}/perturbed", copy[None], 0, sample_rate=rate)
    writer.add_figure(f"{part}/{cut.id}", pair_figure(waveform, copy, rate, parameters, cut.id), 0)


def pair_figure(original: np.ndarray, perturbed: np.ndarray, rate: int, parameters: PerturbationParameters, name: str) -> Figure:
    """Two spectrograms, one above the other, each with its own pitch contour drawn in.

    Args:
        original, perturbed: (samples,), of equal length.
        rate: Hz.
        parameters: shown in the title.
    """
    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.subplots(2, 1, sharex=True)
    shown = int(SHOWN_IN_S * rate)
    for ax, waveform, title in zip(axes, (original[:shown], perturbed[:shown]), ("original", "perturbed")):
        _draw_spectrogram(ax, waveform, rate)
        contour = analyse(waveform, rate)
        times = contour.start + np.arange(len(contour.pitch)) * contour.step
        pitch_ax = ax.twinx()
        pitch_ax.plot(times, np.where(contour.pitch > 0, contour.pitch, np.nan), ".", color="#33e0ff", markersize=3)
        pitch_ax.set(ylim=(0, 600), ylabel="F0 in Hz")
        ax.set(ylabel="kHz", title=title, xlim=(0, len(waveform) / rate))
    axes[-1].set_xlabel("seconds")
    ratios = (parameters.formant_ratio, parameters.pitch_median_ratio, parameters.pitch_range_ratio)
    figure.suptitle("{}: formants x {:.2f}, F0 median x {:.2f}, F0 range x {:.2f}".format(name, *ratios))
    return figure


def _draw_spectrogram(ax, waveform: np.ndarray, rate: int) -> None:
    window, hop = int(WINDOW_IN_S * rate), max(1, int(HOP_IN_S * rate))
    if len(waveform) < window or window < 2:
        return
    frames = np.lib.stride_tricks.sliding_window_view(waveform, window)[::hop] * np.hanning(window)
    power = np.abs(np.fft.rfft(frames, 2 * window)) ** 2
    level = 10.0 * np.log10(np.maximum(power / max(power.max(), 1e-20), 10.0 ** (FLOOR_IN_DB / 10.0)))
    extent = (0.5 * window / rate, 0.5 * window / rate + len(frames) * hop / rate, 0.0, rate / 2000.0)
    ax.imshow(level.T, origin="lower", aspect="auto", extent=extent, cmap=matplotlib.colormaps["magma"], vmin=FLOOR_IN_DB)
