"""Features of both systems and Spin's units for every part, in shards over processes; then k-means units.

On the CPU a process has one thread (sums over threads round differently) and --nj processes share the shards; on a GPU one
process works through them in batches of like length while threads read ahead.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lhotse import MonoCut
from lhotse.array import TemporalArray
from lhotse.audio.utils import AudioLoadingError, DurationMismatchError

from spin import artifacts
from spin.config import Config
from spin.models.importers import load_encoder
from spin.models.spin_model import load_model
from spin.runtime.ahead import read_ahead
from spin.runtime.devices import prepare_cpu, resolve_device
from spin.runtime.files import write_jsonl
from spin.runtime.workers import map_parts
from spin.units.features import BASELINE, TwinEncoders
from spin.units.kmeans import load_kmeans, other_kmeans
from spin.units.shards import ARRAYS, ID, REASON, ArrayStore, Shard, load_array, part_records, read_cuts

READERS = 4  # threads that read audio ahead of a GPU
REPORT_EVERY_S = 20.0
SHARDS_WORTH_PROCESSES = 40
FEATURES, CLUSTERS = "features", "kmeans"  # the two passes over a part


@dataclass(frozen=True)
class Job:
    """What a process needs to know to work on a shard."""

    shard: Shard
    exp: Path
    cuts: Path
    encoder: str
    layer: int
    official_padding: bool
    batch_seconds: float
    device: str
    every_layer: bool = False  # for ASR, beside the one


@dataclass(frozen=True)
class Done:
    """What became of a shard."""

    utterances: int
    seconds: float  # of audio


@functools.lru_cache(maxsize=1)
def _encoders(encoder: str, model: str, layer: int, official_padding: bool, device: str) -> TwinEncoders:
    # Kept for the next shard of this process.
    return TwinEncoders(load_encoder(encoder), load_model(model), layer, official_padding).to(resolve_device(device))


def check_encoders(exp: Path, config: Config) -> None:
    """Reads both encoders once, before anything is made from them.

    Raises:
        CheckpointError: one of them cannot be read.
        ConfigError: units.layer is none of theirs.
    """
    layer = config.units.layer or config.encoder.layer
    TwinEncoders(load_encoder(config.encoder.source), load_model(artifacts.spin_model(exp)), layer)


def extract_shard(job: Job) -> Done:
    """Hidden features of both systems and Spin's units of one shard; its record file comes last."""
    prepare_cpu(1)
    model = str(artifacts.spin_model(job.exp))
    twins = _encoders(job.encoder, model, job.layer, job.official_padding, job.device)
    stores = {system: ArrayStore(job.exp, system, job.shard.part) for system in artifacts.SYSTEMS}
    cuts = list(read_cuts(job.cuts, job.shard.first, job.shard.last))
    shortest = max(twins.baseline.shape.receptive_field, twins.model.encoder.shape.receptive_field)
    records, seconds = {}, 0.0
    for cut_batch, waveforms in _ahead(make_batches(cuts, job.batch_seconds), shortest, twins.device):
        good = [(cut, wave) for cut, wave in zip(cut_batch, waveforms, strict=True) if not isinstance(wave, str)]
        records |= {
            cut.id: {ID: cut.id, REASON: wave} for cut, wave in zip(cut_batch, waveforms, strict=True) if isinstance(wave, str)
        }
        if not good:
            continue
        for (cut, wave), found in zip(good, twins([wave for _, wave in good], job.every_layer), strict=True):
            arrays = {
                system: {artifacts.HIDDEN_FIELD: stores[system].hidden(cut, hidden.numpy())}
                for system, hidden in found.hidden.items()
            }
            for system, layers in found.layers.items():
                name = artifacts.LAYERS_FIELD
                arrays[system][name] = stores[system].hidden(cut, layers.numpy(), name)
            arrays["spin"][artifacts.UNITS_FIELD] = stores["spin"].units(cut, found.spin_units.numpy())
            records[cut.id] = {ID: cut.id, ARRAYS: arrays}
            seconds += len(wave) / artifacts.SAMPLE_RATE
    write_jsonl(job.shard.records(job.exp), (records[cut.id] for cut in cuts))
    return Done(len(cuts), seconds)


def make_batches(cuts: list[MonoCut], batch_seconds: float) -> list[list[MonoCut]]:
    """Cuts of like length together, at most batch_seconds with padding (or a single longer cut)."""
    batches: list[list[MonoCut]] = []
    for cut in sorted(cuts, key=lambda cut: (-cut.duration, cut.id)):
        if batches and batches[-1][0].duration * (len(batches[-1]) + 1) <= batch_seconds:
            batches[-1].append(cut)
        else:
            batches.append([cut])
    return batches


def read_waveform(cut: MonoCut, shortest: int) -> torch.Tensor | str:
    """(S,) float32 at 16 kHz, or why the utterance cannot be used; what follows a colon is detail."""
    if cut.sampling_rate != artifacts.SAMPLE_RATE:
        return f"wrong sampling rate: {cut.sampling_rate} Hz, not {artifacts.SAMPLE_RATE}"
    try:
        audio = np.asarray(cut.load_audio(), dtype=np.float32)
    except (OSError, RuntimeError, ValueError, AudioLoadingError, DurationMismatchError) as error:
        return f"unreadable audio: {' '.join(str(error).split())[:200]}"
    if audio.shape[0] != 1:
        return f"not one channel: {audio.shape[0]}"
    if audio.shape[1] < shortest:
        return f"too short: {audio.shape[1]} samples, one frame needs {shortest}"
    if not np.isfinite(audio).all():
        return "samples that are not finite"
    return torch.from_numpy(audio[0])


def _ahead(batches: list[list[MonoCut]], shortest: int, device: torch.device) -> Iterator[tuple[list, list]]:
    """(cuts, waveforms or reasons) of each batch; for a GPU the next batch is read meanwhile."""
    return read_ahead(batches, functools.partial(read_waveform, shortest=shortest), 0 if device.type == "cpu" else READERS)


def extract_features(jobs: list[Job], nj: int, log: logging.Logger) -> None:
    """Works through the shards that are not finished; logs progress and speed."""
    left = [job for job in jobs if not job.shard.records(job.exp).exists()]
    if len(left) < len(jobs):
        log.info("%d of %d shards are finished already", len(jobs) - len(left), len(jobs))
    begun = reported = time.monotonic()
    utterances, seconds = 0, 0.0
    for number, done in enumerate(map_parts(extract_shard, left, nj), start=1):
        utterances, seconds, now = utterances + done.utterances, seconds + done.seconds, time.monotonic()
        if now - reported > REPORT_EVERY_S or number == len(left):
            reported = now
            text = "features: %d of %d shards, %d utterances, %.2f h of audio, %.0f times real time"
            log.info(text, number, len(left), utterances, seconds / 3600, seconds / max(now - begun, 1e-9))


def assign_shard(job: Job) -> Done:
    """k-means units of one shard from the stored features of the baseline, in float32."""
    prepare_cpu(1)
    centres, device = load_kmeans(artifacts.kmeans(job.exp)), resolve_device(job.device)
    store, records = ArrayStore(job.exp, BASELINE, job.shard.part), []
    features = part_records(job.exp, [dataclasses.replace(job.shard, kind=FEATURES)])
    for cut, record in zip(read_cuts(job.cuts, job.shard.first, job.shard.last), features, strict=True):
        made = {ID: cut.id}
        if ARRAYS in record:
            hidden = load_array(cut.id, TemporalArray.from_dict(record[ARRAYS][BASELINE][artifacts.HIDDEN_FIELD]))
            if hidden.shape[1:] != centres.centres.shape[1:]:
                raise other_kmeans(artifacts.kmeans(job.exp), centres, hidden.shape[1])
            made[ARRAYS] = {BASELINE: {artifacts.UNITS_FIELD: store.units(cut, centres.assign(hidden, device))}}
        records.append(made)
    write_jsonl(job.shard.records(job.exp), records)
    return Done(len(records), 0.0)


def assign_units(jobs: list[Job], nj: int) -> None:
    """Works through the k-means shards that are not finished."""
    left = [job for job in jobs if not job.shard.records(job.exp).exists()]
    # Starting processes takes seconds; a small corpus is done before they are up.
    for _ in map_parts(assign_shard, left, nj if len(left) > SHARDS_WORTH_PROCESSES else 1):
        pass
