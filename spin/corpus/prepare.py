"""The steps of stage 0, except the manifests of parts: open and check the corpus, noisy copies, LM text, lexicon, TensorBoard."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from lhotse import MonoCut
from matplotlib.figure import Figure

from spin import artifacts, products
from spin.corpus.parts import Speakers, check_roles
from spin.corpus.pronunciation import default_dictionary, write_lexicon
from spin.corpus.registry import Corpus, forget_fingerprints, open_corpus
from spin.corpus.text import given_sentences, read_sentences, write_lm_text
from spin.data.audio import BABBLE, GAUSSIAN, REVERB, noisy_cut, read_audio, read_pool
from spin.data.cuts import read_cuts, read_records, write_cuts
from spin.errors import ConfigError
from spin.figures import COLOURS, plot_spectrogram
from spin.runtime.logs import summary_writer
from spin.runtime.product import Context

_EXAMPLES = 2  # utterances per part
_SHOWN_IN_S = 6.0  # of an utterance's spectrogram


def open_checked(context: Context, parts: list[str]) -> Corpus:
    """The configured corpus, after all that can be checked before hours of work: roles, files, folders, noise."""
    config = context.config
    check_roles(config.corpus)
    if config.corpus.lm_text and config.corpus.asr_train:
        next(given_sentences(config.corpus, context.log), None)
    corpus = open_corpus(config, context.corpus)
    for kind in set(config.noise.test_kinds) - {GAUSSIAN}:
        noise_sources(context, kind)
    corpus.check(parts, context.log)
    forget_fingerprints()  # the check may have downloaded parts
    return corpus


def show_parts(context: Context, speakers: dict[str, Speakers]) -> None:
    """One line of the log per part; in TensorBoard its durations, and two utterances to hear, with their phones."""
    with contextlib.closing(summary_writer(context.tensorboard)) as writer:
        for part, own in speakers.items():
            durations = np.array([seconds for spoken in own.values() for seconds in spoken])
            hours = durations.sum() / 3600
            context.log.info("part %s: %d utterances, %.2f h, %d speakers", part, len(durations), hours, len(own))
            writer.add_histogram(f"duration_in_s/{part}", durations, 0)
            writer.add_histogram(f"minutes_per_speaker/{part}", np.array([sum(spoken) / 60 for spoken in own.values()]), 0)
            writer.add_scalar(f"hours/{part}", hours, 0)
            for cut in read_cuts(artifacts.cuts(context.corpus, part), last=_EXAMPLES):
                samples = read_audio(cut)
                writer.add_audio(f"{part}/{cut.id}", samples[None], 0, sample_rate=cut.sampling_rate)
                writer.add_figure(f"{part}/{cut.id}", plot_phones(cut, samples), 0)


def plot_phones(cut: MonoCut, samples: np.ndarray) -> Figure:
    """The spectrogram of the first seconds of an utterance (S,) at 16 kHz, with the phones of its alignment if it has one."""
    samples = samples[: int(_SHOWN_IN_S * cut.sampling_rate)]
    figure = Figure(figsize=(14, 3.6), layout="constrained")
    axes = figure.subplots()
    plot_spectrogram(axes, samples)
    supervision = cut.supervisions[0]
    for number, item in enumerate((supervision.alignment or {}).get(artifacts.PHONE_TIER, ())):
        if item.start < axes.get_xlim()[1]:
            axes.axvline(item.start, color=COLOURS["muted"], linewidth=0.5)
            height = 1.01 + 0.05 * (number % 2)  # short phones are narrower than their names
            axes.text(item.start, height, item.symbol, transform=axes.get_xaxis_transform(), va="bottom", fontsize=7)
    figure.suptitle(f"{cut.id} (speaker {supervision.speaker}): {supervision.text[:110]}", fontsize=9)
    return figure


def add_noise(context: Context, part: str, clean: str, kind: str, snr: float | None) -> None:
    """Builds the manifest of a noisy copy of a test part; the noise itself is added when the audio is read."""
    product = products.manifest(context, part)
    if product.needs_build():
        pool = read_pool(noise_sources(context, kind), kind) if kind != GAUSSIAN else ()
        cuts = read_cuts(artifacts.cuts(context.corpus, clean))
        with product.building() as partial:
            write_cuts(partial, (noisy_cut(cut, kind, snr, context.config.seed, pool) for cut in cuts))


def noise_sources(context: Context, kind: str) -> list[str | Path]:
    """The manifests that noise of a kind is drawn from: spin_train for babble, else what the noise section names."""
    config = context.config
    if kind == BABBLE:
        return [artifacts.cuts(context.corpus, part) for part in config.corpus.spin_train]
    key = "impulse_responses" if kind == REVERB else "manifests"
    if not (sources := getattr(config.noise, key)):
        remedy = f"--set noise.{key}=[FILE], or remove {kind} from noise.test_kinds"
        raise ConfigError(f"noise.{key}", found="not set", expected=f"manifests for test parts with {kind}", remedy=remedy)
    return list(sources)


def prepare_words(context: Context, corpus: Corpus) -> None:
    """Builds the LM text, without the sentences of valid and test, and the lexicon of all words."""
    config, log = context.config.corpus, context.log
    lm_text, lexicon = products.lm_text(context), products.lexicon(context)
    if lm_text.needs_build():
        own = itertools.chain(transcripts(context, config.asr_train), corpus.lm_sentences())
        held_out = set(transcripts(context, (*config.valid, *config.test)))
        with lm_text.building() as partial:
            write_lm_text(partial, given_sentences(config, log) if config.lm_text else own, held_out, log)
    if lexicon.needs_build():
        spoken = transcripts(context, (*config.asr_train, *config.valid, *config.test))
        texts = itertools.chain(spoken, read_sentences(artifacts.lm_text(context.corpus), log))
        with lexicon.building() as partial:
            write_lexicon(partial, {word for text in texts for word in text.split()}, default_dictionary(), log)


def transcripts(context: Context, parts: Iterable[str]) -> Iterator[str]:
    """The transcripts of parts, read one at a time."""
    for part in dict.fromkeys(parts):
        for cut in read_records(artifacts.cuts(context.corpus, part)):
            yield cut["supervisions"][0]["text"]
