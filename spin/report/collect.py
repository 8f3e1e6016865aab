"""Gathers what the stages left behind into report.json's content and what the pages show beside it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import math
import platform
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from spin import artifacts
from spin.config import Config
from spin.errors import DataError
from spin.report import story, unit_map
from spin.report.alignment import Example, choose
from spin.report.recognition_detail import detail_tables
from spin.report.speech import Speech, read_speech
from spin.report.tables import Table
from spin.runtime.files import read_json, read_jsonl
from spin.runtime.logs import get_logger
from spin.runtime.provenance import commit
from spin.runtime.settings import config_dict

SCHEMA = 1
FIRST_EXPERIMENT_STAGE = 2  # marks of the stages before it lie in the corpus folder
LIBRARIES = ("k2", "kaldialign", "kaldilm", "lhotse", "numpy", "sentencepiece", "torch")
UNIT_KEYS = ("K", "pnmi", "phone_purity", "cluster_purity", "abx_within", "abx_across", "bitrate")
# Where products lie and how many processes made them changes no result: two runs into two folders give the same report.
NOT_IN_REPORT = {"corpus": ("data_dir", "corpus_dir", "download")}


@dataclass(frozen=True)
class Material:
    """All that a report is made of.

    Args:
        report: the content of report.json.
        spin_history: records of the Spin training's validations, oldest first.
        asr_history: system -> seed -> records of a recogniser's validations.
        phones: (P,) names of the phones of `counts`.
        counts: system -> (P, K) int64, frames of each phone and unit; empty without alignments.
        examples: utterances with both systems' texts.
        speeches: utterances with their audio, phones and units.
        details: tables of speakers and of confused words.
    """

    report: dict
    spin_history: list[dict] = field(default_factory=list)
    asr_history: dict[str, dict[int, list[dict]]] = field(default_factory=dict)
    phones: list[str] = field(default_factory=list)
    counts: dict[str, np.ndarray] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)
    speeches: list[Speech] = field(default_factory=list)
    details: list[Table] = field(default_factory=list)


def collect(
    config: Config, exp: Path, corpus: Path, command: str, device: str | None = None, stage5_seconds: float = 0.0
) -> Material:
    """Reads the products of stages 2 to 5.

    Args:
        config: of the run.
        exp: the experiment's folder.
        corpus: the corpus' folder, for the done marks of stages 0 and 1.
        command: makes this report again, from nothing.
        device: the device of the Spin training; None: what its done mark says, else what the configuration asks for.
        stage5_seconds: how long this stage has taken so far.

    Raises:
        DataError: a product is missing or holds what is no number; names the stage to run.
    """
    quality = _product(artifacts.unit_quality(exp), 3, ("units", "speaker"))
    scores = _product(artifacts.scores(exp), 5, ("asr", "gain"))
    phones, counts = phone_counts(exp)
    spin_history = list(read_jsonl(artifacts.spin_history(exp)))
    marks = done_marks(exp, corpus)
    seconds = {f"stage{stage}": mark.get("seconds") for stage, mark in marks.items() if stage < artifacts.LAST_STAGE}
    seconds[f"stage{artifacts.LAST_STAGE}"] = round(stage5_seconds, 1)
    versions = {name: version(name) for name in LIBRARIES} | {"python": platform.python_version()}
    report = {
        "schema": SCHEMA,
        "name": config.name,
        "commit": commit(),
        "command": command,
        "device": device or (marks.get(2) or {}).get("device") or _device(config),
        "k2": versions["k2"],
        "torch": versions["torch"],
        "seeds": list(config.asr.seeds),
        "seconds": seconds,
        "units": _units(quality["units"], counts, spin_history),
        "speaker": _speaker(quality["speaker"]),
        "asr": _checked(scores["asr"], "asr", exp),
        "gain": _checked(scores["gain"], "gain", exp, allow_none=True),
        "seed": config.seed,
        "versions": versions,
        "config": report_config(config),
        "units_by_part": quality.get("parts", {}),
    }
    histories = {
        system: {seed: list(read_jsonl(artifacts.asr_history(exp, system, seed))) for seed in config.asr.seeds}
        for system in report["asr"]
    }
    details = detail_tables(exp, report, read_hypotheses)
    return Material(report, spin_history, histories, phones, counts, examples(exp, report), read_speech(config, exp), details)


def report_config(config: Config) -> dict:
    """The configuration without what changes no result (folders, processes, devices)."""
    tree = config_dict(dataclasses.replace(config))
    tree.pop("runtime", None)
    return {
        section: {key: item for key, item in value.items() if key not in NOT_IN_REPORT.get(section, ())}
        if isinstance(value, dict)
        else value
        for section, value in tree.items()
    }


def done_marks(exp: Path, corpus: Path) -> dict[int, dict]:
    """Stage -> content of its done mark, for the stages that have one."""
    folders = {stage: exp if stage >= FIRST_EXPERIMENT_STAGE else corpus for stage in artifacts.STAGES}
    paths = {stage: artifacts.done_mark(folder, stage) for stage, folder in folders.items()}
    return {stage: read_json(path) for stage, path in paths.items() if path.exists()}


def version(package: str) -> str:
    """Version of an installed package, 'not installed' where there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def phone_counts(exp: Path) -> tuple[list[str], dict[str, np.ndarray]]:
    """(phones, system -> counts (P, K)) of stage 3; empty where the corpus has no alignment.

    Raises:
        DataError: the file does not hold what stage 3 writes.
    """
    path = artifacts.unit_phone_counts(exp)
    if not path.exists():
        return [], {}
    try:
        with np.load(path, allow_pickle=False) as content:
            phones = [str(phone) for phone in content["phones"]]
            counts = {name.removeprefix("counts_"): content[name] for name in content.files if name.startswith("counts_")}
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise _bad(path, str(error), 3) from error
    for system, table in counts.items():
        if table.ndim != 2 or len(table) != len(phones):
            raise _bad(path, f"counts of {system} in the shape {table.shape}, but {len(phones)} phones", 3)
    order = [name for name in artifacts.SYSTEMS if name in counts] + sorted(set(counts) - set(artifacts.SYSTEMS))
    return phones, {name: counts[name] for name in order}


def examples(exp: Path, report: dict) -> list[Example]:
    """Utterances of the headline's part and method, texts of the first seed."""
    where = story.primary(report)
    if where is None:
        return []
    seed = report["seeds"][0]
    texts = [read_hypotheses(artifacts.hypotheses(exp, system, seed, *where)) for system in artifacts.SYSTEMS]
    both = sorted(set(texts[0]) & set(texts[1]))
    return choose({name: (texts[0][name][0], [text[name][1] for text in texts]) for name in both}, artifacts.SYSTEMS)


def read_hypotheses(path: Path) -> dict[str, tuple[list[str], list[str]]]:
    """Utterance -> (words of the reference, words of the hypothesis); none where the file is missing.

    Raises:
        DataError: names the first line that is not an utterance, a reference and a hypothesis.
    """
    if not path.exists():
        return {}
    found = {}
    for row, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if line:
            fields = line.split("\t")
            if len(fields) != 3:
                raise _bad(path, f"{len(fields)} field(s) in line {row}", 5, "utterance, tab, reference, tab, hypothesis")
            found[fields[0]] = (fields[1].split(), fields[2].split())
    return found


def _product(path: Path, stage: int, keys: tuple[str, ...]) -> dict:
    if not path.exists():
        raise DataError(
            str(path),
            found="no such file",
            expected=f"the product of stage {stage} ({artifacts.STAGES[stage]})",
            remedy=f"./run.sh --stage {stage} --stop-stage {artifacts.LAST_STAGE} with the same --conf, --set and --exp-dir",
        )
    content = read_json(path)
    for key in keys:
        if not isinstance(content, dict) or not isinstance(content.get(key), dict):
            raise _bad(path, f"no section '{key}'", stage)
    return content


def _bad(path: Path, found: str, stage: int, expected: str = "") -> DataError:
    return DataError(
        str(path), found=found, expected=expected or f"what stage {stage} writes", remedy=f"run stage {stage} again with --force"
    )


def _units(units: dict, counts: dict[str, np.ndarray], spin_history: list[dict]) -> dict:
    made = {}
    for system in [*artifacts.SYSTEMS, *sorted(set(units) - set(artifacts.SYSTEMS))]:
        values = dict(units.get(system) or {})
        made[system] = {key: _number(values.pop(key, None), f"units.{system}.{key}") for key in UNIT_KEYS}
        made[system] |= {key: _number(value, f"units.{system}.{key}") for key, value in values.items()}
        if made[system].get("perplexity") is None:
            last = [record["perplexity"] for record in spin_history if record.get("perplexity") is not None][-1:]
            of_training = last[0] if system == "spin" and last else None
            counted = unit_map.perplexity(counts[system]) if system in counts else None
            made[system]["perplexity"] = of_training if counted is None else counted
    return made


def _speaker(speaker: dict) -> dict:
    made = {
        system: {"accuracy": _number((speaker.get(system) or {}).get("accuracy"), f"speaker.{system}")}
        for system in artifacts.SYSTEMS
    }
    further = {key: value for key, value in speaker.items() if key not in (*artifacts.SYSTEMS, "chance")}
    return made | {"chance": _number(speaker.get("chance"), "speaker.chance")} | further


def _number(value, name: str):
    """A quality that could not be measured (not a number) is null in the report, and said in the log."""
    if isinstance(value, float) and not math.isfinite(value):
        get_logger("report").warning("%s is %s: written as not measured", name, value)
        return None
    return value


def _checked(tree, name: str, exp: Path, allow_none: bool = False):
    """The tree itself; an error rate that is not a number is a defect of decoding, not a result."""
    if isinstance(tree, dict):
        return {key: _checked(value, f"{name}.{key}", exp, allow_none) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_checked(value, f"{name}.{index}", exp, allow_none) for index, value in enumerate(tree)]
    if (tree is None and not allow_none) or (isinstance(tree, float) and not math.isfinite(tree)):
        raise _bad(artifacts.scores(exp), f"{name} is {tree}", 5, "a number")
    return tree


def _device(config: Config) -> str:
    from spin.runtime.devices import device_name, resolve_device

    return device_name(resolve_device(config.runtime.device))
