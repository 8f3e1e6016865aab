"""Stage 3: units and features of every part before and after Spin, and how good they are."""

from __future__ import annotations

import heapq
import shutil
import time

import numpy as np
from lhotse.array import TemporalArray

from spin import artifacts
from spin.runtime.devices import resolve_device
from spin.runtime.files import atomic_path, write_json
from spin.runtime.logs import board
from spin.runtime.rejects import Rejects
from spin.runtime.seeding import integer
from spin.runtime.stages import Context
from spin.units import measure, pictures
from spin.units.extraction import CLUSTERS, FEATURES, Job, assign_units, check_encoders, extract_features
from spin.units.features import BASELINE, SPIN
from spin.units.kmeans import Utterances, save_kmeans, train_kmeans
from spin.units.phones import alignment_of, by_class
from spin.units.shards import ARRAYS, ID, REASON, load_array, part_records, plan, read_cuts, units_of, write_part
from spin.units.speaker_probe import probe_speakers


def extract_units(context: Context) -> None:
    """Writes manifests, arrays and units.jsonl of both systems for every part, and the quality figures of the test parts.

    Goes on after a kill from the shards that are finished; the products are the same.

    Raises:
        DataError: a manifest is missing, or more than corpus.max_bad_share of the utterances cannot be used.
        ConfigError: a layer that the encoder does not have.
    """
    parts = all_parts(context)
    feature_jobs = {part: _jobs(context, part, FEATURES) for part in parts}
    check_encoders(context.exp, context.config)
    context.begin()
    device = resolve_device(context.config.runtime.device)
    nj = 1 if device.type == "cuda" else context.config.runtime.nj
    extract_features([job for jobs in feature_jobs.values() for job in jobs], nj, context.log)
    _write_rejects(context, feature_jobs)
    _teach_kmeans(context, feature_jobs)
    unit_jobs = {part: _jobs(context, part, CLUSTERS) for part in parts}
    assign_units([job for jobs in unit_jobs.values() for job in jobs], nj)
    for part in parts:
        _write_manifests(context, part, feature_jobs[part], unit_jobs[part])
    _measure(context)


def all_parts(context: Context) -> list[str]:
    """Every part of every role, each once."""
    corpus = context.config.corpus
    return list(dict.fromkeys((*corpus.spin_train, *corpus.asr_train, *corpus.valid, *corpus.test)))


def _jobs(context: Context, part: str, kind: str) -> list[Job]:
    config, cuts = context.config, artifacts.cuts(context.corpus, part)
    corpus = config.corpus
    read_by_asr = part in (*corpus.asr_train, *corpus.valid, *corpus.test)
    return [
        Job(
            shard=shard,
            exp=context.exp,
            cuts=cuts,
            encoder=config.encoder.source,
            layer=config.units.layer or config.encoder.layer,
            official_padding=config.encoder.official_padding,
            batch_seconds=config.units.batch_seconds,
            device=config.runtime.device,
            every_layer=config.units.store_layers and read_by_asr,
        )
        for shard in plan(cuts, part, kind)
    ]


def _write_rejects(context: Context, jobs: dict[str, list[Job]]) -> None:
    rejects, total = Rejects(artifacts.rejects(context.exp, 3), 3), 0
    for part, own in jobs.items():
        for record in part_records(context.exp, [job.shard for job in own]):
            total += 1
            if ARRAYS not in record:
                rejects.add(record[ID], part, record[REASON])
    rejects.check_share(total, context.config.corpus.max_bad_share)
    rejects.close()


def _teach_kmeans(context: Context, jobs: dict[str, list[Job]]) -> None:
    """k-means of the codebook's size on the baseline's features of at most units.kmeans_hours of spin_train; kept if there."""
    config, path = context.config, artifacts.kmeans(context.exp)
    if path.exists():
        return
    budget = config.units.kmeans_hours * 3600 / artifacts.FRAME_SHIFT_IN_S
    kept: list[tuple[int, str]] = []  # a heap with the largest hash on top: memory is that of the budget
    chosen, frames = {}, 0  # utterance -> array manifest
    for part in config.corpus.spin_train:
        for record in part_records(context.exp, [job.shard for job in jobs[part]]):
            if ARRAYS in record and record[ID] not in chosen:
                array = TemporalArray.from_dict(record[ARRAYS][BASELINE][artifacts.HIDDEN_FIELD])
                chosen[record[ID]] = array
                heapq.heappush(kept, (-integer(config.seed, "kmeans utterance", record[ID]), record[ID]))
                frames += array.num_frames
                while frames - chosen[kept[0][1]].num_frames >= budget:
                    frames -= chosen.pop(heapq.heappop(kept)[1]).num_frames
    names = sorted(chosen)
    data = Utterances(names, [chosen[name].num_frames for name in names], lambda name: load_array(name, chosen[name]))
    begun = time.monotonic()
    units = config.units
    model = train_kmeans(
        data,
        config.spin.codebook_size,
        starts=units.kmeans_starts,
        epochs=units.kmeans_epochs,
        seed=config.seed,
        memory_in_mib=units.kmeans_memory_in_mib,
    )
    save_kmeans(path, model, units.layer or config.encoder.layer)
    hours = frames * artifacts.FRAME_SHIFT_IN_S / 3600
    context.log.info("k-means on %.2f h of %s in %.1f s", hours, " ".join(config.corpus.spin_train), time.monotonic() - begun)


def _write_manifests(context: Context, part: str, feature_jobs: list[Job], unit_jobs: list[Job]) -> None:
    features, clusters = [job.shard for job in feature_jobs], [job.shard for job in unit_jobs]
    for system, passes in ((BASELINE, [features, clusters]), (SPIN, [features])):
        if not artifacts.units_cuts(context.exp, system, part).exists():
            count = write_part(context.exp, system, part, artifacts.cuts(context.corpus, part), passes)
            context.log.info("%s, %s: units and features of %d utterances", part, system, count)


def _measure(context: Context) -> None:
    """The quality of both systems on the test parts: JSON, counts, TensorBoard."""
    config, log = context.config, context.log
    clusters, first = config.spin.codebook_size, config.units.metrics_first_seconds
    pooled: dict[str, measure.PartMeasures] = {}
    by_part: dict[str, dict] = {part: {} for part in config.corpus.test}
    for system in artifacts.SYSTEMS:
        for part in config.corpus.test:
            measures = measure.measure_part(artifacts.units_cuts(context.exp, system, part), clusters, first)
            by_part[part][system] = measures.figures()
            if system in pooled:
                pooled[system].merge(measures)
            else:
                pooled[system] = measures
    without = len(pooled[BASELINE].names) - len(pooled[BASELINE].aligned)
    if without > 0:
        log.warning("%d test utterance(s) have no phone alignment and are left out of PNMI, purities and ABX", without)
    units = {system: measures.figures() for system, measures in pooled.items()}
    _measure_abx(context, units, pooled[BASELINE].aligned)
    speaker = _measure_speakers(context, pooled)
    for system, figures in units.items():  # beside the other figures of the units
        figures["speaker_accuracy"] = speaker[system].pop("accuracy_of_units")
    quality = measure.without_nan({"units": units, "speaker": speaker, "parts": by_part})
    missing = sorted({key for values in quality["units"].values() for key, value in values.items() if value is None})
    if missing:
        log.warning("not measured, for want of alignments or of utterances to compare: %s", ", ".join(missing))
    phones = by_class({phone for measures in pooled.values() for phone in measures.counts.phones})
    tables = {system: measures.counts.matrix(phones) for system, measures in pooled.items()}
    _write_counts(context, phones, tables)
    _show(context, quality, phones, tables)
    write_json(artifacts.unit_quality(context.exp), quality)


def _measure_abx(context: Context, units: dict[str, dict], aligned: dict[str, str]) -> None:
    config, begun = context.config, time.monotonic()
    paths = {
        system: [artifacts.units_cuts(context.exp, system, part) for part in config.corpus.test] for system in artifacts.SYSTEMS
    }
    made = measure.abx_design(paths[BASELINE], aligned, config.units, config.seed, context.log)
    for system in artifacts.SYSTEMS:
        for name, prefix in ((artifacts.HIDDEN_FIELD, "abx"), (artifacts.UNITS_FIELD, "abx_units")):
            result = measure.measure_abx(made, paths[system], name, config.runtime.nj)
            units[system] |= {f"{prefix}_within": result.within, f"{prefix}_across": result.across}
    context.log.info("ABX of %d systems in %.1f s", len(artifacts.SYSTEMS), time.monotonic() - begun)


def _measure_speakers(context: Context, pooled: dict[str, measure.PartMeasures]) -> dict:
    speaker: dict = {}
    for system, measures in pooled.items():
        found = []
        for rows in (measures.means, measures.histograms):
            features = np.stack(rows) if rows else np.zeros((0, 1))
            found.append(probe_speakers(features, measures.names, measures.speakers, context.config.seed))
        result = found[0]
        speaker[system] = {"accuracy": result.accuracy, "accuracy_of_units": found[1].accuracy}
        speaker["chance"] = result.chance
    counts = (result.speakers, result.train_utterances, result.test_utterances)
    context.log.info("speaker probe: %d speakers, %d utterances to train and %d to test", *counts)
    return speaker


def _write_counts(context: Context, phones: list[str], tables: dict[str, np.ndarray]) -> None:
    with atomic_path(artifacts.unit_phone_counts(context.exp)) as temporary, open(temporary, "wb") as stream:
        arrays = {f"counts_{system}": table for system, table in tables.items()}
        np.savez_compressed(stream, phones=np.array(phones, dtype=np.str_), **arrays)


def _show(context: Context, quality: dict, phones: list[str], tables: dict[str, np.ndarray]) -> None:
    """TensorBoard: figures, units-by-phones pictures, a few utterances. A run that was cut off leaves nothing double."""
    shutil.rmtree(context.tensorboard, ignore_errors=True)
    with board(context.tensorboard) as writer:
        for system, figures in quality["units"].items():
            for name, value in figures.items():
                if value is not None:
                    writer.add_scalar(f"{name}/{system}", value, 0)
            accuracy = quality["speaker"][system]["accuracy"]
            if accuracy is not None:
                writer.add_scalar(f"speaker_accuracy_of_features/{system}", accuracy, 0)
            if phones:
                title = f"{system}: PNMI {quality['units'][system]['pnmi']:.3f}"
                writer.add_figure(f"units_by_phones/{system}", pictures.units_by_phones(phones, tables[system], title), 0)
        for name, figure in _utterances(context):
            writer.add_figure(f"utterance/{name}", figure, 0)


def _utterances(context: Context):
    part, count = context.config.corpus.test[0], context.config.units.pictures
    streams = [read_cuts(artifacts.units_cuts(context.exp, system, part), 0, count) for system in artifacts.SYSTEMS]
    for cuts in zip(*streams, strict=True):
        units = {system: units_of(cut) for system, cut in zip(artifacts.SYSTEMS, cuts, strict=True)}
        title = f"{cuts[0].id}: {cuts[0].supervisions[0].text}" if cuts[0].supervisions else cuts[0].id
        yield cuts[0].id, pictures.utterance_picture(cuts[0].load_audio()[0], alignment_of(cuts[0]) or (), units, title)
