"""Stage 4: lang folder, then one training for each system and seed, --nj of them side by side."""

from __future__ import annotations

from spin import artifacts
from spin.asr.features import FeatureReader, FeatureStatistics, frames_of, measure, open_cuts, text_of
from spin.asr.graphs import save_lexicon_fsts
from spin.asr.lang import Lang, make_lang, save_lang
from spin.asr.lm_sources import read_sentences
from spin.asr.loss import frames_needed
from spin.asr.model import output_frames
from spin.asr.training import TrainJob, train_one
from spin.errors import DataError
from spin.runtime.devices import resolve_device
from spin.runtime.rejects import Rejects
from spin.runtime.stages import Context
from spin.runtime.workers import map_parts

STAGE = 4


def train_asr(context: Context) -> None:
    """Trains a CTC model on the frozen features of each system, same recipe, same data, same seeds."""
    config = context.config
    lang = prepare_lang(context)
    left_out, total = find_unusable(context, lang)
    valid_count = sum(1 for cut in open_cuts(context.exp, artifacts.SYSTEMS[0], config.corpus.valid) if text_of(cut))
    if valid_count == 0:
        raise DataError("valid parts", found="no utterance with a transcript", expected="at least one", remedy="see corpus.valid")
    statistics = {system: measure_system(context, system, left_out, total) for system in artifacts.SYSTEMS}
    jobs = [
        TrainJob(
            config=config,
            exp=context.exp,
            tensorboard=context.tensorboard,
            system=system,
            seed=seed,
            statistics=statistics[system],
            left_out=frozenset(left_out),
            train_count=total - len(left_out),
            valid_count=valid_count,
        )
        for seed in config.asr.seeds
        for system in artifacts.SYSTEMS
    ]
    side_by_side = 1 if resolve_device(config.runtime.device).type == "cuda" else config.runtime.nj
    context.log.info("%d trainings of %d steps, %d at a time", len(jobs), config.asr.max_steps, min(side_by_side, len(jobs)))
    for best in map_parts(train_one, jobs, side_by_side):
        context.log.info("%(system)s, seed %(seed)d: valid CER %(cer).2f %%, WER %(wer).2f %% at step %(step)d", best)


def prepare_lang(context: Context) -> Lang:
    """Makes the lang folder from the training transcripts and the LM text."""
    config = context.config
    cuts = open_cuts(context.exp, artifacts.SYSTEMS[0], config.corpus.asr_train)
    transcripts = [text for text in map(text_of, cuts) if text]
    lang = make_lang(config.asr, transcripts, read_sentences(artifacts.lm_text(context.corpus)))
    save_lexicon_fsts(lang, artifacts.lang_folder(context.exp))
    save_lang(lang, artifacts.lang_folder(context.exp))
    context.log.info("%d tokens (%s), %d words", lang.vocabulary_size, lang.kind, len(lang.words))
    return lang


def find_unusable(context: Context, lang: Lang) -> tuple[set[str], int]:
    """Ids that no training uses, and the number of all training utterances.

    An utterance that one system cannot use is left out for both, so that they learn from the same data.
    """
    config = context.config
    reasons: dict[str, str] = {}
    total = 0
    for system in artifacts.SYSTEMS:
        total = 0
        for cut in open_cuts(context.exp, system, config.corpus.asr_train):
            total += 1
            reason = why_unusable(text_of(cut), frames_of(cut), lang, config.asr.subsampling)
            if reason is not None:
                reasons.setdefault(cut.id, reason)
    rejects = Rejects(artifacts.rejects(context.exp, STAGE), STAGE)
    for name, reason in reasons.items():
        rejects.add(name, "+".join(config.corpus.asr_train), reason)
    rejects.check_share(total, config.corpus.max_bad_share)
    rejects.close()
    return set(reasons), total


def why_unusable(text: str, frames: int, lang: Lang, subsampling: int) -> str | None:
    """The reason why CTC cannot learn from an utterance, or None."""
    if not text:
        return "no transcript"
    needed, there = frames_needed(lang.encode(text)), output_frames(frames, subsampling)
    return f"too short for its text: {there} frames, {needed} needed" if there < needed else None


def measure_system(context: Context, system: str, left_out: set[str], total: int) -> FeatureStatistics:
    """Statistics of a system's training features."""
    cuts = open_cuts(context.exp, system, context.config.corpus.asr_train)
    return measure((cut for cut in cuts if cut.id not in left_out), FeatureReader(0), total - len(left_out))
