"""A Spin training of seconds: a very small encoder with random weights on the synthetic corpus."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from lhotse import CutSet

from spin import artifacts
from spin.config import Config, CorpusConfig, EncoderConfig, SpinConfig
from spin.data.pair_cuts import scan_pair_cuts
from spin.models.encoder import Encoder, EncoderShape
from spin.models.spin_model import SpinModel
from spin.runtime import seeding
from spin.training.spin_loop import SpinTraining
from spin.training.spin_validation import Validation
from tests.data.synthetic import RATE, write_corpus
from tests.data.test_pairs import noisy_copy

SHAPE = EncoderShape(conv_channels=(16,) * 7, dim=32, layers=3, heads=2, ffn_dim=48, pos_conv_taps=8, pos_conv_groups=2)
SETTINGS = SpinConfig(
    codebook_size=16,
    codebook_dim=24,
    trainable_layers=2,
    learning_rate=1e-3,
    warmup_steps=4,
    max_steps=12,
    batch_seconds=8.0,
    min_samples=RATE,
    max_samples=2 * RATE,
    valid_every_steps=6,
    checkpoint_every_steps=3,
    log_every_steps=2,
    min_perplexity_share=0.0,
    precision="float32",
    workers=0,
)


def make_corpus(folder: Path) -> Path:
    """A training part of 24 utterances and a valid part of 6; returns the folder."""
    write_corpus(folder, "spin_train", [1.0 + 0.07 * index for index in range(24)])
    write_corpus(folder, "valid", [1.0 + 0.2 * index for index in range(6)], pitch_name=False)
    return folder


def make_config(**changes) -> Config:
    settings = dataclasses.replace(SETTINGS, **changes)
    corpus = CorpusConfig(name="synthetic", max_bad_share=0.2)
    return Config(name="tiny", corpus=corpus, encoder=EncoderConfig(layer=3), spin=settings)


def make_model(config: Config) -> SpinModel:
    seeding.seed_torch("tiny encoder")
    settings = config.spin
    model = SpinModel.create(Encoder(SHAPE), config.encoder.layer, settings.codebook_size, settings.codebook_dim, config.seed)
    return model.set_trainable(settings.trainable_layers)


def make_training(corpus: Path, exp: Path, perturb=noisy_copy, model: SpinModel | None = None, **changes) -> SpinTraining:
    torch.set_num_threads(1)
    config = make_config(**changes)
    settings = config.spin
    cuts = scan_pair_cuts(
        [artifacts.pitch_cuts(corpus, "spin_train")],
        min_samples=settings.min_samples,
        max_samples=settings.max_samples,
        batch_seconds=settings.batch_seconds,
        equal_lengths=settings.equal_lengths,
    )
    valid = list(CutSet.from_jsonl_lazy(artifacts.cuts(corpus, "valid")))
    validation = Validation(valid, settings.codebook_size)
    return SpinTraining(config, exp, exp / "tensorboard", model or make_model(config), cuts, perturb, validation)


def weights(training: SpinTraining) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in training.updater.model.state_dict().items()}
