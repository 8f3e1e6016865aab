"""Stage 2 as a whole, on stage 1's real product: the same model whatever the number of loader workers, and a model that loads."""

from __future__ import annotations

import dataclasses
import logging

import pytest
import torch

from spin import artifacts
from spin.config import RuntimeConfig
from spin.errors import ConfigError, DataError
from spin.models.encoder import Encoder
from spin.models.spin_model import SpinModel, load_model
from spin.models.storage import save_encoder
from spin.perturbation.stage import analyse_pitch
from spin.runtime import seeding
from spin.runtime.files import read_jsonl
from spin.runtime.stages import Context
from spin.training.spin_stage import train_spin
from spin.training.spin_validation import valid_cuts
from tests.data.synthetic import write_corpus
from tests.training.tiny_training import SHAPE, make_config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with corpus/ after stage 1, and a small encoder."""
    folder = tmp_path_factory.mktemp("stage")
    write_corpus(folder / "corpus", "spin_train", [0.8, *(1.0 + 0.1 * index for index in range(12))], pitch_name=False)
    write_corpus(folder / "corpus", "valid", [1.0, 1.5, 2.0, 1.2], pitch_name=False, phones=False)
    seeding.seed_torch("tiny encoder")
    save_encoder(folder / "encoder.safetensors", Encoder(SHAPE))
    analyse_pitch(_context(folder, "stage1"))
    return folder


def _context(folder, name: str, **changes) -> Context:
    config = make_config(**({"max_steps": 4, "valid_every_steps": 2, "codebook_size": 8} | changes))
    encoder = dataclasses.replace(config.encoder, source=str(folder / "encoder.safetensors"))
    perturbation = dataclasses.replace(config.perturbation, tensorboard_pairs=0)
    config = dataclasses.replace(
        config, encoder=encoder, perturbation=perturbation, runtime=RuntimeConfig(nj=2, device="cpu", threads=1)
    )
    exp = folder / name
    return Context(config, exp, folder / "corpus", exp / "tensorboard", False, logging.getLogger("spin.test"), "./run.sh")


def _equal(first: SpinModel, second: SpinModel) -> bool:
    values = second.state_dict()
    return all(torch.equal(value, values[name]) for name, value in first.state_dict().items())


def test_the_model_does_not_depend_on_loader_workers_and_can_be_loaded(folder):
    for name, workers in (("alone", 0), ("workers", 2)):
        train_spin(_context(folder, name, workers=workers))
    paths = [artifacts.spin_model(folder / name) for name in ("alone", "workers")]
    models = [load_model(path) for path in paths]
    assert _equal(*models)
    units = models[0].units(torch.randn(2, 16_000), torch.tensor([16_000, 8_000]))
    assert [len(row) for row in units] == [49, 24] and int(torch.cat(units).max()) < 8
    rejected = list(read_jsonl(artifacts.rejects(folder / "alone", 2)))
    assert [record["id"] for record in rejected] == ["spin_train-0000"] and "too short" in rejected[0]["reason"]
    history = list(read_jsonl(artifacts.spin_history(folder / "alone")))
    assert [record["step"] for record in history] == [2, 4]
    assert all(record["pnmi"] is None and record["perplexity"] >= 1 for record in history)  # no phone alignment here


def test_the_seed_changes_the_model(folder):
    context = _context(folder, "seeded")
    train_spin(dataclasses.replace(context, config=dataclasses.replace(context.config, seed=1)))
    assert not _equal(*(load_model(artifacts.spin_model(folder / name)) for name in ("seeded", "alone")))


def test_stage_0s_manifest_alone_is_not_enough(folder, tmp_path):
    context = _context(folder, "early")
    (tmp_path / "corpus").mkdir()
    source = artifacts.cuts(folder / "corpus", "spin_train")
    artifacts.pitch_cuts(tmp_path / "corpus", "spin_train").write_bytes(source.read_bytes())
    artifacts.cuts(tmp_path / "corpus", "valid").write_bytes(artifacts.cuts(folder / "corpus", "valid").read_bytes())
    with pytest.raises(DataError, match=r"(?s)utterance spin_train-.*stage 1"):
        train_spin(dataclasses.replace(context, corpus=tmp_path / "corpus"))


def test_too_many_trainable_layers_name_the_key(folder):
    with pytest.raises(ConfigError, match="spin.trainable_layers"):
        train_spin(_context(folder, "layers", trainable_layers=9))


def test_valid_utterances_are_spread_over_the_parts(folder):
    context = _context(folder, "valid", valid_utterances=2)
    assert [cut.id for cut in valid_cuts(context.config, context.corpus)] == ["valid-0000", "valid-0003"]
    with pytest.raises(DataError, match="no such file"):
        valid_cuts(context.config, folder / "nowhere")
