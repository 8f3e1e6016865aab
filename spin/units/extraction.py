"""The one extractor: features of any system and any layers, and units of systems with a codebook, in shards over processes or GPUs.

A shard is a run of neighbouring utterances that one process works on. It is finished or not there: its record file, written last, names
the arrays of each utterance or why there are none. So an interrupted stage resumes with the missing shards, and the result does not
depend on the number of processes.

On the CPU a process has one thread (sums over threads round differently) and every utterance runs by itself, so its features are the
same to the last bit in any batch. On a GPU a batch of similar lengths runs as one while threads prefetch the next.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lhotse.cut import Cut

from spin import artifacts
from spin.config import Config
from spin.data.audio import UnreadableAudio, read_audio
from spin.data.cuts import count_cuts, read_cuts
from spin.data.store import ArrayWriter
from spin.errors import ConfigError, DataError
from spin.models.importers import load_encoder
from spin.objectives.model import load_model
from spin.runtime.devices import prepare_cpu, resolve_device
from spin.runtime.files import write_jsonl
from spin.runtime.prefetch import prefetch
from spin.runtime.progress import progress
from spin.runtime.workers import map_jobs
from spin.systems import System
from spin.units.fbank import RECEPTIVE_FIELD, Filterbank

SHARD_UTTERANCES = 128
READERS = 4  # threads that read audio ahead of a GPU
SHARDS = "shards"  # folder of record files in a folder that is being filled
ID, ARRAY, UNITS, REASON = "id", "array", "units", "reason"  # keys of a record


@dataclass(frozen=True)
class Job:
    """One shard, for any process.

    Attributes:
        system: the system to run.
        cuts: manifest of the part.
        first, last: utterances [first, last) of it.
        folders: layers to store, each in its folder.
        batch_seconds: bound of the padded audio of a batch on a GPU.
        device: auto, cpu or cuda.
        official_padding: see EncoderConfig.
    """

    system: System
    cuts: Path
    first: int
    last: int
    folders: tuple[tuple[int | None, Path], ...]
    batch_seconds: float
    device: str
    official_padding: bool

    def records(self, folder: Path) -> Path:
        return folder / SHARDS / f"{self.first:08d}.jsonl"

    def is_finished(self) -> bool:
        return all(self.records(folder).exists() for _, folder in self.folders)


@dataclass(frozen=True)
class Extracted:
    """One utterance: layer -> (T, D) features, and (T,) units of a system with a codebook."""

    features: dict[int | None, np.ndarray]
    units: np.ndarray | None = None


class EncoderExtractor:
    """Features of an encoder or a model, at one or several layers.

    Raises:
        CheckpointError: the source cannot be read.
    """

    def __init__(self, system: System, official_padding: bool, device: torch.device):
        self.model = load_model(system.source) if system.has_codebook else None
        # Parameters keep requires_grad: without it some CPU kernels are others, and round differently.
        self.encoder = (self.model.encoder if self.model else load_encoder(system.source)).eval()
        self.encoder.official_padding = official_padding
        self.layer = system.layer or self.model.layer
        self.device = device
        (self.model or self.encoder).to(device)

    @property
    def shortest(self) -> int:
        """Samples of one frame."""
        return self.encoder.shape.receptive_field

    @property
    def codebook_size(self) -> int | None:
        return self.model.codebook_size if self.model else None

    def check_layers(self, layers: Iterable[int | None]) -> None:
        """Raises ConfigError for a layer that the encoder does not have."""
        for layer in layers:
            layer = self.layer if layer is None else layer
            if not 0 <= layer <= self.encoder.shape.layers:
                raise ConfigError("units.layer", found=str(layer), expected=f"1 to {self.encoder.shape.layers}, the encoder's layers")

    def __call__(self, waveforms: list[np.ndarray], layers: Iterable[int | None]) -> Iterator[Extracted]:
        """(S_i,) float32 samples at 16 kHz of each utterance -> its features and units."""
        alone = self.device.type == "cpu" and not self.encoder.official_padding
        for batch in [[waveform] for waveform in waveforms] if alone else [waveforms]:
            yield from self._run(batch, list(layers))

    @torch.no_grad()
    def _run(self, batch: list[np.ndarray], layers: list[int | None]) -> Iterator[Extracted]:
        lengths = torch.tensor([len(waveform) for waveform in batch])
        padded = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(waveform) for waveform in batch], batch_first=True)
        numbers = {layer: self.layer if layer is None else layer for layer in layers}
        last = max([*numbers.values(), *([self.model.layer] if self.model else [])])
        hidden, frames = self.encoder(padded.to(self.device), lengths, last)
        units = self.model.objective.units(hidden[self.model.layer]).cpu().numpy() if self.model else None
        features = {layer: hidden[number].cpu().numpy() for layer, number in numbers.items()}
        for row, count in enumerate(frames.tolist()):
            own = {layer: values[row, :count] for layer, values in features.items()}
            yield Extracted(own, None if units is None else units[row, :count])


class FilterbankExtractor:
    """Features of the filterbank; it has one layer."""

    shortest, codebook_size, device = RECEPTIVE_FIELD, None, torch.device("cpu")

    def __init__(self):
        self.filterbank = Filterbank()

    def check_layers(self, layers: Iterable[int | None]) -> None:
        """Raises ConfigError for any layer but None."""
        layer = next((layer for layer in layers if layer is not None), None)
        if layer is not None:
            raise ConfigError("layer", found=str(layer), expected="none: a filterbank has no layers")

    def __call__(self, waveforms: list[np.ndarray], layers: Iterable[int | None]) -> Iterator[Extracted]:
        yield from (Extracted({None: self.filterbank(waveform)}) for waveform in waveforms)


Extractor = EncoderExtractor | FilterbankExtractor


@functools.lru_cache(maxsize=1)  # kept for the next shard of the process
def open_extractor(system: System, official_padding: bool, device: str) -> Extractor:
    """The extractor of a system, on its device.

    Raises:
        CheckpointError: its source cannot be read.
    """
    if system.kind == "fbank":
        return FilterbankExtractor()
    return EncoderExtractor(system, official_padding, resolve_device(device))


def plan_jobs(config: Config, system: System, cuts: Path, folders: dict[int | None, Path]) -> list[Job]:
    """The shards of a part; the same for every run.

    Args:
        cuts: manifest of the part.
        folders: layer (None: the system's own) -> folder to fill.

    Raises:
        DataError: the manifest is missing or damaged.
    """
    count = count_cuts(cuts)
    settings = (config.units.batch_seconds, config.runtime.device, config.encoder.official_padding)
    starts = range(0, count, SHARD_UTTERANCES)
    stored = tuple(folders.items())
    return [Job(system, cuts, first, min(first + SHARD_UTTERANCES, count), stored, *settings) for first in starts]


def run_jobs(jobs: list[Job], config: Config, function: Callable[[Job], object], description: str) -> Iterator:
    """Results of function(job), in order, over --nj processes or over all GPUs."""
    if resolve_device(config.runtime.device).type == "cpu":
        nj, environments = config.runtime.nj, ()
    else:
        nj = min(config.runtime.gpus, torch.cuda.device_count())
        environments = tuple({"CUDA_VISIBLE_DEVICES": str(number)} for number in range(nj)) if nj > 1 else ()
    yield from progress(map_jobs(function, jobs, nj, environments=environments), description, len(jobs))


def extract_shard(job: Job) -> float:
    """Stores features and units of one shard, the record files last; returns the seconds of its audio.

    Raises:
        DataError: values that float16 cannot hold.
    """
    prepare_cpu(1)
    extractor = open_extractor(job.system, job.official_padding, job.device)
    cuts = list(read_cuts(job.cuts, job.first, job.last))
    records: dict[int | None, dict[str, dict]] = {layer: {} for layer, _ in job.folders}
    writers = {layer: ArrayWriter(folder, f"features-{job.first:08d}") for layer, folder in job.folders}
    seconds = 0.0
    for batch, audio in _read_batches(cuts, extractor, job.batch_seconds):
        good = [(cut, samples) for cut, samples in zip(batch, audio, strict=True) if not isinstance(samples, str)]
        for cut, reason in zip(batch, audio, strict=True):
            if isinstance(reason, str):
                for own in records.values():
                    own[cut.id] = {ID: cut.id, REASON: reason}
        results = extractor([samples for _, samples in good], writers) if good else ()
        for (cut, samples), result in zip(good, results, strict=True):
            units = {} if result.units is None else {UNITS: result.units.tolist()}
            for layer, values in result.features.items():
                array = writers[layer].write(cut.id, to_float16(cut.id, values), artifacts.FRAME_SHIFT_IN_S, cut.start)
                records[layer][cut.id] = {ID: cut.id, ARRAY: array.to_dict(), **units}
            seconds += len(samples) / artifacts.SAMPLE_RATE
    for layer, folder in job.folders:
        writers[layer].close()
        write_jsonl(job.records(folder), (records[layer][cut.id] for cut in cuts))
    return seconds


def _read_batches(cuts: list[Cut], extractor: Extractor, batch_seconds: float) -> Iterator[tuple[list[Cut], list]]:
    """(cuts, samples or the reason for a rejection) of each batch."""
    readers = READERS if extractor.device.type == "cuda" else 0
    return prefetch(make_batches(cuts, batch_seconds), functools.partial(read_samples, shortest=extractor.shortest), readers)


def make_batches(cuts: list[Cut], batch_seconds: float) -> list[list[Cut]]:
    """Cuts of similar length together, at most batch_seconds with padding (or a single longer cut)."""
    batches: list[list[Cut]] = []
    for cut in sorted(cuts, key=lambda cut: (-cut.duration, cut.id)):
        if batches and batches[-1][0].duration * (len(batches[-1]) + 1) <= batch_seconds:
            batches[-1].append(cut)
        else:
            batches.append([cut])
    return batches


def read_samples(cut: Cut, shortest: int) -> np.ndarray | str:
    """(S,) float32 at 16 kHz, or the reason why the utterance cannot be used; details follow a colon."""
    try:
        audio = read_audio(cut)
    except UnreadableAudio as error:
        return error.reason
    if len(audio) < shortest:
        return f"too short: {len(audio)} samples, one frame needs {shortest}"
    if not np.isfinite(audio).all():
        return "samples that are not finite"
    return audio


def to_float16(name: str, values: np.ndarray) -> np.ndarray:
    """Features as they are stored; raises DataError for values that float16 cannot hold."""
    with np.errstate(over="ignore"):
        small = np.asarray(values, dtype=np.float16)
    if not np.isfinite(small).all():
        found = f"a value of {np.abs(values).max():g} in {name}"
        raise DataError("features", found=found, expected="finite values below 65,504", cause="a diverged model or an odd layer")
    return small
