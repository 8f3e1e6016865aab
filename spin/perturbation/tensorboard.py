"""Stage 1 in TensorBoard: histograms, perturbed pairs as audio, spectrograms with pitch."""

import contextlib
import itertools
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from spin import artifacts
from spin.config import Config
from spin.data.audio import read_audio
from spin.data.cuts import read_cuts
from spin.figures import plot_spectrogram
from spin.perturbation.analysis import analyse
from spin.perturbation.analysis_io import load_analysis
from spin.perturbation.perturb import PerturbationParameters, draw_parameters, synthesise
from spin.runtime.logs import summary_writer

SHOWN_IN_S = 4.0  # of a pair's spectrograms
DRAWN = 2000  # utterances of a part in the histograms
PAIRS = 4  # utterances of a part that are played and drawn
RATIOS = ("formant_ratio", "pitch_median_ratio", "pitch_range_ratio")


def show_perturbation(folder: Path, manifests: dict[str, Path], config: Config) -> None:
    """Replaces the event file of stage 1 in `folder`; `manifests`: part -> manifest of stage 1."""
    with contextlib.closing(summary_writer(folder)) as writer:
        for part, manifest in manifests.items():
            _show_histograms(writer, part, manifest, config)
            for cut in read_cuts(manifest, last=PAIRS):
                _show_pair(writer, part, cut, config)


def _show_histograms(writer, part: str, manifest: Path, config: Config) -> None:
    medians, drawn = [], []
    for cut in itertools.islice(read_cuts(manifest), DRAWN):
        drawn.append(draw_parameters(config.seed, 0, cut.id, config=config.perturbation))
        if not cut.custom[artifacts.PITCH_NOTE_FIELD]:
            medians.append(load_analysis(cut).median())
    values = {"F0 median in Hz": medians} | {name: [getattr(parameters, name) for parameters in drawn] for name in RATIOS}
    for name, numbers in values.items():
        if numbers:
            writer.add_histogram(f"{name}/{part}", np.array(numbers), 0)


def _show_pair(writer, part: str, cut, config: Config) -> None:
    waveform, rate = read_audio(cut), cut.sampling_rate
    analysis = load_analysis(cut).crop(round(cut.start * rate), len(waveform))
    parameters = draw_parameters(config.seed, 0, cut.id, config=config.perturbation)
    copy = synthesise(waveform, rate, analysis, parameters)
    writer.add_audio(f"{part}/{cut.id}/original", waveform[None], 0, sample_rate=rate)
    writer.add_audio(f"{part}/{cut.id}/perturbed", copy[None], 0, sample_rate=rate)
    writer.add_figure(f"{part}/{cut.id}", pair_figure(waveform, copy, parameters, cut.id), 0)


def pair_figure(original: np.ndarray, perturbed: np.ndarray, parameters: PerturbationParameters, name: str) -> Figure:
    """Spectrograms of two waveforms (samples,) at 16 kHz, each with its own pitch contour; the title has name and ratios."""
    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.subplots(2, 1, sharex=True)
    for ax, waveform, title in zip(axes, (original, perturbed), ("original", "perturbed")):
        shown = waveform[: int(SHOWN_IN_S * artifacts.SAMPLE_RATE)]
        plot_spectrogram(ax, shown)
        ax.set_title(title)
        contour = analyse(shown, artifacts.SAMPLE_RATE)
        times = contour.start + np.arange(len(contour.pitch)) * contour.step
        pitch_ax = ax.twinx()
        pitch_ax.plot(times, np.where(contour.pitch > 0, contour.pitch, np.nan), ".", color="#b4731c", markersize=3)
        pitch_ax.set(ylim=(0, 600), ylabel="F0 in Hz")
    axes[-1].set_xlabel("seconds")
    ratios = (getattr(parameters, ratio) for ratio in RATIOS)
    figure.suptitle("{}: formants x {:.2f}, F0 median x {:.2f}, F0 range x {:.2f}".format(name, *ratios))
    return figure
