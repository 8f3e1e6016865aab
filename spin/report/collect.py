"""Material of a report: what the stages left, as the content of report.json and the pictures and tables of the pages."""

import importlib.metadata
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from spin import artifacts, products
from spin.config import Config
from spin.report import pictures
from spin.report.measures import SUFFIXES, results
from spin.report.pictures import Picture
from spin.report.tables import Table, all_tables
from spin.report.validate import check_report
from spin.runtime.config_io import config_dict
from spin.runtime.context import Context
from spin.runtime.devices import device_name, resolve_device
from spin.runtime.digest import commit
from spin.runtime.files import read_json, read_jsonl
from spin.runtime.product import Product
from spin.systems import systems_of

LIBRARIES = ("k2", "kaldialign", "kaldilm", "lhotse", "numpy", "sentencepiece", "torch")
# Folders, processes and devices change no result: two runs into two folders give the same report.
NOT_IN_REPORT = ("data_dir", "corpus_dir", "download")


class Material(NamedTuple):
    """All that the pages show; pictures and tables by section."""

    report: dict  # content of report.json
    pictures: dict[str, list[Picture]]
    tables: dict[str, list[Table]]


def collect(context: Context, scores: Product | None) -> Material:
    """Reads the products of stages 2 to 5; without scores, of stages 2 and 3. Raises DataError as write_report does."""
    metrics = {system.name: products.metrics(context, system) for system in systems_of(context.config, context.exp)}
    metric_values = {name: read_json(artifacts.metrics_in(product.require())) for name, product in metrics.items()}
    rates = read_json(scores.require()) if scores else {"asr": {}, "gain": {}}
    seconds = build_seconds([*metrics.values(), *filter(None, [scores])])
    report = build_report(context, metric_values, rates, seconds)
    if scores:
        check_report(report)
    counts = {name: counts for name, product in metrics.items() if (counts := read_phone_counts(product.path)) is not None}
    drawn = plot_all(report, _histories(context.exp, report), counts, pictures.utterances(context, report))
    return Material(report, drawn, all_tables(context.exp, report))


def plot_all(report: dict, histories: dict, counts: dict, utterances: list[Picture]) -> dict[str, list[Picture]]:
    """The pictures of each section; what was not measured has none."""
    error_bars = (pictures.error_bars(report, input_kind) for input_kind in SUFFIXES)
    return {
        "recognition": list(filter(None, error_bars)),
        "units": pictures.unit_bars(report),
        "maps": pictures.unit_maps(report, counts),
        "utterances": utterances,
        "training": pictures.training_curves(report, histories),
    }


def read_phone_counts(folder: Path) -> tuple[list[str], np.ndarray] | None:
    """(phones, frames of each phone and unit (P, K)) of one system; None where the corpus has no alignment."""
    path = artifacts.phone_counts_in(folder)
    if not path.exists():
        return None
    with np.load(path) as content:
        return content["phones"].tolist(), content["counts"]


def build_report(context: Context, metrics: dict[str, dict], scores: dict, seconds: dict[str, float]) -> dict:
    """The content of report.json from metrics.json of each system, baseline first, scores.json, and the times of the stages."""
    config = context.config
    versions = {name: version(name) for name in LIBRARIES} | {"python": platform.python_version()}
    accuracies = {name: {"accuracy": content["units"].get("speaker_accuracy_of_features")} for name, content in metrics.items()}
    chances = (content["units"].get("speaker_chance") for content in metrics.values())
    return {
        "schema": 2,
        "name": config.name,
        "commit": commit(),
        "command": context.command,
        "device": device_name(resolve_device(config.runtime.device)),
        "k2": versions["k2"],
        "torch": versions["torch"],
        "seeds": list(config.asr.seeds),
        "systems": list(metrics),
        "seconds": seconds,
        "units": {name: content["units"] for name, content in metrics.items()},
        "units_by_part": {name: content["parts"] for name, content in metrics.items()},
        "speaker": accuracies | {"chance": next((chance for chance in chances if chance is not None), None)},
        **scores,
        "seed": config.seed,
        "versions": versions,
        "config": report_config(config),
    }


def build_seconds(roots: Iterable[Product]) -> dict[str, float]:
    """Time that the products of each stage took to build, from the given ones down to the manifests."""
    seconds: dict[int, float] = {}
    waiting, seen = list(roots), set()
    while waiting:
        product = waiting.pop()
        if product.path not in seen:
            seen.add(product.path)
            waiting += product.inputs
            if product.seconds is not None:
                seconds[product.stage] = seconds.get(product.stage, 0.0) + product.seconds
    return {f"stage{stage}": round(seconds[stage], 1) for stage in sorted(seconds)}


def report_config(config: Config) -> dict:
    """The configuration without what changes no result: folders, processes, devices."""
    tree = config_dict(config)
    del tree["runtime"]
    tree["corpus"] = {key: value for key, value in tree["corpus"].items() if key not in NOT_IN_REPORT}
    return tree


def version(package: str) -> str:
    """Version of an installed package, otherwise 'not installed'."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _histories(exp: Path, report: dict) -> dict[str, dict[str, list[list[dict]]]]:
    """Training, features or units -> system -> for each seed, records of its validations."""
    folders = {"training": {artifacts.SPIN: [artifacts.spin_folder(exp)]} if artifacts.SPIN in report["systems"] else {}}
    for input_kind in SUFFIXES:
        folders[input_kind] = {
            system: [artifacts.recogniser_folder(exp, system, input_kind, seed) for seed in report["seeds"]]
            for system in results(report, input_kind)
        }
    return {
        input_kind: {
            name: [list(read_jsonl(artifacts.history_in(folder))) for folder in seeds] for name, seeds in by_system.items()
        }
        for input_kind, by_system in folders.items()
    }
