"""Recognisers, and what the jobs of their trainings and decodings hold."""

from collections.abc import Iterable
from dataclasses import dataclass

from lhotse import CutSet

from spin import products
from spin.asr.batches import open_cuts
from spin.asr.inputs import FeatureStatistics, UnitInventory
from spin.runtime.context import Context
from spin.runtime.product import Product
from spin.systems import System

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
class TrainingData:
    """Training data of one system and kind of input.

    Attributes:
        inputs: statistics of the training features, or inventory of the training units.
        left_out: ids of utterances that no training uses.
    """

    inputs: FeatureStatistics | UnitInventory
    left_out: frozenset[str]


@dataclass(frozen=True)
class TrainJob(Recogniser):
    """A recogniser with its training data."""

    data: TrainingData
