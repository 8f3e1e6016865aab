"""Features of whole parts, in shards over processes or GPUs.

A shard is a run of neighbouring utterances that one process works on. It is finished or not there: its record file, written
last, names the arrays of each utterance or why there are none. So an interrupted stage resumes with the missing shards, and the
result does not depend on the number of processes. On the CPU a process has one thread, because sums over threads round
differently.
"""

import functools
import itertools
import logging
import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from lhotse.array import TemporalArray
from lhotse.cut import Cut

from spin import artifacts
from spin.config import Config
from spin.data.audio import UnreadableAudio, read_audio
from spin.data.cuts import count_cuts, pair_cuts, read_cuts, read_records, write_cuts
from spin.data.store import ArrayWriter
from spin.errors import DataError, ResourceError
from spin.runtime.devices import prepare_cpu, resolve_device
from spin.runtime.files import read_jsonl, write_jsonl
from spin.runtime.logs import progress
from spin.runtime.rejects import Rejects
from spin.runtime.workers import prefetch, run_jobs
from spin.systems import System
from spin.units.extractors import Extracted, extract, open_extractors
from spin.units.units import write_lines

SHARD_UTTERANCES = 128
READERS = 4  # threads that read audio ahead of a GPU
SHARDS = "shards"  # folder of record files in a folder that is being filled
ID, ARRAY, UNITS, REASON = "id", "array", "units", "reason"  # keys of a record
BYTES_PER_NUMBER, GIB = 2, 2**30


class Job(NamedTuple):
    """One shard, for any process: utterances [first, last) of the manifest `cuts`, for the folder of each system."""

    config: Config
    cuts: Path
    first: int
    last: int
    folders: dict[System, Path]


def extract_features(config: Config, parts: dict[str, tuple[Path, dict[System, Path]]], log: logging.Logger) -> None:
    """Fills folders: packed arrays, cuts with HIDDEN_FIELD, rejects, and the units of systems with a codebook.

    `parts`: name -> manifest, and the folder of each system, which may hold the work of an interrupted run. Raises DataError
    where more than corpus.max_bad_share of a part's utterances cannot be used, ResourceError for too small a disk, and as
    open_extractors.
    """
    systems = tuple(dict.fromkeys(system for _, folders in parts.values() for system in folders))
    extractors = open_extractors(systems, config.encoder.official_padding, config.runtime.device)
    shards = {part: plan_shards(cuts) for part, (cuts, _) in parts.items()}
    jobs = []
    for part, (cuts, folders) in parts.items():
        for first, last in shards[part]:
            missing = {system: folder for system, folder in folders.items() if not _records(folder, first).exists()}
            jobs += [Job(config, cuts, first, last, missing)] if missing else []
    _check_disk(jobs, {system: extractor.dim for system, extractor in extractors.items()}, log)
    for _ in progress(run_jobs(config, extract_shard, jobs), "features", len(jobs)):
        pass
    for part, (cuts, folders) in parts.items():
        for system, folder in folders.items():
            count = _write_folder(config, part, cuts, shards[part], folder, extractors[system].codebook_size)
            log.info("%s, %s: features of %d utterances", system.name, part, count)
    for _, folders in parts.values():  # only now: a part that is rejected must not cost the others their shards
        for folder in folders.values():
            shutil.rmtree(folder / SHARDS)


def _records(folder: Path, first: int) -> Path:
    """The record file of the shard that begins with utterance `first`."""
    return folder / SHARDS / f"{first:08d}.jsonl"


def plan_shards(cuts: Path) -> list[tuple[int, int]]:
    """Utterances [first, last) of each shard of a manifest; raises DataError where it is missing or damaged."""
    count = count_cuts(cuts)
    return [(first, min(first + SHARD_UTTERANCES, count)) for first in range(0, count, SHARD_UTTERANCES)]


def _check_disk(jobs: list[Job], dims: dict[System, int], log: logging.Logger) -> None:
    """Logs the disk space that features take, by the mean duration in each part's first shard; ResourceError for too much."""
    needed, free = 0.0, float("inf")
    for cuts, own in itertools.groupby(jobs, key=lambda job: job.cuts):
        own = list(own)
        seconds = statistics.fmean(record["duration"] for record in read_records(cuts, own[0].first, own[0].last))
        numbers = sum(dims[system] * (job.last - job.first) for job in own for system in job.folders)
        needed += seconds / artifacts.FRAME_SHIFT_IN_S * numbers * BYTES_PER_NUMBER / GIB
        folder = next(iter(own[0].folders.values()))
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free / GIB
    log.info("features: %d shards to extract, about %.1f GiB to write, %.1f GiB free", len(jobs), needed, free)
    if needed > free:
        remedy = "free disk space, or choose another --exp-dir on a larger disk"
        found, expected = f"{free:.1f} GiB free", f"about {needed:.1f} GiB for the features"
        raise ResourceError(str(folder), found=found, expected=expected, remedy=remedy)


def extract_shard(job: Job) -> None:
    """Stores features and units of one shard, the record files last."""
    prepare_cpu(1)
    cuts = list(read_cuts(job.cuts, job.first, job.last))
    writers = {system: ArrayWriter(folder, f"features-{job.first:08d}") for system, folder in job.folders.items()}
    records: dict[System, dict[str, dict]] = {system: {} for system in writers}
    for cut, result in _extract_cuts(job, cuts):
        for system, writer in writers.items():
            record = {REASON: result} if isinstance(result, str) else _store(cut, *result[system], writer)
            records[system][cut.id] = {ID: cut.id, **record}
    for system, writer in writers.items():
        writer.close()
        write_jsonl(_records(job.folders[system], job.first), (records[system][cut.id] for cut in cuts))


def _extract_cuts(job: Job, cuts: list[Cut]) -> Iterator[tuple[Cut, dict[System, Extracted] | str]]:
    """Each cut with its features and units by all systems, or with the reason why it cannot be used."""
    device = resolve_device(job.config.runtime.device)
    extractors = open_extractors(tuple(job.folders), job.config.encoder.official_padding, job.config.runtime.device)
    shortest = max(extractor.receptive_field for extractor in extractors.values())
    read = functools.partial(read_samples, shortest=shortest)
    batches = make_batches(cuts, job.config.units.batch_seconds)
    for batch, audio in prefetch(batches, read, READERS if device.type == "cuda" else 0):
        pairs = list(zip(batch, audio, strict=True))
        yield from ((cut, samples) for cut, samples in pairs if isinstance(samples, str))
        good = [(cut, samples) for cut, samples in pairs if not isinstance(samples, str)]
        if good:
            results = extract(extractors, [samples for _, samples in good], device)
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


def read_samples(cut: Cut, shortest: int) -> np.ndarray | str:
    """(S,) float32 at 16 kHz, or the reason why audio cannot be used; details follow a colon."""
    try:
        audio = read_audio(cut)
    except UnreadableAudio as error:
        return str(error)
    if len(audio) < shortest:
        return f"too short: {len(audio)} samples, one frame needs {shortest}"
    return audio if np.isfinite(audio).all() else "samples that are not finite"


def _store(cut: Cut, features: np.ndarray, units: np.ndarray | None, writer: ArrayWriter) -> dict:
    array = writer.write(cut.id, to_float16(cut.id, features), artifacts.FRAME_SHIFT_IN_S, cut.start)
    return {ARRAY: array.to_dict(), **({} if units is None else {UNITS: units.tolist()})}


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


def _write_folder(
    config: Config, part: str, cuts: Path, shards: list[tuple[int, int]], folder: Path, codebook_size: int | None
) -> int:
    """Manifest, rejects and units of one folder from its shards; returns the number of usable utterances."""

    def records() -> Iterator[dict]:
        return itertools.chain.from_iterable(read_jsonl(_records(folder, first)) for first, _ in shards)

    rejects = Rejects(artifacts.rejects(folder, part), 3)
    for record in records():
        if REASON in record:
            rejects.add(record[ID], part, record[REASON])
    rejects.check_share(shards[-1][1] if shards else 0, config.corpus.max_bad_share)
    rejects.close()
    if codebook_size is not None:
        write_lines(folder, ((record[ID], record[UNITS]) for record in records() if UNITS in record), codebook_size)
    return write_cuts(artifacts.cuts_in(folder), _usable_cuts(cuts, records()))


def _usable_cuts(manifest: Path, records: Iterator[dict]) -> Iterator[Cut]:
    """The cuts that have features, with them."""
    for cut, record in pair_cuts(manifest, ((record[ID], record) for record in records)):
        if ARRAY in record:
            cut.custom = (cut.custom or {}) | {artifacts.HIDDEN_FIELD: TemporalArray.from_dict(record[ARRAY])}
            yield cut
