"""A whole experiment's products, made up: small, the same every time, and shaped like those of a real run."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from spin import artifacts
from spin.config import Config, CorpusConfig
from spin.report.collect import collect
from spin.report.stage import draw
from spin.runtime.files import append_jsonl, write_json, write_text

PHONES = ["SIL", "AA", "AE", "IY", "UW", "B", "D", "K", "M", "N", "S", "SH", "R", "W", "HH"]
K = 24
SENTENCES = (
    ("a1", "THE OLD MAN SAW A BOAT", "THE OLD MEN SAW BOAT", "THE OLD MAN SAW A BOAT"),
    ("a2", "SHE SINGS", "SHE SINGS", "SHE SINGS"),
    ("a3", "NO BIRD FLIES BY NIGHT", "NO BIRD FLIES BY NIGHT", "NO BIRD FLY BY THE NIGHT"),
    ("a4", "GREEN IS THE HILL", "GREEN THE HALL", "GREEN THE HALL"),
)


def result(errors: int, words: int, cer: float) -> dict:
    """One system's result on one part by one method."""
    wer = 100 * errors / words
    return {"wer": wer, "cer": cer, "ci95": [wer - 1.5, wer + 1.5], "words": words, "errors": errors}


def scores(baseline: int = 412, spin: int = 361, p_value: float | None = 0.001) -> dict:
    """Results on one part, 1,000 words, by two methods; the arguments are the errors by HLG."""
    asr = {
        "baseline": {"test": {"ctc_1best": result(780, 1000, 48.5), "hlg": result(baseline, 1000, 30.1)}},
        "spin": {"test": {"ctc_1best": result(702, 1000, 43.9), "hlg": result(spin, 1000, 26.2)}},
    }
    reduction = 100 * (baseline - spin) / baseline if baseline else 0.0
    greedy = {"relative_wer_reduction": 10.0, "p_value": 0.002}
    return {"asr": asr, "gain": {"test": {"ctc_1best": greedy, "hlg": {"relative_wer_reduction": reduction, "p_value": p_value}}}}


def quality() -> dict:
    """Stage 3's figures."""
    shared = {"K": K, "phone_purity": 0.51, "cluster_purity": 0.2, "abx_within": 14.2, "bitrate": 190.5}
    return {
        "units": {
            "baseline": {**shared, "pnmi": 0.409, "abx_across": 22.3},
            "spin": {
                **shared,
                "pnmi": 0.426,
                "abx_across": 13.6,
                "phone_purity": 0.53,
                "cluster_purity": 0.19,
                "abx_within": 10.1,
            },
        },
        "speaker": {"baseline": {"accuracy": 0.98}, "spin": {"accuracy": 0.961}, "chance": 0.033},
    }


def counts(sharpness: float, seed: int) -> np.ndarray:
    """(P, K) frames of each phone and unit; the last unit is never used."""
    generator = np.random.default_rng(seed)
    table = generator.gamma(0.4, 30.0, (len(PHONES), K))
    for unit in range(K):
        table[unit % len(PHONES), unit] += sharpness
    table[:, -1] = 0
    return table.astype(np.int64)


def build(folder: Path, config: Config) -> SimpleNamespace:
    """Writes the products of stages 0 to 5 and returns what a stage's work is given."""
    exp, corpus = folder / "exp", folder / "data" / config.corpus.name
    for stage in range(5):
        write_json(artifacts.done_mark(exp if stage >= 2 else corpus, stage), {"stage": stage, "seconds": 10.5 * (stage + 1)})
    write_json(artifacts.unit_quality(exp), quality())
    write_json(artifacts.scores(exp), scores())
    artifacts.unit_phone_counts(exp).parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        artifacts.unit_phone_counts(exp), phones=np.array(PHONES), counts_baseline=counts(200, 1), counts_spin=counts(900, 2)
    )
    for index in range(6):
        record = {"step": 50 * index, "loss": 5.0 - 0.4 * index, "pnmi": 0.40 + 0.005 * index, "perplexity": 23.0 - 0.1 * index}
        append_jsonl(artifacts.spin_history(exp), record)
    for column, system in enumerate(artifacts.SYSTEMS):
        for seed in config.asr.seeds:
            for index in range(1, 8):
                record = {
                    "step": 100 * index,
                    "loss": 3.0 / index - 0.1 * column,
                    "valid_wer": 95.0 - 6 * index - 4 * column + seed,
                }
                append_jsonl(artifacts.asr_history(exp, system, seed), record)
        lines = ["\t".join((name, reference, (baseline, spin)[column])) for name, reference, baseline, spin in SENTENCES]
        write_text(artifacts.hypotheses(exp, system, config.asr.seeds[0], "test", "hlg"), "\n".join(lines) + "\n")
    command = "./run.sh --conf conf/mini.yaml --stage 0 --stop-stage 5"
    board = artifacts.tensorboard(exp, 5)
    return SimpleNamespace(
        config=config,
        exp=exp,
        corpus=corpus,
        tensorboard=board,
        command=command,
        force=False,
        log=logging.getLogger("spin.stage5"),
    )


@pytest.fixture(scope="session")
def config() -> Config:
    base = Config()
    return dataclasses.replace(base, name="mini", runtime=dataclasses.replace(base.runtime, device="cpu"), corpus=CorpusConfig())


@pytest.fixture(scope="session")
def drawn(tmp_path_factory, config):
    """(material, its pictures), drawn once for all tests that only look at them."""
    made = build(tmp_path_factory.mktemp("drawn"), config)
    content = collect(config, made.exp, made.corpus, made.command, "cpu", 3.21)
    return content, draw(content)


@pytest.fixture(scope="session")
def build_experiment():
    """build(folder, config), for tests that need more than one experiment."""
    return build


@pytest.fixture
def context(tmp_path, config) -> SimpleNamespace:
    return build(tmp_path, config)


@pytest.fixture
def material(context):
    return collect(context.config, context.exp, context.corpus, context.command, "cpu", 3.21)
