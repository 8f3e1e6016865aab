"""A cell of the table: one k-means (or codebook) measured on the test utterances; and a layer's figures, whatever the units.

What is measured is written as JSON under the digest of all that it depends on, and not measured again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spin import artifacts
from spin.config import UnitsConfig
from spin.runtime.devices import prepare_cpu
from spin.runtime.files import read_json, write_json
from spin.units.abx import abx
from spin.units.abx_design import Design, design, sample_utterances, triphones
from spin.units.kmeans import Utterances, save_kmeans, train_kmeans
from spin.units.measure import PartMeasures, without_nan
from spin.units.phones import alignment_of
from spin.units.shards import read_cuts
from spin.units.speaker_probe import probe_speakers
from spin.units.table_features import Store, digest

VERSION = 1  # of what a cell holds; another one is measured again
LAYER_FIGURES = ("speaker_accuracy_of_features", "abx_features_within", "abx_features_across")


@dataclass(frozen=True)
class Protocol:
    """What every cell of a table shares.

    Args:
        folder: of the table; cuts_train and cuts_test lie in it, stores below it.
        audio: digest of those two manifests.
        seed: of ABX's sampling and the speaker probe's split.
        config: first seconds, settings of k-means and of ABX.
        abx: whether ABX is measured.
    """

    folder: Path
    audio: str
    seed: int
    config: UnitsConfig
    abx: bool

    def cuts(self, role: str) -> Path:
        return self.folder / f"cuts_{role}.jsonl.gz"

    def store(self, content: str, role: str) -> Path:
        """Folder of the features of a layer, or of a codebook's units, by its digest."""
        return self.folder / "features" / f"{content}-{self.audio}" / role

    def key(self) -> dict:
        """The settings that figures depend on."""
        names = ["metrics_first_seconds", "kmeans_starts", "kmeans_epochs", "kmeans_memory_in_mib"]
        if self.abx:
            names += ["abx_max_per_context", "abx_max_utterances", "abx_max_x_across", "abx_max_distances"]
        settings = {name: getattr(self.config, name) for name in names}
        return {"version": VERSION, "audio": self.audio, "seed": self.seed, "abx": self.abx} | settings


@dataclass(frozen=True)
class Cell:
    """One measurement.

    Args:
        protocol: shared by all.
        content: digest of the layer, or of the codebook.
        layer: its number; of a codebook the one it reads.
        clusters: K.
        seed: of k-means; None: a codebook.
    """

    protocol: Protocol
    content: str
    layer: int
    clusters: int
    seed: int | None

    def path(self) -> Path:
        key = [self.protocol.key(), self.content, self.clusters, self.seed]
        return self.protocol.folder / "cells" / f"{digest(*key)}.json"

    def figures(self) -> dict | None:
        """What was measured, None if nothing was yet."""
        return read_json(self.path())["figures"] if self.path().exists() else None


def measure_cell(cell: Cell) -> None:
    """Trains k-means where the cell has one, and writes the cell's file."""
    prepare_cpu(1)
    protocol = cell.protocol
    test = Store(protocol.store(cell.content, "test"), protocol.cuts("test"))
    load = test.load
    if cell.seed is not None:
        train = Store(protocol.store(cell.content, "train"), protocol.cuts("train"))
        frames, config = train.frames, protocol.config
        names = sorted(frames)
        model = train_kmeans(
            Utterances(names, [frames[name] for name in names], train.load),
            cell.clusters,
            starts=config.kmeans_starts,
            epochs=config.kmeans_epochs,
            seed=cell.seed,
            memory_in_mib=config.kmeans_memory_in_mib,
        )
        save_kmeans(cell.path().with_suffix(".safetensors"), model, cell.layer)

        def load(name: str) -> np.ndarray:
            return model.assign(test.load(name))

    figures = measure_units(protocol, test, load, cell.clusters)
    described = {"layer": cell.layer, "K": cell.clusters, "seed": cell.seed, "content": cell.content}
    write_json(cell.path(), {"protocol": protocol.key(), **described, "figures": figures})


def measure_units(protocol: Protocol, test: Store, load, clusters: int) -> dict:
    """Figures of units, as stage 3 names them, with null for what could not be measured.

    Args:
        load: utterance -> (T,) units.
    """
    measures, first = PartMeasures.empty(clusters), protocol.config.metrics_first_seconds
    limit = round(first / artifacts.FRAME_SHIFT_IN_S) if first > 0 else None
    kept = {}
    for cut, speaker in utterances(protocol, test):
        seconds = min(cut.duration, first) if first > 0 else cut.duration
        units = load(cut.id)
        kept[cut.id] = units if protocol.abx else None
        measures.add(cut.id, speaker, units[:limit], seconds, alignment_of(cut), None)
    figures = measures.figures()
    probe = probe_speakers(_stacked(measures.histograms), measures.names, measures.speakers, protocol.seed)
    figures |= {"speaker_accuracy": probe.accuracy, "speaker_chance": probe.chance}
    if protocol.abx:
        result = abx(comparisons(protocol, test), kept.__getitem__)
        figures |= {"abx_units_within": result.within, "abx_units_across": result.across}
    return without_nan(figures)


@dataclass(frozen=True)
class LayerCell:
    """The figures of one layer's features by themselves."""

    protocol: Protocol
    content: str

    def path(self) -> Path:
        return self.protocol.folder / "layers" / f"{digest(self.protocol.key(), self.content)}.json"

    def figures(self) -> dict | None:
        return read_json(self.path())["figures"] if self.path().exists() else None


def measure_layer(cell: LayerCell) -> None:
    """Speaker probe on mean-pooled features and, where asked for, ABX of the features."""
    prepare_cpu(1)
    protocol = cell.protocol
    test = Store(protocol.store(cell.content, "test"), protocol.cuts("test"))
    means, names, speakers = [], [], []
    for cut, speaker in utterances(protocol, test):
        if speaker:
            means.append(test.load(cut.id).astype(np.float32).mean(0))
            names.append(cut.id)
            speakers.append(speaker)
    figures = {LAYER_FIGURES[0]: probe_speakers(_stacked(means), names, speakers, protocol.seed).accuracy}
    if protocol.abx:
        result = abx(comparisons(protocol, test), test.load)
        figures |= dict(zip(LAYER_FIGURES[1:], (result.within, result.across), strict=True))
    write_json(cell.path(), {"protocol": protocol.key(), "content": cell.content, "figures": without_nan(figures)})


def measure_any(cell: Cell | LayerCell) -> None:
    """Either of the two, for a pool of processes."""
    measure_cell(cell) if isinstance(cell, Cell) else measure_layer(cell)


def utterances(protocol: Protocol, store: Store) -> Iterator[tuple]:
    """(cut, speaker or None) of the test utterances that could be used."""
    usable = store.frames
    for cut in read_cuts(protocol.cuts("test")):
        if cut.id in usable:
            yield cut, cut.supervisions[0].speaker if cut.supervisions else None


def comparisons(protocol: Protocol, test: Store) -> Design:
    """ABX's comparisons: they depend on alignments alone, so that every cell is asked the same."""
    config, frames = protocol.config, test.frames
    aligned = {cut.id: speaker or "" for cut, speaker in utterances(protocol, test) if alignment_of(cut)}
    chosen = set(sample_utterances(aligned, config.abx_max_utterances, protocol.seed))
    items = []
    for cut, _ in utterances(protocol, test):
        if cut.id in chosen:
            items.extend(triphones(cut.id, aligned[cut.id], alignment_of(cut) or (), frames[cut.id]))
    limits = (config.abx_max_per_context, config.abx_max_x_across, config.abx_max_distances)
    return design(items, *limits, seed=protocol.seed)


def _stacked(rows: list[np.ndarray]) -> np.ndarray:
    return np.stack(rows) if rows else np.zeros((0, 1))
