"""The steps of stage 0: open and check the corpus, then build manifests, noisy copies, LM text and lexicon."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from spin import artifacts, products
from spin.corpus.align import check_overlap, open_alignments
from spin.corpus.lexicon import given_sentences, read_sentences, write_lexicon, write_lm_text
from spin.corpus.parts import PartWork, check_parts, move_manifest, summarize_parts
from spin.corpus.pronunciation import default_dictionary
from spin.corpus.registry import Corpus, forget_fingerprints, open_corpus
from spin.corpus.tensorboard import show_corpus
from spin.corpus.validate import check_roles
from spin.data.audio import BABBLE, GAUSSIAN, REVERB, noisy_cut, read_pool
from spin.data.cuts import read_cuts, read_records, write_cuts
from spin.errors import ConfigError
from spin.runtime.context import Context


def open_checked(context: Context, parts: list[str]) -> Corpus:
    """The configured corpus, after everything that can be checked before hours of work: roles, files, folders, noise.

    Raises:
        SpinError: the first problem.
    """
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


def show_parts(context: Context, parts: list[str]) -> None:
    """One line of the log per part, and TensorBoard."""
    summaries, _ = summarize_parts(context.corpus, parts, {})
    for summary in summaries.values():
        context.log.info("%s", summary)
    show_corpus(context.tensorboard, context.corpus, summaries, context.config.seed)


def prepare_parts(context: Context, corpus: Corpus, parts: list[str]) -> bool:
    """Builds stale manifests; returns whether there were any. All parts are read and checked before the hours of alignment."""
    indexes = open_alignments(context.config, parts)
    stale = {part: product for part in parts if (product := products.manifest(context, part)).needs_build()}
    stale = {part: product for part, product in stale.items() if not move_manifest(product, part)}
    works = {part: PartWork(corpus, part, product.key) for part, product in stale.items()}
    for part, work in works.items():
        context.log.info("part %s: reading every utterance", part)
        work.read()
    summaries, part_of = summarize_parts(context.corpus, parts, works)
    check_parts(context.config, context.corpus, works, summaries)
    check_overlap(indexes, part_of)
    for part, product in stale.items():
        with product.building() as partial:
            works[part].write(partial, context.log)
        works[part].remove()
    return bool(stale)


def add_noise(context: Context, part: str, clean: str, kind: str, snr: float | None) -> None:
    """Builds the manifest of a noisy copy of a test part; the noise itself is added when the audio is read."""
    product = products.manifest(context, part)
    if product.needs_build():
        pool = read_pool(noise_sources(context, kind)) if kind != GAUSSIAN else ()
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
