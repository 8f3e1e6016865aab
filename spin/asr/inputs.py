"""Recognisers and what they read: stored features, or the symbols of units.

The trainings of one system and kind of input share statistics, which are kept with each: mean and deviation of features, or the
inventory of units.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from lhotse import CutSet
from lhotse.cut import Cut

from spin import artifacts, products
from spin.asr.batches import Manifests, frames_of, text_of
from spin.asr.lang import Lang
from spin.asr.tokens import UNKNOWN_ID, count_needed_frames
from spin.config import AsrConfig
from spin.data.store import load_array
from spin.errors import DataError
from spin.runtime import seeding
from spin.runtime.product import Context, Product
from spin.runtime.rejects import Rejects
from spin.systems import System
from spin.units.units import find_runs, smooth

FEATURES, UNITS = "features", "units"
STAGE = 4
THREADS = 1  # of torch in each training and decoding, so that the bits do not depend on --nj
CACHE_BYTES = 1 << 30  # of each training: inputs kept in memory
STATISTICS_UTTERANCES = 2000
MASK = 0  # the symbol of masked units, and of units that training never saw; unit u is symbol u + 1
REPEATS = {"raw": 1, "smoothed": 1, "deduplicated": 2, "pieces": 4}  # frames per symbol: CTC needs a frame for each token
SMOOTHED_FRAMES = 5  # of the majority filter of smoothed units
INVENTORY_FILE = "inventory.json"  # a UnitInventory, next to the weights


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
        """The cuts of some parts with what the recogniser reads, one part after the other, read lazily from stage 3."""
        folder = artifacts.features_folder if self.input_kind == FEATURES else artifacts.units_folder
        return CutSet(Manifests([artifacts.cuts_in(folder(self.context.exp, self.system.name, part)) for part in parts]))


@dataclass(frozen=True)
class FeatureStatistics:
    """Mean and standard deviation of each feature dimension over training frames, (D,) float32."""

    mean: np.ndarray
    deviation: np.ndarray


@dataclass(frozen=True)
class UnitInventory:
    """Symbols of the units of a training."""

    unit_input: str
    codebook_size: int  # one more than the highest unit of the training parts
    pieces: str | None = None  # sentencepiece model in base64, where units are joined

    def load_pieces(self):
        """The Pieces of spin.units.acoustic_pieces; None without."""
        if self.pieces is None:
            return None
        from spin.units.acoustic_pieces import Pieces

        return Pieces(base64.b64decode(self.pieces))

    @property
    def symbols(self) -> int:
        """Number of symbols, MASK included."""
        return self.codebook_size + 1 if self.pieces is None else self.load_pieces().size


@dataclass(frozen=True)
class TrainJob(Recogniser):
    """A recogniser to train."""

    inputs: FeatureStatistics | UnitInventory  # of the training parts
    left_out: frozenset[str]  # ids of utterances that no training uses


class InputReader:
    """Reads stored features, or with an inventory symbols of units; keeps up to `max_bytes`, so small corpora are read once."""

    def __init__(self, inventory: UnitInventory | None = None, max_bytes: int = 0):
        self.field = artifacts.HIDDEN_FIELD if inventory is None else artifacts.UNITS_FIELD
        self._inventory, self._pieces = inventory, inventory.load_pieces() if inventory else None
        self._left, self._kept = max_bytes, {}

    def read(self, cut: Cut) -> np.ndarray:
        """(T, D) float16, or (T,) int64 symbols, each REPEATS times; DataError when the array is missing or damaged."""
        array = self._kept.get(cut.id)
        if array is None:
            array = load_array(cut, self.field)
            array = array if self._inventory is None else self._to_symbols(array.astype(np.int64))
            if array.nbytes <= self._left:
                self._left -= array.nbytes
                self._kept[cut.id] = array
        return array

    def _to_symbols(self, units: np.ndarray) -> np.ndarray:
        unit_input = self._inventory.unit_input
        if unit_input == "smoothed":
            units = smooth(units, SMOOTHED_FRAMES)
        elif unit_input != "raw":
            units, _ = find_runs(units)
        known = units < self._inventory.codebook_size
        if self._pieces is None:
            symbols = np.where(known, units + 1, MASK)
        else:
            symbols = np.asarray(self._pieces.encode(units[known].tolist()), dtype=np.int64)  # <unk>, piece 0, never occurs
        return symbols.repeat(REPEATS[unit_input])

    def length(self, cut: Cut) -> int:
        """Number of frames or symbols that `read` gives; repeats and pieces are known only once the units are read."""
        joins = self._inventory is not None and REPEATS[self._inventory.unit_input] > 1
        return len(self.read(cut)) if joins else frames_of(cut, self.field)


def prepare_data(recogniser: Recogniser, lang: Lang) -> tuple[FeatureStatistics | UnitInventory, frozenset[str]]:
    """`inputs` and `left_out` of a recogniser, whatever its seed; writes the rejects file.

    Raises DataError where the share of rejected utterances is above corpus.max_bad_share, or no valid utterance has a transcript.
    """
    config, input_kind = recogniser.context.config, recogniser.input_kind
    corpus, cuts = config.corpus, recogniser.cuts(config.corpus.asr_train)
    inventory = count_units(cuts, config.asr) if input_kind == UNITS else None
    reader = InputReader(inventory)
    rejects = Rejects(artifacts.rejects(recogniser.context.exp, f"asr_{recogniser.system.name}_{input_kind}"), STAGE)
    left_out, total = set(), 0
    for cut in cuts:
        total += 1
        reason = find_problem(text_of(cut), reader.length(cut), lang)
        if reason is not None:
            left_out.add(cut.id)
            rejects.add(cut.id, "+".join(corpus.asr_train), reason)
    rejects.check_share(total, corpus.max_bad_share)
    rejects.close()
    if not any(map(text_of, recogniser.cuts(corpus.valid))):
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


def measure_features(cuts: Iterable[Cut], total: int) -> FeatureStatistics:
    """Statistics over about STATISTICS_UTTERANCES of `total` utterances, chosen by their names: every run takes the same."""
    stride = max(1, math.ceil(total / STATISTICS_UTTERANCES))
    frames, sums, squares = 0, 0.0, 0.0
    for cut in cuts:
        if seeding.integer("asr statistics", cut.id) % stride == 0:
            features = load_array(cut, artifacts.HIDDEN_FIELD).astype(np.float64)
            frames += len(features)
            sums = sums + features.sum(axis=0)
            squares = squares + np.square(features).sum(axis=0)
    mean = sums / frames
    deviation = np.sqrt(np.maximum(squares / frames - np.square(mean), 1e-10))
    return FeatureStatistics(mean.astype(np.float32), deviation.astype(np.float32))


def count_units(cuts: Iterable[Cut], config: AsrConfig) -> UnitInventory:
    """The inventory of the units of some cuts, with pieces where asr.unit_input asks for them."""
    sequences = [load_array(cut, artifacts.UNITS_FIELD).astype(np.int32) for cut in cuts]
    codebook_size = 1 + max((int(units.max()) for units in sequences if len(units)), default=-1)
    if config.unit_input != "pieces":
        return UnitInventory(config.unit_input, codebook_size)
    from spin.units.acoustic_pieces import train_pieces

    joined = (find_runs(units)[0].tolist() for units in sequences)
    pieces = train_pieces(joined, codebook_size, max(config.unit_pieces, codebook_size + 1))
    return UnitInventory(config.unit_input, codebook_size, base64.b64encode(pieces.content).decode("ascii"))
