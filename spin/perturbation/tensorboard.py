"""Stage 1 in TensorBoard: a histogram of F0, and perturbed pairs as audio and spectrograms."""

import contextlib
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from spin.config import Config
from spin.data.audio import read_audio
from spin.data.cuts import read_cuts
from spin.figures import plot_spectrogram
from spin.perturbation.analysis_io import NOTE, load_analysis
from spin.perturbation.perturb import draw_parameters, synthesise
from spin.runtime.logs import summary_writer

SHOWN_IN_S = 4.0  # of a pair's spectrograms
DRAWN = 2000  # utterances of a part in the histogram
PAIRS = 4  # utterances of a part that are played and drawn


def show_perturbation(folder: Path, manifests: dict[str, Path], config: Config) -> None:
    """Replaces the event file of stage 1 in `folder`; `manifests`: part -> manifest of stage 1."""
    with contextlib.closing(summary_writer(folder)) as writer:
        for part, manifest in manifests.items():
            voiced = (cut for cut in read_cuts(manifest, last=DRAWN) if not cut.custom[NOTE])
            medians = [load_analysis(cut).median() for cut in voiced]
            if medians:
                writer.add_histogram(f"F0 median in Hz/{part}", np.array(medians), 0)
            for cut in read_cuts(manifest, last=PAIRS):
                _show_pair(writer, f"{part}/{cut.id}", cut, config)


def _show_pair(writer, name: str, cut, config: Config) -> None:
    original, rate = read_audio(cut), cut.sampling_rate
    analysis = load_analysis(cut).crop(round(cut.start * rate), len(original))
    parameters = draw_parameters(config.seed, 0, cut.id, config=config.perturbation)
    figure = Figure(figsize=(10, 6), layout="constrained")
    pair = {"original": original, "perturbed": synthesise(original, rate, analysis, parameters)}
    for axes, (title, waveform) in zip(figure.subplots(2, 1, sharex=True), pair.items()):
        writer.add_audio(f"{name}/{title}", waveform[None], 0, sample_rate=rate)
        plot_spectrogram(axes, waveform[: int(SHOWN_IN_S * rate)])
        axes.set_title(title)
    formants, median, spread = parameters.formant_ratio, parameters.pitch_median_ratio, parameters.pitch_range_ratio
    figure.suptitle(f"{cut.id}: formants x {formants:.2f}, F0 median x {median:.2f}, F0 range x {spread:.2f}")
    writer.add_figure(name, figure, 0)
