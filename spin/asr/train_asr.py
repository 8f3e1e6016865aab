"""The trainings of stage 4: which are due, on which data, and in which processes."""

from collections.abc import Sequence

from spin import artifacts, products
from spin.asr.batches import open_cuts, text_of
from spin.asr.inputs import UNITS, count_units, measure_features, open_reader
from spin.asr.jobs import TrainingData, TrainJob
from spin.asr.lang import Lang
from spin.asr.model import count_needed_frames
from spin.asr.tokens import UNKNOWN_ID
from spin.asr.training import train_recogniser
from spin.errors import DataError
from spin.runtime.context import Context
from spin.runtime.rejects import Rejects
from spin.runtime.workers import run_jobs
from spin.systems import System

STAGE = 4
PER_GPU = 2  # trainings at a time on one GPU


def train_recognisers(context: Context, lang: Lang, systems: Sequence[System]) -> None:
    """Trains every recogniser that is missing or stale: one per system, input and seed."""
    asr = context.config.asr
    jobs = []
    for input_kind in asr.inputs:
        for system in systems:
            due = [seed for seed in asr.seeds if products.recogniser(context, system, input_kind, seed).needs_build()]
            data = prepare_data(context, lang, system, input_kind) if due else None
            jobs += [TrainJob(context, system, input_kind, seed, data) for seed in due]
    jobs.sort(key=lambda job: asr.seeds.index(job.seed))  # the first results of all systems come first
    context.log.info("%d trainings of %d steps", len(jobs), asr.max_steps)
    for line in run_jobs(context.config, train_recogniser, jobs, PER_GPU):
        context.log.info("%s", line)


def prepare_data(context: Context, lang: Lang, system: System, input_kind: str) -> TrainingData:
    """Utterances and input statistics of the trainings of one system and kind of input; writes the rejects file.

    Raises:
        DataError: the share of rejected utterances is above corpus.max_bad_share, or no valid utterance has a transcript.
    """
    config, exp = context.config, context.exp
    cuts, valid = (open_cuts(exp, system.name, input_kind, parts) for parts in (config.corpus.asr_train, config.corpus.valid))
    inventory = count_units(cuts, config.asr) if input_kind == UNITS else None
    reader = open_reader(input_kind, inventory)
    rejects = Rejects(artifacts.rejects(exp, f"asr_{system.name}_{input_kind}"), STAGE)
    left_out, total = set(), 0
    for cut in cuts:
        total += 1
        reason = find_problem(text_of(cut), reader.length(cut), lang)
        if reason is not None:
            left_out.add(cut.id)
            rejects.add(cut.id, "+".join(config.corpus.asr_train), reason)
    rejects.check_share(total, config.corpus.max_bad_share)
    rejects.close()
    if not any(map(text_of, valid)):
        remedy = "--set corpus.valid=[<parts with transcripts>]"
        raise DataError("valid parts", found="no utterance with a transcript", expected="at least one", remedy=remedy)
    usable = (cut for cut in cuts if cut.id not in left_out)
    return TrainingData(inventory or measure_features(usable, reader, total - len(left_out)), frozenset(left_out))


def find_problem(text: str, frames: int, lang: Lang) -> str | None:
    """The reason why CTC cannot learn from a transcript and that number of input frames, or None."""
    if not text:
        return "no transcript"
    tokens = lang.encode(text)
    if lang.kind == "phone" and UNKNOWN_ID in tokens:
        return "no pronunciation of " + next(word for word in text.split() if UNKNOWN_ID in lang.encode(word))
    needed = count_needed_frames(tokens)
    return f"too short for its text: {frames} frames, {needed} needed" if frames < needed else None
