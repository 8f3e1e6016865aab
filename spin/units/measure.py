"""Measures all metrics of one system: one pass over its utterances feeds every family of METRICS."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from spin import artifacts, products
from spin.data.cuts import read_cuts
from spin.data.store import load_array
from spin.errors import DataError
from spin.runtime.context import Context
from spin.runtime.files import read_json
from spin.systems import System
from spin.units.metrics import METRICS, Metric, find_metric, load_family
from spin.units.phones import alignment_of
from spin.units.sample import Family, Sample, Utterance
from spin.units.units import read_units


def measure(sample: Sample, metrics: Iterable[Metric] = METRICS) -> tuple[dict[str, float | None], dict[str, Family]]:
    """Figures by name (None where there is nothing to measure), and the families that computed them by the names in METRICS.

    Raises:
        DataError: a unit outside the codebook.
    """
    metrics = tuple(metrics)
    families = {path: load_family(path)(sample) for path in dict.fromkeys(metric.family for metric in metrics)}
    for utterance in sample.read():
        for family in families.values():
            family.add(utterance)
    figures: dict[str, float] = {}
    for family in families.values():
        figures |= family.figures()
    return {metric.name: _finite(figures.get(metric.name, math.nan)) for metric in metrics}, families


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON has no NaN


def read_utterances(folders: Iterable[tuple[Path, Path]], first_seconds: float = 0.0) -> Iterator[Utterance]:
    """The utterances of some parts, one at a time.

    Args:
        folders: (features, units) products of each part: a manifest with HIDDEN_FIELD, and units.jsonl of the same utterances.
        first_seconds: only the first seconds count, except for the probe of features and ABX (10: the official validation); 0:
            all.

    Raises:
        DataError: the two do not name the same utterances.
    """
    limit = round(first_seconds / artifacts.FRAME_SHIFT_IN_S) if first_seconds > 0 else None
    for features, units in folders:
        for cut, (name, sequence) in zip(read_cuts(artifacts.cuts_in(features)), read_units(units), strict=True):
            if cut.id != name:
                found, expected = f"units of {name}", f"those of {cut.id}, as in the features"
                raise DataError(str(units), found=found, expected=expected, remedy="rerun stage 3 with --force")
            yield Utterance(
                id=cut.id,
                speaker=cut.supervisions[0].speaker if cut.supervisions else None,
                units=sequence[:limit],
                seconds=min(cut.duration, first_seconds) if first_seconds > 0 else cut.duration,
                alignment=alignment_of(cut) or (),
                words=alignment_of(cut, artifacts.WORD_TIER) or (),
                all_units=sequence,
                load_features=partial(load_array, cut, artifacts.HIDDEN_FIELD),
            )


@dataclass(frozen=True)
class SystemMetrics:
    """Everything that is measured of one system.

    Attributes:
        content: {"units": figures over the clean test parts, "speaker": {"accuracy", "chance"} of the probe of features, "parts":
            {part: figures}}, with None for what could not be measured.
        phones: (P,) phones of the clean test parts, by class.
        counts: (P, K) int64 frames of 10 ms.
        unaligned: number of clean test utterances without a phone alignment.
    """

    content: dict
    phones: list[str]
    counts: np.ndarray
    unaligned: int


def measure_system(context: Context, system: System) -> SystemMetrics:
    """Measures the finished features and units of the test parts, clean ones together, and each part by itself."""
    config, clean = context.config, list(context.config.corpus.test)
    sample = _make_sample(context, system, clean)
    pooled, families = measure(sample)
    parts = {part: pooled if clean == [part] else measure(_make_sample(context, system, [part]))[0] for part in clean}
    for part, (clean_part, _, _) in products.noisy_parts(config).items():
        parts[part] = measure(_make_sample(context, system, [part], clean_part))[0]
    counts = families[find_metric("pnmi").family].counts
    unaligned = sum(1 for utterance in sample.read() if not utterance.alignment)
    speaker = {"accuracy": pooled["speaker_accuracy_of_features"], "chance": pooled["speaker_chance"]}
    return SystemMetrics({"units": pooled, "speaker": speaker, "parts": parts}, counts.labels, counts.matrix(), unaligned)


def _make_sample(context: Context, system: System, parts: list[str], clean: str | None = None) -> Sample:
    config = context.config
    folders = [(products.features(context, system, part).path, products.units(context, system, part).path) for part in parts]
    clean_folder = None if clean is None else products.units(context, system, clean).path
    return Sample(
        codebook_size=read_json(artifacts.codebook_in(folders[0][1]))["codebook_size"],
        seed=config.seed,
        threads=config.runtime.nj,
        abx_max_utterances=config.units.abx_max_utterances,
        read=partial(read_utterances, folders, config.units.metrics_first_seconds),
        clean_units=None if clean_folder is None else lambda: dict(read_units(clean_folder)),
    )
