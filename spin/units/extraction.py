"""Features of whole parts, in shards over processes or GPUs.

A shard is a run of neighbouring utterances that one process works on. It is finished or not there: its record file, written
last, names the arrays of each utterance or why there are none. So an interrupted stage resumes with the missing shards, and the
result does not depend on the number of processes. On the CPU a process has one thread, because sums over threads round
differently.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import logging
import shutil
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lhotse.array import TemporalArray
from lhotse.cut import Cut

from spin import artifacts
from spin.config import Config
from spin.data.audio import UnreadableAudio, read_audio
from spin.data.cuts import count_cuts, read_cuts, read_records, write_cuts
from spin.data.store import ArrayWriter
from spin.errors import DataError, ResourceError, rerun
from spin.runtime.devices import prepare_cpu, resolve_device
from spin.runtime.files import read_jsonl, write_jsonl
from spin.runtime.logs import progress
from spin.runtime.rejects import Rejects
from spin.runtime.workers import prefetch, run_jobs
from spin.systems import System
from spin.units.extractors import EncoderExtractor, Extracted, extract, open_extractors
from spin.units.units import write_lines

SHARD_UTTERANCES = 128
READERS = 4  # threads that read audio ahead of a GPU
SHARDS = "shards"  # folder of record files in a folder that is being filled
ID, ARRAY, UNITS, REASON = "id", "array", "units", "reason"  # keys of a record
BYTES_PER_NUMBER, GIB = 2, 2**30


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
    """One shard, for any process: what to compute of utterances [first, last) of the manifest `cuts`."""

    config: Config
    cuts: Path
    first: int
    last: int
    outputs: tuple[Output, ...]

    def missing(self) -> Job:
        """The same without the outputs that are finished."""
        return dataclasses.replace(self, outputs=tuple(own for own in self.outputs if not own.records(self.first).exists()))


def extract_features(config: Config, parts: dict[str, tuple[Path, list[Output]]], log: logging.Logger) -> None:
    """Fills the folders of all outputs: packed arrays, cuts with HIDDEN_FIELD, rejects, and the units of systems with a codebook.

    Args:
        parts: name -> (manifest, outputs); folders may hold the work of an interrupted run.

    Raises:
        CheckpointError, ConfigError: a system's source cannot be read, or has no such layer.
        DataError: a damaged manifest, or more than corpus.max_bad_share of a part's utterances cannot be used.
        ResourceError: not enough disk space.
    """
    outputs = [output for _, own in parts.values() for output in own]
    systems = tuple(dict.fromkeys(output.system for output in outputs))
    extractors = open_extractors(systems, config.encoder.official_padding, config.runtime.device)
    for output in outputs:
        if isinstance(extractors[output.system], EncoderExtractor):
            extractors[output.system].check_layer(output.layer)
    planned = {
        part: [Job(config, cuts, first, last, tuple(own)) for first, last in plan_shards(cuts)]
        for part, (cuts, own) in parts.items()
    }
    jobs = [job.missing() for own in planned.values() for job in own]
    missing = [job for job in jobs if job.outputs]
    _check_disk(missing, {system: extractor.dim for system, extractor in extractors.items()}, log)
    if len(missing) < len(jobs):
        log.info("features: %d of %d shards are finished already", len(jobs) - len(missing), len(jobs))
    begun = time.monotonic()
    seconds = sum(progress(run_jobs(config, extract_shard, missing), "features", len(missing)))
    speed = seconds / max(time.monotonic() - begun, 1e-9)
    log.info("features: %d shards, %.2f h of audio, %.0f times real time", len(missing), seconds / 3600, speed)
    for part, (_, own) in parts.items():
        for output in own:
            count = _write_folder(config, part, planned[part], output, extractors[output.system].codebook_size)
            name = output.system.name if output.layer is None else f"{output.system.name}, layer {output.layer}"
            log.info("%s, %s: features of %d utterances", name, part, count)
    for output in outputs:  # only now: a part that is rejected must not cost the others their shards
        shutil.rmtree(output.folder / SHARDS)


def plan_shards(cuts: Path) -> list[tuple[int, int]]:
    """Utterances [first, last) of each shard of a manifest; raises DataError where it is missing or damaged."""
    count = count_cuts(cuts)
    return [(first, min(first + SHARD_UTTERANCES, count)) for first in range(0, count, SHARD_UTTERANCES)]


def _check_disk(jobs: list[Job], dims: dict[System, int], log: logging.Logger) -> None:
    """Logs the disk space that the features will take, estimated from each part's first shard; ResourceError for too much."""
    if not jobs:
        return
    numbers = 0.0
    for cuts, own in itertools.groupby(jobs, key=lambda job: job.cuts):
        own = list(own)
        seconds = statistics.fmean(record["duration"] for record in read_records(cuts, own[0].first, own[0].last))
        width = sum(dims[output.system] * (job.last - job.first) for job in own for output in job.outputs)
        numbers += seconds / artifacts.FRAME_SHIFT_IN_S * width
    needed = numbers * BYTES_PER_NUMBER / GIB
    folder = jobs[0].outputs[0].folder
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free / GIB
    log.info("features: about %.1f GiB to write, %.1f GiB free", needed, free)
    if needed > free:
        remedy = "free disk space, or choose another --exp-dir on a larger disk"
        found, expected = f"{free:.1f} GiB free", f"about {needed:.1f} GiB for the features"
        raise ResourceError(str(folder), found=found, expected=expected, remedy=remedy)


def extract_shard(job: Job) -> float:
    """Stores features and units of one shard, the record files last; returns the seconds of its audio."""
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
    device = resolve_device(job.config.runtime.device)
    extractors = open_extractors(systems, job.config.encoder.official_padding, job.config.runtime.device)
    shortest = max(extractor.receptive_field for extractor in extractors.values())
    read = functools.partial(_read_samples, shortest=shortest)
    batches = make_batches(cuts, job.config.units.batch_seconds)
    for batch, audio in prefetch(batches, read, READERS if device.type == "cuda" else 0):
        pairs = list(zip(batch, audio, strict=True))
        yield from ((cut, samples) for cut, samples in pairs if isinstance(samples, str))
        good = [(cut, samples) for cut, samples in pairs if not isinstance(samples, str)]
        if good:
            results = extract(extractors, layers, [samples for _, samples in good], device)
            yield from zip([cut for cut, _ in good], results, strict=True)


def make_batches(cuts: list[Cut], batch_seconds: float) -> list[list[Cut]]:
    """Cuts of similar length together, at most batch_seconds with padding (or a single longer cut)."""
    batches: list[list[Cut]] = []
    for cut in sorted(cuts, key=lambda cut: (-cut.duration, cut.id)):
        if batches and batches[-1][0].duration * (len(batches[-1]) + 1) <= batch_seconds:
            batches[-1].append(cut)
        else:
            batches.append([cut])
    return batches


def _read_samples(cut: Cut, shortest: int) -> np.ndarray | str:
    """(S,) float32 at 16 kHz, or the reason why the utterance cannot be used; details follow a colon."""
    try:
        audio = read_audio(cut)
    except UnreadableAudio as error:
        return error.reason
    if len(audio) < shortest:
        return f"too short: {len(audio)} samples, one frame needs {shortest}"
    return audio if np.isfinite(audio).all() else "samples that are not finite"


def _store(cut: Cut, result: Extracted, layer: int | None, writer: ArrayWriter) -> dict:
    array = writer.write(cut.id, to_float16(cut.id, result.features[layer]), artifacts.FRAME_SHIFT_IN_S, cut.start)
    units = {} if result.units is None else {UNITS: result.units.tolist()}
    return {ID: cut.id, ARRAY: array.to_dict(), **units}


def to_float16(name: str, values: np.ndarray) -> np.ndarray:
    """Features as they are stored; raises DataError for values that float16 cannot hold."""
    with np.errstate(over="ignore"):
        small = np.asarray(values, dtype=np.float16)
    if not np.isfinite(small).all():
        found = f"a value of {np.abs(values).max():g} in {name}"
        expected, cause = "finite values below 65,504", "a diverged model, or a layer of large values"
        remedy = "--set units.layer=N, or train again with a lower spin.learning_rate"
        raise DataError("features", found=found, expected=expected, cause=cause, remedy=remedy)
    return small


def _write_folder(config: Config, part: str, jobs: list[Job], output: Output, codebook_size: int | None) -> int:
    """Manifest, rejects and units of one folder from its shards; returns the number of usable utterances."""

    def records() -> Iterator[dict]:
        return itertools.chain.from_iterable(read_jsonl(output.records(job.first)) for job in jobs)

    rejects = Rejects(artifacts.rejects(output.folder, part), 3)
    for record in records():
        if REASON in record:
            rejects.add(record[ID], part, record[REASON])
    rejects.check_share(jobs[-1].last if jobs else 0, config.corpus.max_bad_share)
    rejects.close()
    if codebook_size is not None:
        write_lines(output.folder, ((record[ID], record[UNITS]) for record in records() if UNITS in record), codebook_size)
    return write_cuts(artifacts.cuts_in(output.folder), _usable_cuts(jobs[0].cuts, records()))


def _usable_cuts(manifest: Path, records: Iterator[dict]) -> Iterator[Cut]:
    """The cuts that have features, with them."""
    for cut, record in itertools.zip_longest(read_cuts(manifest), records):
        if cut is None or record is None or cut.id != record[ID]:
            found = f"shards of other utterances than its {'end' if cut is None else cut.id}"
            raise DataError(str(manifest), found=found, cause="a failing disk", remedy=rerun(3))
        if ARRAY in record:
            cut.custom = (cut.custom or {}) | {artifacts.HIDDEN_FIELD: TemporalArray.from_dict(record[ARRAY])}
            yield cut
