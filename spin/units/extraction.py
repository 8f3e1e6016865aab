"""Extraction in shards over processes or GPUs.

A shard is a run of neighbouring utterances that one process works on. It is finished or not there: its record file, written
last, names the arrays of each utterance or why there are none. So an interrupted stage resumes with the missing shards, and the
result does not depend on the number of processes. On the CPU a process has one thread, because sums over threads round
differently.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
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
from spin.errors import DataError
from spin.runtime.devices import prepare_cpu, resolve_device
from spin.runtime.files import write_jsonl
from spin.runtime.prefetch import prefetch
from spin.runtime.progress import progress
from spin.runtime.workers import map_jobs
from spin.systems import System
from spin.units.extractors import Extracted, extract, open_extractors

SHARD_UTTERANCES = 128
READERS = 4  # threads that read audio ahead of a GPU
SHARDS = "shards"  # folder of record files in a folder that is being filled
ID, ARRAY, UNITS, REASON = "id", "array", "units", "reason"  # keys of a record


@dataclass(frozen=True)
class Output:
    """One layer of one system (None: its own), and the folder that its features of a part fill."""

    system: System
    folder: Path
    layer: int | None = None

    def records(self, first: int) -> Path:
        """The record file of the shard that begins with utterance `first`."""
        return self.folder / SHARDS / f"{first:08d}.jsonl"


@dataclass(frozen=True)
class Job:
    """One shard, for any process.

    Attributes:
        cuts: manifest of the part.
        first, last: utterances [first, last) of it.
        outputs: what to compute.
        batch_seconds: bound of the padded audio of a batch on a GPU.
        device: auto, cpu or cuda.
        official_padding: see EncoderConfig.
    """

    cuts: Path
    first: int
    last: int
    outputs: tuple[Output, ...]
    batch_seconds: float
    device: str
    official_padding: bool

    def missing(self) -> Job:
        """The same without the outputs that are finished."""
        return dataclasses.replace(self, outputs=tuple(own for own in self.outputs if not own.records(self.first).exists()))


def plan_jobs(config: Config, cuts: Path, outputs: tuple[Output, ...]) -> list[Job]:
    """The shards of a part; the same for every run.

    Raises:
        DataError: the manifest is missing or damaged.
    """
    count = count_cuts(cuts)
    settings = (config.units.batch_seconds, config.runtime.device, config.encoder.official_padding)
    starts = range(0, count, SHARD_UTTERANCES)
    return [Job(cuts, first, min(first + SHARD_UTTERANCES, count), outputs, *settings) for first in starts]


def run_jobs(jobs: list, config: Config, function: Callable, description: str) -> Iterator:
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
    cuts = list(read_cuts(job.cuts, job.first, job.last))
    writers = {output: ArrayWriter(output.folder, f"features-{job.first:08d}") for output in job.outputs}
    records: dict[Output, dict[str, dict]] = {output: {} for output in job.outputs}
    seconds = 0.0
    for cut, result in _extract_cuts(job, cuts):
        seconds += 0.0 if isinstance(result, str) else cut.duration
        for output, writer in writers.items():
            if isinstance(result, str):
                records[output][cut.id] = {ID: cut.id, REASON: result}
            else:
                records[output][cut.id] = _store(cut, result[output.system], output.layer, writer)
    for output, writer in writers.items():
        writer.close()
        write_jsonl(output.records(job.first), (records[output][cut.id] for cut in cuts))
    return seconds


def _extract_cuts(job: Job, cuts: list[Cut]) -> Iterator[tuple[Cut, dict[System, Extracted] | str]]:
    """Each cut with its features and units by all systems, or with the reason why it cannot be used."""
    systems = tuple(dict.fromkeys(output.system for output in job.outputs))
    layers = {system: [output.layer for output in job.outputs if output.system == system] for system in systems}
    extractors, device = open_extractors(systems, job.official_padding, job.device), resolve_device(job.device)
    shortest = max(extractor.receptive_field for extractor in extractors.values())
    read = functools.partial(read_samples, shortest=shortest)
    for batch, audio in prefetch(make_batches(cuts, job.batch_seconds), read, READERS if device.type == "cuda" else 0):
        pairs = list(zip(batch, audio, strict=True))
        yield from ((cut, samples) for cut, samples in pairs if isinstance(samples, str))
        good = [(cut, samples) for cut, samples in pairs if not isinstance(samples, str)]
        if good:
            results = extract(extractors, layers, [samples for _, samples in good], device)
            yield from zip([cut for cut, _ in good], results, strict=True)


def _store(cut: Cut, result: Extracted, layer: int | None, writer: ArrayWriter) -> dict:
    array = writer.write(cut.id, to_float16(cut.id, result.features[layer]), artifacts.FRAME_SHIFT_IN_S, cut.start)
    units = {} if result.units is None else {UNITS: result.units.tolist()}
    return {ID: cut.id, ARRAY: array.to_dict(), **units}


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
