"""TensorBoard log of stage 0: durations, speakers, hours, and a few utterances to hear, with their phones."""

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from lhotse import MonoCut
from matplotlib.figure import Figure

from spin import artifacts
from spin.corpus.validate import PartSummary
from spin.data.audio import read_audio
from spin.data.cuts import read_cuts
from spin.figures import COLOURS, plot_spectrogram
from spin.runtime.logs import summary_writer
from spin.runtime.seeding import integer

_EXAMPLES = 2  # utterances per part
_SHOWN_IN_S = 6.0  # of an utterance's spectrogram
_MOST_SPEAKERS = 60  # bars that can be told apart


def show_corpus(folder: Path, corpus: Path, summaries: Mapping[str, PartSummary], seed: int) -> None:
    """Writes a new event file into `folder`, in place of those of an earlier run; `seed` chooses the utterances."""
    writer = summary_writer(folder, 0)
    try:
        for part, summary in summaries.items():
            writer.add_histogram(f"duration_in_s/{part}", np.asarray(summary.durations), 0)
            writer.add_histogram(f"utterances_per_speaker/{part}", np.asarray(list(summary.utterances_of.values())), 0)
            writer.add_scalar(f"hours/{part}", summary.hours, 0)
            writer.add_scalar(f"speakers/{part}", len(summary.seconds_of), 0)
            writer.add_scalar(f"aligned_share/{part}", summary.aligned / len(summary.durations), 0)
            for cut in choose_examples(artifacts.cuts(corpus, part), seed, _EXAMPLES):
                samples = read_audio(cut)
                writer.add_audio(f"{part}/{cut.id}", samples[None], 0, sample_rate=cut.sampling_rate)
                writer.add_figure(f"{part}/{cut.id}", plot_phones(cut, samples), 0)
        writer.add_text("parts", "\n\n".join(map(str, summaries.values())), 0)
        writer.add_figure("speakers", plot_speakers(list(summaries.values())), 0)
    finally:
        writer.close()


def choose_examples(path: Path, seed: int, count: int) -> list[MonoCut]:
    """Utterances drawn from the first thousand of a manifest, the same for the same seed; those with phones first."""
    first = itertools.islice(read_cuts(path), 1000)
    return sorted(first, key=lambda cut: (not cut.supervisions[0].alignment, integer(seed, "heard", cut.id)))[:count]


def plot_speakers(summaries: list[PartSummary]) -> Figure:
    """Minutes of speech per speaker, longest first, one panel per part; of many speakers, the quantiles."""
    figure = Figure(figsize=(10, 2.2 * len(summaries)), layout="constrained")
    for axes, part in zip(figure.subplots(len(summaries), squeeze=False)[:, 0], summaries, strict=True):
        names = sorted(part.seconds_of, key=lambda name: -part.seconds_of[name])
        minutes = [part.seconds_of[name] / 60 for name in names]
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


def plot_phones(cut: MonoCut, samples: np.ndarray) -> Figure:
    """The spectrogram of the first seconds of an utterance (S,) at 16 kHz, with the phones of its alignment if it has one."""
    rate, supervision = cut.sampling_rate, cut.supervisions[0]
    samples = samples[: int(_SHOWN_IN_S * rate)]
    figure = Figure(figsize=(14, 3.6), layout="constrained")
    axes = figure.subplots()
    plot_spectrogram(axes, samples)
    seconds = len(samples) / rate
    phones = (supervision.alignment or {}).get(artifacts.PHONE_TIER, ())
    for number, item in enumerate(itertools.takewhile(lambda item: item.start < seconds, phones)):
        axes.axvline(item.start, color=COLOURS["muted"], linewidth=0.5)
        centre = (item.start + min(item.end, seconds)) / 2
        height = 1.01 + 0.05 * (number % 2)  # short phones are narrower than their names
        axes.text(centre, height, item.symbol, transform=axes.get_xaxis_transform(), ha="center", va="bottom", fontsize=7)
    axes.set_xlabel("s")
    figure.suptitle(f"{cut.id} (speaker {supervision.speaker}): {supervision.text[:110]}", fontsize=9)
    return figure
