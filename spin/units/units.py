"""Units of whole parts: from k-means, or from the codebook that the extractor ran."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lhotse.cut import Cut

from spin import artifacts
from spin.config import Config
from spin.data.cuts import count_cuts, read_cuts, write_cuts
from spin.data.store import ArrayWriter, load_array
from spin.errors import DataError
from spin.runtime.devices import prepare_cpu, resolve_device
from spin.runtime.files import read_jsonl, write_json, write_jsonl
from spin.units.extraction import SHARD_UTTERANCES, run_jobs
from spin.units.kmeans import load_kmeans

SHARDS_WORTH_PROCESSES = 40  # starting processes takes seconds; a small part is done before they are up


@dataclass(frozen=True)
class AssignJob:
    """Utterances [first, last) of a manifest with HIDDEN_FIELD, for any process."""

    manifest: Path
    first: int
    last: int
    kmeans: Path
    device: str


def assign_units(config: Config, manifest: Path, kmeans: Path) -> Iterator[tuple[str, np.ndarray]]:
    """(utterance id, (T,) int32 units) of each utterance of a manifest with HIDDEN_FIELD."""
    count = count_cuts(manifest)
    starts = range(0, count, SHARD_UTTERANCES)
    device = config.runtime.device
    jobs = [AssignJob(manifest, first, min(first + SHARD_UTTERANCES, count), kmeans, device) for first in starts]
    if len(jobs) <= SHARDS_WORTH_PROCESSES:
        results: Iterable = map(assign_shard, jobs)
    else:
        results = run_jobs(jobs, config, assign_shard, "units")
    for shard in results:
        yield from shard


def assign_shard(job: AssignJob) -> list[tuple[str, np.ndarray]]:
    """Units of one shard from the stored features, in float32."""
    prepare_cpu(1)
    model, device = load_kmeans(job.kmeans), resolve_device(job.device)
    cuts = read_cuts(job.manifest, job.first, job.last)
    return [(cut.id, model.assign(load_array(cut, artifacts.HIDDEN_FIELD), device)) for cut in cuts]


def write_units(folder: Path, manifest: Path, units: Iterable[tuple[str, np.ndarray]], codebook_size: int) -> int:
    """Writes units.jsonl, codebook.json and cuts with UNITS_FIELD; returns the number of utterances.

    Args:
        folder: folder to fill.
        manifest: cuts of the same utterances in the same order.
        units: (utterance id, (T,) units) of each.
        codebook_size: K.

    Raises:
        DataError: other utterances than in the manifest.
    """
    lines = ({artifacts.UNITS_ID: name, artifacts.UNITS_SEQUENCE: np.asarray(own).tolist()} for name, own in units)
    write_jsonl(artifacts.units_lines(folder), lines)
    write_json(artifacts.codebook_in(folder), {"codebook_size": codebook_size})
    with ArrayWriter(folder, "units") as writer:
        return write_cuts(artifacts.cuts_in(folder), _cuts_with_units(manifest, folder, writer))


def _cuts_with_units(manifest: Path, folder: Path, writer: ArrayWriter) -> Iterator[Cut]:
    for cut, (name, units) in zip(read_cuts(manifest), read_units(folder), strict=True):
        if cut.id != name:
            found, expected = f"units of {name}", f"those of {cut.id}, as in {manifest}"
            raise DataError(str(folder), found=found, expected=expected, remedy="rerun stage 3 with --force")
        array = writer.write(name, units, artifacts.FRAME_SHIFT_IN_S, cut.start)
        kept = {key: value for key, value in (cut.custom or {}).items() if key != artifacts.HIDDEN_FIELD}
        cut.custom = kept | {artifacts.UNITS_FIELD: array}
        yield cut


def read_units(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """(utterance id, (T,) int32 units) of each line of units.jsonl in a folder."""
    for line in read_jsonl(artifacts.units_lines(folder)):
        yield line[artifacts.UNITS_ID], np.asarray(line[artifacts.UNITS_SEQUENCE], dtype=np.int32)
