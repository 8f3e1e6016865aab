"""Features of whole parts: runs the extractor over all shards that are missing, then writes the manifests."""

from __future__ import annotations

import itertools
import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lhotse.array import TemporalArray
from lhotse.cut import Cut

from spin import artifacts
from spin.config import Config
from spin.data.cuts import read_cuts, write_cuts
from spin.errors import DataError
from spin.runtime.files import read_jsonl, write_json, write_jsonl
from spin.runtime.rejects import Rejects
from spin.systems import System
from spin.units.extraction import ARRAY, ID, REASON, SHARDS, UNITS, Job, extract_shard, open_extractor, plan_jobs, run_jobs


@dataclass(frozen=True)
class Target:
    """One part by one system.

    Attributes:
        system: the system to run.
        part: name of the part.
        cuts: its manifest.
        folders: layer (None: the system's own) -> folder to fill; may hold the work of an interrupted run.
    """

    system: System
    part: str
    cuts: Path
    folders: dict[int | None, Path]


def extract_features(config: Config, targets: list[Target], log: logging.Logger) -> None:
    """Fills the folders of all targets: packed arrays, cuts with HIDDEN_FIELD, rejects, and the units of systems with a codebook.

    Raises:
        CheckpointError: a system's source cannot be read.
        ConfigError: a layer that an encoder does not have.
        DataError: a damaged manifest, or more than corpus.max_bad_share of a part's utterances cannot be used.
    """
    sizes = {system: _check(config, system, targets) for system in dict.fromkeys(target.system for target in targets)}
    planned = [(target, plan_jobs(config, target.system, target.cuts, target.folders)) for target in targets]
    jobs = [job for _, own in planned for job in own]
    missing = [job for job in jobs if not job.is_finished()]
    if len(missing) < len(jobs):
        log.info("features: %d of %d shards are finished already", len(jobs) - len(missing), len(jobs))
    begun = time.monotonic()
    seconds = sum(run_jobs(missing, config, extract_shard, "features"))
    speed = seconds / max(time.monotonic() - begun, 1e-9)
    log.info("features: %d shards, %.2f h of audio, %.0f times real time", len(missing), seconds / 3600, speed)
    for target, own in planned:
        for layer, folder in target.folders.items():
            count = _write_folder(config, target, own, folder, sizes[target.system])
            name = target.system.name if layer is None else f"{target.system.name}, layer {layer}"
            log.info("%s, %s: features of %d utterances", name, target.part, count)


def _check(config: Config, system: System, targets: list[Target]) -> int | None:
    """Opens a system once, before any work, and returns the size of its codebook if it has one."""
    extractor = open_extractor(system, config.encoder.official_padding, config.runtime.device)
    extractor.check_layers(layer for target in targets if target.system == system for layer in target.folders)
    return extractor.codebook_size


def _write_folder(config: Config, target: Target, jobs: list[Job], folder: Path, codebook_size: int | None) -> int:
    """Manifest, rejects and units of one folder from its shards; returns the number of usable utterances."""
    rejects = Rejects(artifacts.rejects(folder, target.part), 3)
    total = jobs[-1].last if jobs else 0
    for record in _read_records(jobs, folder):
        if REASON in record:
            rejects.add(record[ID], target.part, record[REASON])
    rejects.check_share(total, config.corpus.max_bad_share)
    rejects.close()
    if codebook_size is not None:
        usable = (record for record in _read_records(jobs, folder) if UNITS in record)
        lines = ({artifacts.UNITS_ID: record[ID], artifacts.UNITS_SEQUENCE: record[UNITS]} for record in usable)
        write_jsonl(artifacts.units_lines(folder), lines)
        write_json(artifacts.codebook_in(folder), {"codebook_size": codebook_size})
    count = write_cuts(artifacts.cuts_in(folder), _usable_cuts(target.cuts, _read_records(jobs, folder)))
    shutil.rmtree(folder / SHARDS, ignore_errors=True)
    return count


def _read_records(jobs: list[Job], folder: Path) -> Iterator[dict]:
    return itertools.chain.from_iterable(read_jsonl(job.records(folder)) for job in jobs)


def _usable_cuts(manifest: Path, records: Iterator[dict]) -> Iterator[Cut]:
    """The cuts that have features, with them."""
    for cut, record in itertools.zip_longest(read_cuts(manifest), records):
        if cut is None or record is None or cut.id != record[ID]:
            found = f"shards of other utterances than its {'end' if cut is None else cut.id}"
            raise DataError(str(manifest), found=found, cause="a failing disk", remedy="rerun stage 3 with --force")
        if ARRAY in record:
            cut.custom = (cut.custom or {}) | {artifacts.HIDDEN_FIELD: TemporalArray.from_dict(record[ARRAY])}
            yield cut
