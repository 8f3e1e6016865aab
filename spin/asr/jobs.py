"""Recognisers, and the data that their trainings share."""

from collections.abc import Iterable
from dataclasses import dataclass

from lhotse import CutSet

from spin import artifacts, products
from spin.asr.batches import open_cuts, text_of
from spin.asr.inputs import UNITS, FeatureStatistics, InputReader, UnitInventory, count_units, measure_features
from spin.asr.lang import Lang
from spin.asr.model import count_needed_frames
from spin.asr.tokens import UNKNOWN_ID
from spin.errors import DataError
from spin.runtime.context import Context
from spin.runtime.product import Product
from spin.runtime.rejects import Rejects
from spin.systems import System

STAGE = 4
THREADS = 1  # of torch in each training and decoding, so that the bits do not depend on --nj


@dataclass(frozen=True)
class Recogniser:
    """One recogniser; `input_kind` is features or units."""

    context: Context
    system: System
    input_kind: str
    seed: int

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.system.name}, {self.input_kind}, seed {self.seed}"

    @property
    def identity(self) -> tuple[Context, System, str, int]:
        """The arguments that name it in spin/products.py."""
        return self.context, self.system, self.input_kind, self.seed

    @property
    def product(self) -> Product:
        """The product of stage 4."""
        return products.recogniser(*self.identity)

    def cuts(self, parts: Iterable[str]) -> CutSet:
        """The cuts of some parts, with what the recogniser reads."""
        return open_cuts(self.context.exp, self.system.name, self.input_kind, parts)


@dataclass(frozen=True)
class TrainJob(Recogniser):
    """A recogniser to train.

    Attributes:
        inputs: statistics of the training features, or inventory of the training units.
        left_out: ids of utterances that no training uses.
    """

    inputs: FeatureStatistics | UnitInventory
    left_out: frozenset[str]


def prepare_data(
    context: Context, lang: Lang, system: System, input_kind: str
) -> tuple[FeatureStatistics | UnitInventory, frozenset[str]]:
    """`inputs` and `left_out` of the trainings of one system and kind of input; writes the rejects file.

    Raises:
        DataError: the share of rejected utterances is above corpus.max_bad_share, or no valid utterance has a transcript.
    """
    corpus, exp = context.config.corpus, context.exp
    cuts, valid = (open_cuts(exp, system.name, input_kind, parts) for parts in (corpus.asr_train, corpus.valid))
    inventory = count_units(cuts, context.config.asr) if input_kind == UNITS else None
    reader = InputReader(inventory)
    rejects = Rejects(artifacts.rejects(exp, f"asr_{system.name}_{input_kind}"), STAGE)
    left_out, total = set(), 0
    for cut in cuts:
        total += 1
        reason = find_problem(text_of(cut), reader.length(cut), lang)
        if reason is not None:
            left_out.add(cut.id)
            rejects.add(cut.id, "+".join(corpus.asr_train), reason)
    rejects.check_share(total, corpus.max_bad_share)
    rejects.close()
    if not any(map(text_of, valid)):
        remedy = "--set corpus.valid=[<parts with transcripts>]"
        raise DataError("valid parts", found="no utterance with a transcript", expected="at least one", remedy=remedy)
    usable = (cut for cut in cuts if cut.id not in left_out)
    return inventory or measure_features(usable, total - len(left_out)), frozenset(left_out)


def find_problem(text: str, frames: int, lang: Lang) -> str | None:
    """The reason why CTC cannot learn from a transcript and that number of input frames, or None."""
    if not text:
        return "no transcript"
    tokens = lang.tokens.encode(text)
    if lang.tokens.kind == "phone" and UNKNOWN_ID in tokens:
        return "no pronunciation of " + next(word for word in text.split() if UNKNOWN_ID in lang.tokens.encode(word))
    needed = count_needed_frames(tokens)
    return f"too short for its text: {frames} frames, {needed} needed" if frames < needed else None
