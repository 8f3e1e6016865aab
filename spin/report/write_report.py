"""Report half of stage 5: report.json, report.html and report.md."""

import importlib.metadata
import platform
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from spin import artifacts, products
from spin.config import Config
from spin.config_io import config_dict
from spin.report import pictures
from spin.report.measures import SUFFIXES, results
from spin.report.pages import headline, render_html, render_markdown
from spin.report.pictures import Picture
from spin.report.tables import all_tables
from spin.report.validate import check_report
from spin.runtime.devices import device_name, resolve_device
from spin.runtime.files import commit, read_json, read_jsonl, write_json, write_text
from spin.runtime.product import Context, Product
from spin.systems import systems_of

LIBRARIES = ("k2", "kaldialign", "kaldilm", "lhotse", "numpy", "sentencepiece", "torch")
# Folders, processes and devices change no result: two runs into two folders give the same report.
NOT_IN_REPORT = ("data_dir", "corpus_dir", "download")


def write_report(context: Context, scores: Product | None) -> None:
    """Writes the report of an experiment unless it is up to date; without scores, pages of unit metrics but no report.json.

    Raises DataError where a product is missing or damaged, or the figures do not fit the report's schema.
    """
    metrics = {system.name: products.metrics(context, system) for system in systems_of(context.config, context.exp)}
    inputs = [*filter(None, [scores]), *metrics.values()]
    product = products.report(context, inputs, "json" if scores else "html")
    page, text = (artifacts.report(context.exp, kind) for kind in ("html", "md"))
    if product.needs_build() or not page.exists() or not text.exists():
        with product.building() as partial:
            values = {name: read_json(artifacts.metrics_in(item.path)) for name, item in metrics.items()}
            rates = read_json(scores.path) if scores else {"asr": {}, "gain": {}}
            report = build_report(context, values, rates, build_seconds(inputs))
            if scores:
                check_report(report)
            tables = all_tables(context.exp, report)
            write_text(text, render_markdown(report, tables))
            write_text(page if scores else partial, render_html(report, collect_pictures(context, report), tables))
            if scores:
                write_json(partial, report)
            else:  # that of an earlier configuration does not belong to these pages
                artifacts.report(context.exp, "json").unlink(missing_ok=True)
        answer = headline(report)
        context.log.info("%s. %s", answer.title, answer.detail)
    context.log.info("report: %s", page)


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


def collect_pictures(context: Context, report: dict) -> dict[str, list[Picture]]:
    """The pictures of what the stages left, by section."""
    counts = {}
    for system in report["systems"]:
        path = artifacts.phone_counts_in(artifacts.metrics_folder(context.exp, system))
        if path.exists():  # the corpus has alignments
            with np.load(path) as content:
                counts[system] = content["phones"].tolist(), content["counts"]
    histories = {"training": {}}
    if artifacts.SPIN in report["systems"]:
        histories["training"][artifacts.SPIN] = [_read_history(artifacts.spin_folder(context.exp))]
    for input_kind in SUFFIXES:
        histories[input_kind] = {}
        for system in results(report, input_kind):
            folders = (artifacts.recogniser_folder(context.exp, system, input_kind, seed) for seed in report["seeds"])
            histories[input_kind][system] = list(map(_read_history, folders))
    return plot_all(report, histories, counts, pictures.utterances(context, report))


def _read_history(folder: Path) -> list[dict]:
    return list(read_jsonl(artifacts.history_in(folder)))


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
