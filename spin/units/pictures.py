"""Stage 3 in TensorBoard: all metrics, unit maps, and a few utterances with the units of every system."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spin import artifacts, products
from spin.data.audio import read_audio
from spin.data.cuts import read_cuts
from spin.runtime.context import Context
from spin.runtime.files import read_json
from spin.runtime.logs import summary_writer
from spin.systems import System
from spin.units.figures import draw_unit_map, draw_utterance, unit_map
from spin.units.phones import alignment_of
from spin.units.units import read_units


def write_pictures(context: Context, systems: Sequence[System], folder: Path) -> None:
    """Writes event files of the finished metrics and units of all systems."""
    with summary_writer(folder) as writer:
        for system in systems:
            metrics = products.metrics(context, system).path
            for name, value in read_json(artifacts.metrics_in(metrics))["units"].items():
                if value is not None:
                    writer.add_scalar(f"{name}/{system.name}", value, 0)
            counts = artifacts.phone_counts_in(metrics)
            if counts.exists():
                with np.load(counts, allow_pickle=False) as content:
                    figure = draw_unit_map(unit_map(content["phones"].tolist(), content["counts"]))
                writer.add_figure(f"units_by_phones/{system.name}", figure, 0)
        for name, figure in _draw_utterances(context, systems):
            writer.add_figure(f"utterance/{name}", figure, 0)


def _draw_utterances(context: Context, systems: Sequence[System]):
    """(utterance id, figure) of the first utterances of the first test part."""
    part, count = context.config.corpus.test[0], context.config.units.pictures
    streams = [read_units(products.units(context, system, part).path) for system in systems]
    manifest = artifacts.cuts_in(products.units(context, systems[0], part).path)
    for cut, *units in itertools.islice(zip(read_cuts(manifest), *streams), count):
        if len({cut.id, *(name for name, _ in units)}) > 1:
            return  # a system that rejected an utterance; the rest do not match either
        spans = [(item.start, item.start + item.duration, item.symbol) for item in alignment_of(cut) or ()]
        sequences = {system.name: own.tolist() for system, (_, own) in zip(systems, units, strict=True)}
        title = f"{cut.id}: {cut.supervisions[0].text}" if cut.supervisions else cut.id
        yield cut.id, draw_utterance(read_audio(cut), spans, sequences, title)
