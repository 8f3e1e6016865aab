"""Metrics of units over layers, codebook sizes and seeds, by the extractor, k-means and metrics of stage 3.

python -m spin layer-sweep --exp exp/mini --layers 1 2 3 4 --k 64 128 --seeds 0 1 2 --output exp/mini/sweep

Each system gives k-means units at every layer, and a system with a codebook its own units too. The command writes sweep.json
and sweep.md. Finished work is kept in the output folder, so an interrupted command resumes.
"""

import argparse
import dataclasses
import statistics
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from spin import artifacts
from spin.config import Config
from spin.data.cuts import read_cuts
from spin.errors import ConfigError, DataError
from spin.runtime.config_io import load_config
from spin.runtime.devices import prepare_cpu
from spin.runtime.files import commit, content_digest, read_json, source_digest, write_json, write_jsonl, write_text
from spin.runtime.logs import get_logger, progress
from spin.runtime.workers import map_jobs
from spin.systems import System, systems_of
from spin.units.extraction import SHARDS, Output, extract_features
from spin.units.kmeans import assign_units, draw_utterances, save_kmeans, train_kmeans
from spin.units.measure import EvaluationSet, measure, read_utterances
from spin.units.metrics import find_metric

NOT_MEASURED = "\u2014"


@dataclass(frozen=True)
class Cell:
    """One measurement, for any process.

    Attributes:
        config: configuration of the experiment.
        output: folder of the sweep.
        system: name of the system.
        layer: layer of the features; None: the system's own, with the units of its codebook.
        clusters, seed: K and random seed of k-means; None: the codebook.
    """

    config: Config
    output: Path
    system: str
    layer: int | None
    clusters: int | None
    seed: int | None

    @property
    def name(self) -> str:
        return f"{self.system}-layer{self.layer or 'own'}-K{self.clusters or 'own'}-seed{self.seed}"

    @property
    def path(self) -> Path:
        return self.output / "cells" / f"{self.name}.json"

    def features(self, part: str) -> Path:
        return self.output / "features" / self.system / f"layer{self.layer or 'own'}" / part


def measure_cell(cell: Cell) -> None:
    """Trains k-means where the cell has one, and measures its units."""
    prepare_cpu(1)
    config, parts = cell.config, cell.config.corpus.test
    folders = [(cell.features(part), cell.features(part)) for part in parts]
    if cell.clusters:
        kmeans, folders = _train_kmeans(cell), [(cell.features(part), cell.output / "units" / cell.name / part) for part in parts]
        for features, units in folders:
            assigned = assign_units(config, artifacts.cuts_in(features), kmeans)
            lines = ({artifacts.UNITS_ID: name, artifacts.UNITS_SEQUENCE: own.tolist()} for name, own in assigned)
            write_jsonl(artifacts.units_lines(units), lines)
    size = cell.clusters or read_json(artifacts.codebook_in(folders[0][0]))["codebook_size"]
    read = partial(read_utterances, folders, config.units.metrics_first_seconds)
    sample = EvaluationSet(size, config.seed, 1, config.units.abx_max_utterances, read)
    metrics, _ = measure(sample)
    write_json(cell.path, {"K": size, "metrics": metrics})


def _train_kmeans(cell: Cell) -> Path:
    path, config = cell.output / "kmeans" / f"{cell.name}.safetensors", cell.config
    cuts = (cut for part in config.corpus.spin_train for cut in read_cuts(artifacts.cuts_in(cell.features(part))))
    data = draw_utterances(cuts, config.units.kmeans_hours, config.seed)
    save_kmeans(path, train_kmeans(data, cell.clusters, starts=config.units.kmeans_starts, seed=cell.seed), cell.layer)
    return path


def plan_cells(arguments: argparse.Namespace, config: Config, systems: Iterable[System]) -> list[Cell]:
    """All cells in the order of the table's rows."""
    sizes, cells = arguments.k or [config.spin.codebook_size], []
    config = dataclasses.replace(config, runtime=dataclasses.replace(config.runtime, nj=1))  # a cell is one process
    for system in systems:
        layers = [None] if system.kind == "fbank" else arguments.layers or [system.layer or config.encoder.layer]
        own = [(None, None, None)] if system.has_codebook else []
        places = own + [(layer, size, seed) for layer in layers for size in sizes for seed in arguments.seeds]
        cells += [Cell(config, arguments.output, system.name, *place) for place in places]
    return cells


def extract_missing(config: Config, corpus: Path, systems: Iterable[System], cells: Iterable[Cell]) -> None:
    """Features of all layers that cells read, of the training and test parts; all systems together."""
    by_name = {system.name: system for system in systems}
    parts: dict[str, tuple[Path, list[Output]]] = {}
    for part in dict.fromkeys((*config.corpus.spin_train, *config.corpus.test)):
        for cell in {(cell.system, cell.layer): cell for cell in cells}.values():
            folder = cell.features(part)
            if not artifacts.cuts_in(folder).exists() or (folder / SHARDS).exists():
                output = Output(by_name[cell.system], folder, cell.layer)
                parts.setdefault(part, (artifacts.cuts(corpus, part), []))[1].append(output)
    if parts:
        extract_features(config, parts, get_logger("layer-sweep"))


def check_protocol(config: Config, corpus: Path, output: Path, systems: Iterable[System]) -> None:
    """Refuses an output folder whose work was done with other data, models or settings."""
    parts = dict.fromkeys((*config.corpus.spin_train, *config.corpus.test))
    units = dataclasses.asdict(dataclasses.replace(config.units, batch_seconds=1.0, pictures=0))  # these change no metric
    protocol = {
        "manifests": {part: content_digest(artifacts.cuts(corpus, part)) for part in parts},
        "systems": {system.name: source_digest(system.source) if system.source else None for system in systems},
        "seed": config.seed,
        "units": units,
    }
    path = output / "protocol.json"
    if not path.exists():
        write_json(path, protocol)
    elif read_json(path) != protocol:
        expected = "the same experiment and settings as before"
        raise DataError(str(output), found="work on other data", expected=expected, remedy="choose another --output")


def make_rows(cells: Iterable[Cell]) -> list[dict]:
    """One row per system, layer and K, with mean and sample standard deviation over seeds."""
    groups: dict[tuple, list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.system, cell.layer, cell.clusters), []).append(cell)
    rows = []
    for (system, layer, _), own in groups.items():
        contents = [read_json(cell.path) for cell in own]
        metrics = {name: spread([content["metrics"][name] for content in contents]) for name in contents[0]["metrics"]}
        seeds = [cell.seed for cell in own]
        rows.append({"system": system, "layer": layer, "K": contents[0]["K"], "seeds": seeds, "metrics": metrics})
    return rows


def spread(values: list[float | None]) -> dict:
    """{"mean", "sd", "values"}; None where a value is None, and for the sd of one value."""
    if None in values:
        return {"mean": None, "sd": None, "values": values}
    return {"mean": statistics.fmean(values), "sd": statistics.stdev(values) if len(values) > 1 else None, "values": values}


def to_markdown(rows: list[dict]) -> str:
    """A table of all rows with the metrics that any row has."""
    names = [name for name in rows[0]["metrics"] if name != "K" and any(row["metrics"][name]["mean"] is not None for row in rows)]
    lines = [["system", "layer", "K", "seeds", *(find_metric(name).title for name in names)]]
    lines.append(["---", *["---:"] * (len(lines[0]) - 1)])
    for row in rows:
        start = [row["system"], str(row["layer"] or "own"), str(row["K"]), str(len(row["seeds"]))]
        lines.append(start + [_show(row["metrics"][name], find_metric(name).digits) for name in names])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _show(figure: dict, digits: int) -> str:
    if figure["mean"] is None:
        return NOT_MEASURED
    text = f"{figure['mean']:.{digits}f}"
    return text if figure["sd"] is None else f"{text} \u00b1 {figure['sd']:.{digits}f}"


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Options of the command."""
    raw = argparse.RawDescriptionHelpFormatter
    command = "python -m spin layer-sweep"
    parser = argparse.ArgumentParser(prog=command, description=__doc__, formatter_class=raw, allow_abbrev=False)
    parser.add_argument("--exp", required=True, type=Path, help="an experiment whose stages 0 to 2 are finished")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder of the tables and of all work")
    parser.add_argument("--system", nargs="+", help="names of systems (default: all of the experiment)")
    parser.add_argument("--layers", type=int, nargs="+", help="layers of encoders, from 1 (default: the experiment's)")
    parser.add_argument("--k", type=int, nargs="+", help="clusters of k-means (default: spin.codebook_size)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="random seeds of k-means (default: 0 1 2)")
    parser.add_argument("--nj", type=int, default=1, help="number of processes (default: 1)")
    parser.add_argument("--device", default="cpu", choices=("auto", "cpu", "cuda"), help="device of the encoders (default: cpu)")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", dest="overrides")
    arguments = parser.parse_args(argv)
    given = {"layers": arguments.layers or [1], "k": arguments.k or [2], "seeds": arguments.seeds, "nj": [arguments.nj]}
    for (name, values), least in zip(given.items(), (1, 2, 0, 1), strict=True):
        if min(values) < least:
            parser.error(f"--{name}: found {min(values)}, expected at least {least}")
    return arguments


def load_experiment(arguments: argparse.Namespace) -> tuple[Config, list[System]]:
    """The configuration of the experiment, with --nj and --device, and the systems that --system names.

    Raises:
        ConfigError: an unknown system.
    """
    config = load_config(artifacts.config_file(arguments.exp), arguments.overrides)
    runtime = dataclasses.replace(config.runtime, nj=arguments.nj, device=arguments.device)
    config = dataclasses.replace(config, runtime=runtime)
    systems = {system.name: system for system in systems_of(config, arguments.exp)}
    unknown = set(arguments.system or ()) - set(systems)
    if unknown:
        raise ConfigError("--system", found=min(unknown), expected=" ".join(systems))
    return config, [systems[name] for name in arguments.system or systems]


def main(argv: list[str] | None = None) -> None:
    """Measures what is missing, writes sweep.json and sweep.md, prints the table.

    Raises:
        SpinError: an unknown system, part or layer, or an output folder of other work.
    """
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    config, systems = load_experiment(arguments)
    corpus = artifacts.corpus_folder(config.corpus.data_dir, config.corpus.name)
    check_protocol(config, corpus, arguments.output, systems)
    cells = plan_cells(arguments, config, systems)
    extract_missing(config, corpus, systems, cells)
    missing = [cell for cell in cells if not cell.path.exists()]
    for _ in progress(map_jobs(measure_cell, missing, arguments.nj), "cells", len(missing)):
        pass
    rows = make_rows(cells)
    write_json(arguments.output / "sweep.json", {"schema": 4, "commit": commit(), "seed": config.seed, "rows": rows})
    write_text(arguments.output / "sweep.md", to_markdown(rows))
    print(to_markdown(rows), end="")
