"""Metrics of units over layers, codebook sizes and seeds of k-means, by the work of stage 3.

python -m spin layer-sweep --exp exp/mini --layers 1 2 3 4 --k 64 128 --seeds 0 1 2 --output exp/mini/sweep

Each system gives k-means units at every layer, and a system with a codebook its own units too. The command writes sweep.json and
sweep.md. The output folder holds an experiment for each codebook size and seed, with features in common. All work follows the
rule of spin/runtime/product.py: what is finished is skipped, an interrupted command resumes, and changed settings rebuild.
"""

import argparse
import dataclasses
import statistics
from functools import partial
from pathlib import Path

from spin import artifacts
from spin.config_io import load_config
from spin.errors import ConfigError
from spin.runtime.files import commit, read_json, write_json, write_text
from spin.runtime.logs import get_logger, progress
from spin.runtime.process import folder_lock
from spin.runtime.product import Context
from spin.runtime.workers import map_jobs
from spin.systems import System, systems_of
from spin.units.extract_units import build_features, build_kmeans, build_metrics, build_units
from spin.units.metrics import Metric, find_metric

Job = tuple[Context, System]  # an experiment whose seed is that of k-means, and a system with one layer


def main(argv: list[str] | None = None) -> None:
    """Measures what is missing, writes sweep.json and sweep.md, prints the table; SpinError for an unknown system or layer."""
    arguments = parse_arguments(argv)
    context = open_context(arguments, "", f"runtime.nj={arguments.nj}")
    seed, corpus = context.config.seed, context.config.corpus
    systems = {system.name: system for system in systems_of(context.config, arguments.exp)}
    unknown = set(arguments.system or ()) - set(systems)
    if unknown:
        raise ConfigError("--system", found=min(unknown), expected=" ".join(systems))
    rows = []
    with folder_lock(arguments.output):
        for name in arguments.system or systems:
            own = plan_rows(arguments, context, systems[name])
            variants = dict.fromkeys(system for _, jobs in own for _, system in jobs)
            # The highest layer first: its pass of the encoder computes the others.
            ordered = sorted(variants, key=lambda system: system.layer or 0, reverse=True)
            build_features(context, ordered, (*corpus.spin_train, *corpus.test))
            rows += own
        jobs = [job for _, own in rows for job in own]
        for _ in progress(map_jobs(partial(measure_units, seed), jobs, arguments.nj), "units", len(jobs)):
            pass
        table = [label | collect(own) for label, own in rows]
        write_json(arguments.output / "sweep.json", {"schema": 4, "commit": commit(), "seed": seed, "rows": table})
        write_text(arguments.output / "sweep.md", to_markdown(table))
    print(to_markdown(table), end="")


def plan_rows(arguments: argparse.Namespace, context: Context, system: System) -> list[tuple[dict, list[Job]]]:
    """The rows of one system in the table, without figures, each with its work: its own units, then layers by codebook sizes."""
    rows = []
    if system.has_codebook:
        own = open_context(arguments, "codebooks")
        rows.append(({"system": system.name, "layer": None, "seeds": [None]}, [(own, system)]))
    for layer in [None] if system.kind == "fbank" else arguments.layers or [system.layer or context.config.encoder.layer]:
        variant = system if layer is None else System(f"{system.name}-layer{layer}", "encoder", system.source, layer)
        for size in arguments.k or [context.config.spin.codebook_size]:
            settings = [(f"K{size}-seed{seed}", f"spin.codebook_size={size}", f"seed={seed}") for seed in arguments.seeds]
            jobs = [(open_context(arguments, *own), variant) for own in settings]
            rows.append(({"system": system.name, "layer": layer, "seeds": arguments.seeds}, jobs))
    return rows


def open_context(arguments: argparse.Namespace, name: str, *settings: str) -> Context:
    """Stage 3 with further settings on the clean test parts, in --output, or below it with a link to the features there."""
    fixed = ("runtime.nj=1", f"runtime.device={arguments.device}", "noise.test_kinds=[]")
    config = load_config(artifacts.config_file(arguments.exp), [*arguments.overrides, *fixed, *settings])
    corpus = artifacts.corpus_folder(config.corpus.data_dir, config.corpus.name)
    context = Context(config, arguments.output / name, corpus, 3, get_logger("layer-sweep"))
    features = artifacts.features_folder(context.exp, "", "")
    if name and not features.is_symlink():
        features.parent.mkdir(exist_ok=True)
        features.symlink_to(Path("..") / features.name)
    return context


def measure_units(seed: int, job: Job) -> None:
    """k-means where the system has no codebook, units, and metrics, whose samples depend on `seed`; in any process."""
    context, system = job
    if not system.has_codebook:
        build_kmeans(context, system)
    build_units(context, system, context.config.corpus.test)
    build_metrics(dataclasses.replace(context, config=dataclasses.replace(context.config, seed=seed)), system)


def collect(jobs: list[Job]) -> dict:
    """K, and the mean and sample standard deviation of every metric over the seeds."""
    files = [artifacts.metrics_in(artifacts.metrics_folder(context.exp, system.name)) for context, system in jobs]
    measured = [read_json(file)["units"] for file in files]
    return {"K": measured[0]["K"], "metrics": {name: spread([own[name] for own in measured]) for name in measured[0]}}


def spread(values: list[float | None]) -> dict:
    """{"mean", "sd", "values"}; None where a value is None, and for the sd of one value."""
    if None in values:
        return {"mean": None, "sd": None, "values": values}
    return {"mean": statistics.fmean(values), "sd": statistics.stdev(values) if len(values) > 1 else None, "values": values}


def to_markdown(rows: list[dict]) -> str:
    """A table of all rows with the metrics that any row has."""
    names = [name for name in rows[0]["metrics"] if name != "K" and any(row["metrics"][name]["mean"] is not None for row in rows)]
    metrics = [find_metric(name) for name in names]
    lines = [["system", "layer", "K", "seeds", *(metric.title for metric in metrics)]]
    lines.append(["---", *["---:"] * (len(lines[0]) - 1)])
    for row in rows:
        start = [row["system"], str(row["layer"] or "own"), str(row["K"]), str(len(row["seeds"]))]
        lines.append(start + [_show(metric, row["metrics"][metric.name]) for metric in metrics])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _show(metric: Metric, figure: dict) -> str:
    mean = metric.show(figure["mean"])
    return mean if figure["sd"] is None else f"{mean} \u00b1 {metric.show(figure['sd'])}"


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Options of the command."""
    summary = __doc__.split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m spin layer-sweep", description=summary, allow_abbrev=False)
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
    for name in ("system", "layers", "k", "seeds"):  # two jobs for one product would write over each other
        setattr(arguments, name, list(dict.fromkeys(getattr(arguments, name) or ())))
    return arguments
