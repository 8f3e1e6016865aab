"""The decoding half of stage 5: every model on every part by every method, then the scores of the two systems side by side."""

from __future__ import annotations

from pathlib import Path

from spin import artifacts
from spin.asr.decoding import METHODS, RESCORING
from spin.asr.decoding_job import DecodeJob, decode_one
from spin.asr.graphs import prepare_graph, prepare_rescoring
from spin.asr.lang import Lang, extend_lang, load_lang
from spin.asr.lang_stage import write_lang
from spin.asr.lm_sources import LmSource
from spin.asr.recognise import needs_graph, release_recogniser
from spin.asr.summary import write_scores
from spin.asr.transcripts import read_summary
from spin.errors import ConfigError
from spin.runtime.devices import resolve_device
from spin.runtime.logs import board, get_logger
from spin.runtime.stages import Context
from spin.runtime.workers import map_parts

TEXTS_SHOWN = 5


def decode(context: Context) -> None:
    """Decodes the test parts with every model and method, and writes artifacts.scores; what an earlier run finished is kept.

    Raises:
        ConfigError: an unknown method.
        DataError: models or features are missing, an ARPA file cannot be read.
    """
    config = context.config
    for method in config.decoding.methods:
        if method not in METHODS:
            raise ConfigError("decoding.methods", found=repr(method), expected=", ".join(METHODS))
    prepare_language(context)
    context.begin()
    jobs = [DecodeJob(config, context.exp, system, seed) for seed in config.asr.seeds for system in config.asr.systems]
    side_by_side = 1 if resolve_device(config.runtime.device).type == "cuda" else config.runtime.nj
    for _ in map_parts(decode_one, jobs, side_by_side):
        pass
    release_recogniser()
    write_scores(context.exp, config)
    show(context)


def prepare_language(context: Context) -> None:
    """What the methods need: HLG of the search's LM, and G of the larger one. A given ARPA file also gives words."""
    config, text = context.config.decoding, artifacts.lm_text(context.corpus)
    folder = artifacts.lang_folder(context.exp)
    lang = load_lang(folder)
    if not needs_graph(config.methods):
        return
    source = LmSource(text, config.lm_order, Path(config.arpa) if config.arpa else None)
    if config.arpa:
        folder = artifacts.decoding_lang_folder(context.exp)
        lang = extend_lang(lang, source.words())
        write_lang(lang, folder)
    prepare_graph(lang, folder, source)
    if set(config.methods) & set(RESCORING):
        given = Path(config.rescore_arpa) if config.rescore_arpa else None
        larger = LmSource(text, config.rescore_order, given)
        report_lost_words(lang, larger)
        prepare_rescoring(lang, folder, larger)


def report_lost_words(lang: Lang, larger: LmSource) -> None:
    """Warns of words that the graph knows and a given LM for rescoring does not: no path with one survives rescoring."""
    if larger.given is None:
        return
    known = set(larger.words())
    lost = [word for word in lang.words if word not in known]
    if lost:
        message = "%d of the %d words of the graph are not in %s, and rescoring cannot give them: %s"
        get_logger("asr.decoding").warning(message, len(lost), len(lang.words), larger.given, ", ".join(lost[:5]))


def show(context: Context) -> None:
    """TensorBoard: WER and CER of every decoding (the step is the seed), and some aligned texts."""
    config = context.config
    for system in config.asr.systems:
        writer = board(context.tensorboard / system)
        for seed in config.asr.seeds:
            for part in config.corpus.test:
                for method in config.decoding.methods:
                    folder = artifacts.decode_folder(context.exp, system, seed, part, method)
                    summary = read_summary(folder)
                    for name in ("wer", "cer"):
                        writer.add_scalar(f"{name}/{part}/{method}", summary[name], seed)
                    blocks = artifacts.word_alignments(folder).read_text(encoding="utf-8").split("\n")[: 4 * TEXTS_SHOWN]
                    writer.add_text(f"{part}/{method}", "```\n" + "\n".join(blocks) + "\n```", seed)
        writer.close()
