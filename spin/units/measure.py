"""Measures a system's units: the computers of METRICS share one pass over its utterances; ABX reads its choice of them again."""

import dataclasses
import math
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from spin import artifacts, products
from spin.data.cuts import pair_cuts
from spin.data.store import load_array
from spin.runtime.files import read_json, write_json
from spin.runtime.product import Context
from spin.systems import System
from spin.units.metrics import METRICS, Metric, find_metric
from spin.units.units import alignment_of, read_units


@dataclass(frozen=True)
class Utterance:
    """One utterance of one system."""

    id: str
    speaker: str | None  # None where unknown
    units: np.ndarray  # (T,) integers, 50 per second, that are scored: the first seconds where only these are asked for
    seconds: float  # duration of the audio behind `units`
    alignment: Sequence = ()  # phone items in seconds; empty without an alignment
    words: Sequence = ()  # word items in seconds; empty without a word alignment
    untruncated_units: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))  # (T',) of the whole utterance
    load_features: Callable[[], np.ndarray] | None = None  # reads (T', D) features of the whole utterance


@dataclass(frozen=True)
class EvaluationSet:
    """Utterances of one system, and the settings of all metrics."""

    codebook_size: int
    seed: int = 0  # of samples and splits
    threads: int = 1  # for ABX; no result depends on it
    abx_max_utterances: int = 1000
    read: Callable[[], Iterator[Utterance]] = lambda: iter(())  # starts a pass over the utterances
    clean_units: Callable[[], dict[str, np.ndarray]] | None = None  # id -> (T,) units without noise; None for clean parts


class MetricComputer(Protocol):
    """Computes related metrics: made with an EvaluationSet, given each utterance once, asked for its metrics once."""

    def add(self, utterance: Utterance) -> None: ...

    def compute(self) -> dict[str, float]: ...


def measure(
    sample: EvaluationSet, metrics: Iterable[Metric] = METRICS
) -> tuple[dict[str, float | None], dict[str, MetricComputer]]:
    """Metrics by name (None where there is nothing to measure), and their computers by the names in METRICS."""
    metrics = tuple(metrics)
    computers = {path: pkgutil.resolve_name(path)(sample) for path in dict.fromkeys(metric.computer for metric in metrics)}
    for utterance in sample.read():
        for computer in computers.values():
            computer.add(utterance)
    values: dict[str, float] = {}
    for computer in computers.values():
        values |= computer.compute()
    finite = {name: value for name, value in values.items() if math.isfinite(value)}  # JSON has no NaN
    return {metric.name: finite.get(metric.name) for metric in metrics}, computers


def read_utterances(folders: Iterable[tuple[Path, Path]], first_seconds: float = 0.0) -> Iterator[Utterance]:
    """Utterances from the (features, units) products of some parts; DataError where these name different ones.

    `first_seconds`: what counts of an utterance, except in ABX and the probe of features (10: official validation); 0: all.
    """
    limit = round(first_seconds / artifacts.FRAME_SHIFT_IN_S) if first_seconds > 0 else None
    for features, units in folders:
        for cut, sequence in pair_cuts(artifacts.cuts_in(features), read_units(artifacts.units_lines(units))):
            yield Utterance(
                id=cut.id,
                speaker=cut.supervisions[0].speaker if cut.supervisions else None,
                units=sequence[:limit],
                seconds=min(cut.duration, first_seconds) if first_seconds > 0 else cut.duration,
                alignment=alignment_of(cut) or (),
                words=alignment_of(cut, artifacts.WORD_TIER) or (),
                untruncated_units=sequence,
                load_features=partial(load_array, cut, artifacts.HIDDEN_FIELD),
            )


def write_metrics(context: Context, system: System, folder: Path) -> None:
    """Measures the finished features and units of the test parts, clean ones together and each part by itself.

    metrics.json holds {"units": metrics over the clean test parts, "speaker": {"accuracy", "chance"} of the probe of features,
    "parts": {part: metrics}}; None is what could not be measured. phone_counts.npz holds the frames by phone and unit.
    """
    config, clean = context.config, list(context.config.corpus.test)
    pooled, computers = measure(_make_sample(context, system, clean))
    parts = {part: pooled if clean == [part] else measure(_make_sample(context, system, [part]))[0] for part in clean}
    for part, (clean_part, _, _) in products.noisy_parts(config).items():
        parts[part] = measure(_make_sample(context, system, [part], clean_part))[0]
    speaker = {"accuracy": pooled["speaker_accuracy_of_features"], "chance": pooled["speaker_chance"]}
    write_json(artifacts.metrics_in(folder), {"units": pooled, "speaker": speaker, "parts": parts})
    purity = computers[find_metric("pnmi").computer]
    if purity.counts.labels:
        phones = np.array(purity.counts.labels, dtype=np.str_)
        np.savez_compressed(artifacts.phone_counts_in(folder), phones=phones, counts=purity.counts.matrix())
    if purity.unaligned:
        context.log.warning("%s: PNMI, purities and ABX without %d unaligned test utterance(s)", system.name, purity.unaligned)
    missing = [name for name, value in pooled.items() if value is None and name != "unit_edit_distance"]  # which needs noise
    if missing:
        context.log.warning("%s: too few alignments or utterances to measure %s", system.name, ", ".join(missing))


def _make_sample(context: Context, system: System, parts: list[str], clean: str | None = None) -> EvaluationSet:
    config = context.config
    folders = [(products.features(context, system, part).path, products.units(context, system, part).path) for part in parts]
    size = read_json(artifacts.codebook_in(folders[0][1]))["codebook_size"]
    read = partial(read_utterances, folders, config.units.metrics_first_seconds)
    sample = EvaluationSet(size, config.seed, config.runtime.nj, config.units.abx_max_utterances, read)
    if clean is None:
        return sample
    clean_lines = artifacts.units_lines(products.units(context, system, clean).path)
    return dataclasses.replace(sample, clean_units=lambda: dict(read_units(clean_lines)))
