"""Stage 4: lang folder, then one training for each system and seed, --nj of them side by side."""

from __future__ import annotations

from spin import artifacts
from spin.asr.fbank import FbankJob, extract_part
from spin.asr.features import FeatureStatistics, frames_of, measure, open_cuts, text_of
from spin.asr.lang import Lang
from spin.asr.lang_stage import prepare_lang
from spin.asr.loss import frames_needed
from spin.asr.model import output_frames
from spin.asr.readers import open_reader
from spin.asr.tokens import UNKNOWN_ID
from spin.asr.training import train_one
from spin.asr.training_job import TrainJob
from spin.asr.validation import rates
from spin.errors import ConfigError, DataError
from spin.runtime.devices import resolve_device
from spin.runtime.rejects import Rejects
from spin.runtime.stages import Context
from spin.runtime.workers import map_parts

STAGE = 4


def train_asr(context: Context) -> None:
    """Trains a CTC model on the frozen features of each system, same recipe, same data, same seeds."""
    config = context.config
    check_systems(config.asr.systems)
    lang = prepare_lang(context)
    if artifacts.FBANK in config.asr.systems:
        prepare_fbank(context)
    left_out, total = find_unusable(context, lang)
    valid_count = sum(1 for cut in open_cuts(context.exp, artifacts.SYSTEMS[0], config.corpus.valid) if text_of(cut))
    if valid_count == 0:
        raise DataError("valid parts", found="no utterance with a transcript", expected="at least one", remedy="see corpus.valid")
    statistics = {system: measure_system(context, system, left_out, total) for system in config.asr.systems}
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
        for system in config.asr.systems
    ]
    side_by_side = 1 if resolve_device(config.runtime.device).type == "cuda" else config.runtime.nj
    context.log.info("%d trainings of %d steps, %d at a time", len(jobs), config.asr.max_steps, min(side_by_side, len(jobs)))
    context.begin()
    for best in map_parts(train_one, jobs, side_by_side):
        context.log.info("%s, seed %d: valid %s at step %d", best["system"], best["seed"], rates(lang, best), best["step"])


def prepare_fbank(context: Context) -> None:
    """The features of the third system, where the configuration wants it."""
    corpus = context.config.corpus
    parts = list(dict.fromkeys((*corpus.asr_train, *corpus.valid, *corpus.test)))
    jobs = [FbankJob(context.exp, part) for part in parts]
    for part, number in zip(parts, map_parts(extract_part, jobs, context.config.runtime.nj)):
        context.log.info("filterbank features of %s: %s", part, f"{number} utterances" if number else "there already")


def check_systems(systems: tuple[str, ...]) -> None:
    """The report compares the encoder before and after Spin: both must be there.

    Raises:
        ConfigError: one is not.
    """
    if not set(artifacts.SYSTEMS) <= set(systems):
        expected = f"{' and '.join(artifacts.SYSTEMS)} among them"
        raise ConfigError("asr.systems", found=", ".join(systems), expected=expected)


def find_unusable(context: Context, lang: Lang) -> tuple[set[str], int]:
    """Ids that no training uses, and the number of all training utterances.

    An utterance that one system cannot use is left out for all, so that they learn from the same data.
    """
    config = context.config
    reasons: dict[str, str] = {}
    total = 0
    for system in config.asr.systems:
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
    if lang.kind == "phone" and UNKNOWN_ID in lang.encode(text):
        return "no pronunciation of " + next(word for word in text.split() if UNKNOWN_ID in lang.encode(word))
    needed, there = frames_needed(lang.encode(text)), output_frames(frames, subsampling)
    return f"too short for its text: {there} frames, {needed} needed" if there < needed else None


def measure_system(context: Context, system: str, left_out: set[str], total: int) -> FeatureStatistics:
    """Statistics of a system's training features."""
    cuts = open_cuts(context.exp, system, context.config.corpus.asr_train)
    reader = open_reader(context.config, context.exp, system, 0)
    return measure((cut for cut in cuts if cut.id not in left_out), reader, total - len(left_out))
