"""Material of a report: what the stages left, as the content of report.json and what the pages show next to it."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from spin import artifacts, products
from spin.config import Config
from spin.errors import DataError
from spin.report import details, formatting, lookup, schema
from spin.report.alignment import Example, choose_examples
from spin.report.tables import Table
from spin.report.unit_pictures import Utterance, read_utterances
from spin.runtime.config_io import config_dict
from spin.runtime.context import Context
from spin.runtime.digest import commit
from spin.runtime.files import read_json, read_jsonl
from spin.runtime.product import Product
from spin.systems import systems_of

LIBRARIES = ("k2", "kaldialign", "kaldilm", "lhotse", "numpy", "sentencepiece", "torch")
# Folders, processes and devices change no result: two runs into two folders give the same report.
NOT_IN_REPORT = ("data_dir", "corpus_dir", "download")


@dataclass(frozen=True)
class Material:
    """All that a report is made of.

    Attributes:
        report: content of report.json.
        training_history: records of the validations of stage 2, oldest first.
        asr_histories: features or units -> system -> for each seed, records of the recogniser's validations.
        counts: system -> (phones, frames of each phone and unit (P, K)); without the systems that have no aligned test part.
        examples: utterances with the texts of all systems.
        utterances: utterances with audio, phones and units.
        details: tables of speakers and of confused words.
    """

    report: dict
    training_history: list[dict] = field(default_factory=list)
    asr_histories: dict[str, dict[str, list[list[dict]]]] = field(default_factory=dict)
    counts: dict[str, tuple[list[str], np.ndarray]] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)
    utterances: list[Utterance] = field(default_factory=list)
    details: list[Table] = field(default_factory=list)


def collect(context: Context, scores: Product) -> Material:
    """Reads the products of stages 2 to 5.

    Raises:
        DataError: a product is missing, stale or damaged; names the stage to run.
    """
    metrics = {system.name: products.metrics(context, system) for system in systems_of(context.config, context.exp)}
    figures = {name: read_metrics(product.require()) for name, product in metrics.items()}
    report = build_report(context, figures, read_scores(scores.require()), build_seconds([scores, *metrics.values()]))
    history = artifacts.history_in(products.spin(context).path) if artifacts.SPIN in report["systems"] else None
    return Material(
        report=report,
        training_history=list(read_jsonl(history)) if history else [],
        asr_histories=_asr_histories(context, report),
        counts={name: counts for name, product in metrics.items() if (counts := read_phone_counts(product.path)) is not None},
        examples=_examples(context.exp, report),
        utterances=read_utterances(context),
        details=details.detail_tables(context.exp, report),
    )


def read_metrics(folder: Path) -> dict:
    """metrics.json of one system.

    Raises:
        DataError: the file does not hold what stage 3 writes.
    """
    path = artifacts.metrics_in(folder)
    return schema.check_file(schema.MetricsFile, read_json(path), path, 3)


def read_scores(path: Path) -> dict:
    """scores.json.

    Raises:
        DataError: the file does not hold what stage 5 writes, such as an error rate that is not finite.
    """
    return schema.check_file(schema.ScoresFile, read_json(path), path, 5)


def read_phone_counts(folder: Path) -> tuple[list[str], np.ndarray] | None:
    """(phones, counts (P, K)) of one system; None where the corpus has no alignment.

    Raises:
        DataError: the file does not hold what stage 3 writes.
    """
    path = artifacts.phone_counts_in(folder)
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as content:
            phones, counts = [str(phone) for phone in content["phones"]], content["counts"]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise _damaged(path, str(error)) from error
    if counts.ndim != 2 or len(counts) != len(phones):
        raise _damaged(path, f"counts of shape {counts.shape}, but {len(phones)} phones")
    return phones, counts


def _damaged(path: Path, found: str) -> DataError:
    remedy = "./run.sh --stage 3 --stop-stage 5 --force with the same --conf, --set and --exp-dir"
    return DataError(str(path), found=found, expected="what stage 3 writes", remedy=remedy)


def build_report(context: Context, metrics: dict[str, dict], scores: dict, seconds: dict[str, float]) -> dict:
    """The content of report.json.

    Args:
        metrics: system -> content of its metrics.json, baseline first.
        scores: content of scores.json.
        seconds: stage -> time that its products took to build.
    """
    config = context.config
    versions = {name: version(name) for name in LIBRARIES} | {"python": platform.python_version()}
    accuracies = {name: {"accuracy": content["units"].get("speaker_accuracy_of_features")} for name, content in metrics.items()}
    chances = (content["units"].get("speaker_chance") for content in metrics.values())
    return {
        "schema": schema.SCHEMA,
        "name": config.name,
        "commit": commit(),
        "command": context.command,
        "device": _device(config),
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
    tree.pop("runtime")
    for key in NOT_IN_REPORT:
        tree["corpus"].pop(key)
    return tree


def version(package: str) -> str:
    """Version of an installed package, otherwise 'not installed'."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _device(config: Config) -> str:
    from spin.runtime.devices import device_name, resolve_device

    return device_name(resolve_device(config.runtime.device))


def _asr_histories(context: Context, report: dict) -> dict[str, dict[str, list[list[dict]]]]:
    def read(system: str, source: str, seed: int) -> list[dict]:
        return list(read_jsonl(artifacts.history_in(artifacts.recogniser_folder(context.exp, system, source, seed))))

    return {
        source: {system: [read(system, source, seed) for seed in report["seeds"]] for system in lookup.results(report, source)}
        for source in lookup.SUFFIXES
    }


def _examples(exp: Path, report: dict) -> list[Example]:
    """Utterances of the headline's decoding, with the texts of the first seed."""
    where, subject, systems = lookup.primary(report), lookup.subject(report), report["systems"]
    if where is None or subject is None:
        return []
    texts = [details.read_hypotheses(exp, system, report["seeds"][0], where) for system in systems]
    shared = sorted(set.intersection(*(set(of_system) for of_system in texts)))
    columns = {name: (texts[0][name][0], [of_system[name][1] for of_system in texts]) for name in shared}
    titles = formatting.system_titles(report)
    return choose_examples(columns, tuple(titles.values()), systems.index(subject))
