"""What a recogniser reads: stored features, features computed as they are needed, or the symbols of units.

The statistics of the inputs of a training are kept with it: mean and deviation of features, or the inventory of units.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lhotse.cut import Cut

from spin import artifacts
from spin.asr.batches import frames_of
from spin.config import AsrConfig, Config
from spin.data.audio import UnreadableAudio, read_audio
from spin.data.store import load_array
from spin.errors import DataError, rerun
from spin.runtime import seeding
from spin.runtime.devices import one_thread, resolve_device
from spin.runtime.files import read_json, write_json
from spin.systems import System
from spin.units.units import find_runs

FEATURES, UNITS = "features", "units"
CACHE_BYTES = 1 << 30  # of each training: inputs kept in memory
STATISTICS_UTTERANCES = 2000
MASK = 0  # the symbol of masked units, and of units that training never saw; unit u is symbol u + 1
REPEATS = {"raw": 1, "deduplicated": 2, "pieces": 4}  # frames per symbol: CTC needs a frame for each token
INVENTORY_FILE = "inventory.json"


@dataclass(frozen=True)
class FeatureStatistics:
    """Mean and standard deviation of each feature dimension over training frames, float32 (D,), or (L + 1, D) of every layer."""

    mean: np.ndarray
    deviation: np.ndarray


@dataclass(frozen=True)
class UnitInventory:
    """Symbols of the units of a training.

    Attributes:
        codebook_size: one more than the highest unit of the training parts.
        pieces: sentencepiece model, where units are joined.
    """

    unit_input: str
    codebook_size: int
    pieces: bytes | None = None

    def load_pieces(self):
        """The Pieces of spin.units.acoustic_pieces; None without."""
        if self.pieces is None:
            return None
        from spin.units.acoustic_pieces import Pieces

        return Pieces(self.pieces)

    @property
    def symbols(self) -> int:
        """Number of symbols, MASK included."""
        return self.codebook_size + 1 if self.pieces is None else self.load_pieces().size

    def save(self, folder: Path) -> None:
        pieces = None if self.pieces is None else base64.b64encode(self.pieces).decode("ascii")
        write_json(folder / INVENTORY_FILE, {**vars(self), "pieces": pieces})

    @classmethod
    def load(cls, folder: Path) -> UnitInventory:
        """Reads INVENTORY_FILE; DataError when it is missing or damaged."""
        content = read_json(folder / INVENTORY_FILE)
        pieces = None if content["pieces"] is None else base64.b64decode(content["pieces"])
        return cls(content["unit_input"], content["codebook_size"], pieces)


class InputReader:
    """Reads stored features or units, and keeps up to `max_bytes` in memory: small corpora are read from the disk once."""

    def __init__(self, max_bytes: int = 0, field: str = artifacts.HIDDEN_FIELD):
        self.field, self._left = field, max_bytes
        self._kept: dict[str, np.ndarray] = {}

    def read(self, cut: Cut) -> np.ndarray:
        """(T, D) or (T, L + 1, D) float16, or (T,) int64 symbols.

        Raises:
            DataError: the array is missing, damaged or has another shape than the manifest says.
        """
        array = self._kept.get(cut.id)
        if array is None:
            array = self.load(cut)
            if array.nbytes <= self._left:
                self._left -= array.nbytes
                self._kept[cut.id] = array
        return array

    def load(self, cut: Cut) -> np.ndarray:
        array, expected = load_array(cut, self.field), tuple(getattr(cut, self.field).shape)
        if array.shape != expected:
            raise _wrong_array(cut, f"shape {array.shape}", f"shape {expected}")
        return array

    def length(self, cut: Cut) -> int:
        """Number of frames or symbols that `read` gives."""
        return frames_of(cut, self.field)


class EncoderReader(InputReader):
    """Features straight from the encoder, as stage 3 stores them: rounded to float16, each utterance by itself.

    On a GPU stage 3 runs batches, which round differently in the last bits. Here no batch matters, so a resumed training reads
    the same features. With asr.weighted_sum: (T, L + 1, D), the input of the first layer in front.
    """

    def __init__(self, system: System, config: Config, max_bytes: int):
        from spin.units.extractors import EncoderExtractor

        super().__init__(max_bytes)
        self._device = resolve_device(config.runtime.device)
        self._extractor = EncoderExtractor(system, config.encoder.official_padding, self._device)
        depth = self._extractor.encoder.shape.layers
        self._layers = range(depth + 1) if config.asr.weighted_sum else (None,)

    def load(self, cut: Cut) -> np.ndarray:
        try:
            waveform = torch.from_numpy(read_audio(cut))[None].to(self._device)
        except UnreadableAudio as error:
            subject, remedy = f"audio of {cut.id}", f"restore the audio, or {rerun(0)}"
            raise DataError(subject, found=error.reason, expected="audio that stage 3 could read", remedy=remedy) from error
        with one_thread():  # as in stage 3: sums over several threads round differently
            (extracted,), _ = self._extractor.run(waveform, torch.tensor([waveform.shape[1]]), self._layers, None)
        layers = [extracted.features[layer] for layer in self._layers]
        with np.errstate(over="ignore"):
            features = (np.stack(layers, axis=1) if len(layers) > 1 else layers[0]).astype(np.float16)
        if len(features) != self.length(cut):
            raise _wrong_array(cut, f"{len(features)} frames", f"{self.length(cut)}, as in stage 3")
        if not np.isfinite(features).all():
            raise _wrong_array(cut, "a value beyond 65,504", "finite float16 numbers")
        return features


class UnitReader(InputReader):
    """Symbols of units: as they are, without repeats, or joined into pieces; each REPEATS times."""

    def __init__(self, inventory: UnitInventory, max_bytes: int = 0):
        super().__init__(max_bytes, artifacts.UNITS_FIELD)
        self._inventory, self._pieces = inventory, inventory.load_pieces()

    def load(self, cut: Cut) -> np.ndarray:
        units = super().load(cut).astype(np.int64)
        if self._inventory.unit_input != "raw":
            units, _ = find_runs(units)
        known = units < self._inventory.codebook_size
        if self._pieces is None:
            symbols = np.where(known, units + 1, MASK)
        else:
            symbols = np.asarray(self._pieces.encode(units[known].tolist()), dtype=np.int64)  # <unk>, piece 0, never occurs
        return symbols.repeat(REPEATS[self._inventory.unit_input])

    def length(self, cut: Cut) -> int:
        """Repeats and pieces are known only once the units are read."""
        return super().length(cut) if self._inventory.unit_input == "raw" else len(self.read(cut))


def open_reader(
    config: Config, system: System, source: str, inventory: UnitInventory | None = None, max_bytes: int = 0
) -> InputReader:
    """The reader that the configuration asks for; a filterbank is always read from the disk.

    Args:
        source: features, or units, which need the inventory of the training units.
        max_bytes: bound of what is kept in memory.

    Raises:
        CheckpointError: the encoder, or the model, cannot be read.
    """
    if source == UNITS:
        return UnitReader(inventory, max_bytes)
    if config.asr.features == "stored" or system.kind == "fbank":
        return InputReader(max_bytes)
    return EncoderReader(system, config, max_bytes)


def measure_features(cuts: Iterable[Cut], reader: InputReader, total: int) -> FeatureStatistics:
    """Statistics over about STATISTICS_UTTERANCES of `total` utterances, chosen by their names, so that every run takes the same.

    Raises:
        DataError: no frame, or numbers that are not finite.
    """
    stride = max(1, math.ceil(total / STATISTICS_UTTERANCES))
    frames, sums, squares = 0, 0.0, 0.0
    for cut in cuts:
        if seeding.integer("asr statistics", cut.id) % stride == 0:
            features = reader.read(cut).astype(np.float64)
            frames += len(features)
            sums = sums + features.sum(axis=0)
            squares = squares + np.square(features).sum(axis=0)
    if frames == 0:
        raise DataError("features of the training parts", found="no frame", expected="features of stage 3", remedy=rerun(3))
    mean = sums / frames
    deviation = np.sqrt(np.maximum(squares / frames - np.square(mean), 1e-10))
    if not np.isfinite(deviation).all():
        raise DataError("features of the training parts", found="NaN or infinite values", remedy=rerun(3))
    return FeatureStatistics(mean.astype(np.float32), deviation.astype(np.float32))


def count_units(cuts: Iterable[Cut], config: AsrConfig) -> UnitInventory:
    """The inventory of the units of some cuts, with pieces where asr.unit_input asks for them; DataError without any unit."""
    reader = InputReader(field=artifacts.UNITS_FIELD)
    sequences = [reader.load(cut).astype(np.int32) for cut in cuts]
    codebook_size = 1 + max((int(units.max()) for units in sequences if len(units)), default=-1)
    if codebook_size == 0:
        raise DataError("units of the training parts", found="no unit", expected="units of stage 3", remedy=rerun(3))
    if config.unit_input != "pieces":
        return UnitInventory(config.unit_input, codebook_size)
    from spin.units.acoustic_pieces import train_pieces

    joined = (find_runs(units)[0].tolist() for units in sequences)
    pieces = train_pieces(joined, codebook_size, max(config.unit_pieces, codebook_size + 1))
    return UnitInventory(config.unit_input, codebook_size, pieces.content)


def _wrong_array(cut: Cut, found: str, expected: str) -> DataError:
    cause = "the audio, the encoder or the stored array has changed since stage 3"
    return DataError(f"features of {cut.id}", found=found, expected=expected, cause=cause, remedy=rerun(3))
