"""Features of whole parts: runs the extractors over all shards that are missing, then writes the manifests."""

from __future__ import annotations

import itertools
import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from lhotse.array import TemporalArray
from lhotse.cut import Cut

from spin import artifacts
from spin.config import Config
from spin.data.cuts import read_cuts, read_records, write_cuts
from spin.errors import DataError, ResourceError
from spin.runtime.files import read_jsonl, write_json, write_jsonl
from spin.runtime.rejects import Rejects
from spin.systems import System
from spin.units.extraction import ARRAY, ID, REASON, SHARDS, UNITS, Job, Output, extract_shard, plan_jobs, run_jobs
from spin.units.extractors import Extractor, open_extractors

BYTES_PER_NUMBER, GIB = 2, 2**30


def extract_features(config: Config, parts: dict[str, tuple[Path, list[Output]]], log: logging.Logger) -> None:
    """Fills the folders of all outputs: packed arrays, cuts with HIDDEN_FIELD, rejects, and the units of systems with a codebook.

    Args:
        config: units, runtime, and corpus.max_bad_share.
        parts: name -> (manifest, outputs); folders may hold the work of an interrupted run.
        log: gets the speed and the counts.

    Raises:
        CheckpointError: a system's source cannot be read.
        ConfigError: a layer that an encoder does not have.
        DataError: a damaged manifest, or more than corpus.max_bad_share of a part's utterances cannot be used.
        ResourceError: not enough disk space.
    """
    extractors = _open_systems(config, [output for _, outputs in parts.values() for output in outputs])
    planned = {part: plan_jobs(config, cuts, tuple(outputs)) for part, (cuts, outputs) in parts.items()}
    jobs = [job.missing() for own in planned.values() for job in own]
    missing = [job for job in jobs if job.outputs]
    _check_disk(missing, {system: extractor.dim for system, extractor in extractors.items()}, log)
    if len(missing) < len(jobs):
        log.info("features: %d of %d shards are finished already", len(jobs) - len(missing), len(jobs))
    begun = time.monotonic()
    seconds = sum(run_jobs(missing, config, extract_shard, "features"))
    speed = seconds / max(time.monotonic() - begun, 1e-9)
    log.info("features: %d shards, %.2f h of audio, %.0f times real time", len(missing), seconds / 3600, speed)
    for part, (_, outputs) in parts.items():
        for output in outputs:
            count = _write_folder(config, part, planned[part], output, extractors[output.system].codebook_size)
            name = output.system.name if output.layer is None else f"{output.system.name}, layer {output.layer}"
            log.info("%s, %s: features of %d utterances", name, part, count)
    for _, outputs in parts.values():  # only now: a part that is rejected must not cost the others their shards
        for output in outputs:
            shutil.rmtree(output.folder / SHARDS)


def _open_systems(config: Config, outputs: list[Output]) -> dict[System, Extractor]:
    """Opens all systems once, before any work."""
    systems = tuple(dict.fromkeys(output.system for output in outputs))
    extractors = open_extractors(systems, config.encoder.official_padding, config.runtime.device)
    for output in outputs:
        extractors[output.system].check_layers([output.layer])
    return extractors


def _check_disk(jobs: list[Job], dims: dict[System, int], log: logging.Logger) -> None:
    """Logs the disk space that the features will take, estimated from the first shard of each part.

    Raises:
        ResourceError: more than there is.
    """
    if not jobs:
        return
    frames: dict[Path, float] = {}
    needed = 0.0
    for job in jobs:
        if job.cuts not in frames:
            seconds = [record["duration"] for record in read_records(job.cuts, job.first, job.last)]
            frames[job.cuts] = sum(seconds) / len(seconds) / artifacts.FRAME_SHIFT_IN_S
        width = sum(dims[output.system] for output in job.outputs)
        needed += (job.last - job.first) * frames[job.cuts] * width * BYTES_PER_NUMBER / GIB
    folder = jobs[0].outputs[0].folder
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free / GIB
    log.info("features: about %.1f GiB to write, %.1f GiB free", needed, free)
    if needed > free:
        remedy = "free disk space, or choose another --exp-dir on a larger disk"
        found, expected = f"{free:.1f} GiB free", f"about {needed:.1f} GiB for the features"
        raise ResourceError(str(folder), found=found, expected=expected, remedy=remedy)


def _write_folder(config: Config, part: str, jobs: list[Job], output: Output, codebook_size: int | None) -> int:
    """Manifest, rejects and units of one folder from its shards; returns the number of usable utterances."""
    folder, total = output.folder, jobs[-1].last if jobs else 0
    rejects = Rejects(artifacts.rejects(folder, part), 3)
    for record in _read_records(jobs, output):
        if REASON in record:
            rejects.add(record[ID], part, record[REASON])
    rejects.check_share(total, config.corpus.max_bad_share)
    rejects.close()
    if codebook_size is not None:
        usable = (record for record in _read_records(jobs, output) if UNITS in record)
        lines = ({artifacts.UNITS_ID: record[ID], artifacts.UNITS_SEQUENCE: record[UNITS]} for record in usable)
        write_jsonl(artifacts.units_lines(folder), lines)
        write_json(artifacts.codebook_in(folder), {"codebook_size": codebook_size})
    manifest = jobs[0].cuts if jobs else Path()
    return write_cuts(artifacts.cuts_in(folder), _usable_cuts(manifest, _read_records(jobs, output)))


def _read_records(jobs: list[Job], output: Output) -> Iterator[dict]:
    return itertools.chain.from_iterable(read_jsonl(output.records(job.first)) for job in jobs)


def _usable_cuts(manifest: Path, records: Iterator[dict]) -> Iterator[Cut]:
    """The cuts that have features, with them."""
    for cut, record in itertools.zip_longest(read_cuts(manifest), records):
        if cut is None or record is None or cut.id != record[ID]:
            found = f"shards of other utterances than its {'end' if cut is None else cut.id}"
            raise DataError(str(manifest), found=found, cause="a failing disk", remedy="rerun stage 3 with --force")
        if ARRAY in record:
            cut.custom = (cut.custom or {}) | {artifacts.HIDDEN_FIELD: TemporalArray.from_dict(record[ARRAY])}
            yield cut
