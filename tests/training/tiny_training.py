"""A training of seconds: a very small encoder with random weights on the synthetic corpus."""

import dataclasses
from pathlib import Path

import torch

from spin import artifacts
from spin.config import Config, CorpusConfig, EncoderConfig, GeneratedPart, SpinConfig
from spin.data.loader import MicroBatch, make_loader
from spin.data.plan import scan_training_cuts
from spin.models.encoder import Encoder, EncoderShape
from spin.objectives import find_objective
from spin.objectives.model import SpinModel
from spin.runtime import seeding
from spin.training import loop
from spin.training.loop import Training
from spin.training.monitor import Validation, choose_cuts
from tests.data.synthetic import RATE, noisy_copy, write_corpus

loop.LOG_EVERY_STEPS = 2  # reports between and together with checkpoints
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
    precision="float32",
    workers=0,
)


def make_corpus(folder: Path) -> Path:
    """A training part of 24 utterances and a valid part of 6; returns the folder."""
    write_corpus(folder, "spin_train", [1.0 + 0.07 * index for index in range(24)])
    write_corpus(folder, "valid", [1.0 + 0.2 * index for index in range(6)], pitch_name=False)
    return folder


def make_config(**changes) -> Config:
    part = GeneratedPart(first_speaker=0, speakers=3, utterances=1)  # tests write its manifests themselves
    corpus = CorpusConfig(name="synthetic", max_bad_share=0.2, parts={"spin_train": part, "valid": part})
    return Config(name="tiny", corpus=corpus, encoder=EncoderConfig(layer=3), spin=dataclasses.replace(SETTINGS, **changes))


def make_model(config: Config, shape: EncoderShape = SHAPE) -> SpinModel:
    seeding.seed_torch("tiny encoder")
    objective = find_objective(config.objective).create(config, shape.dim)
    return SpinModel(Encoder(shape), objective, config.encoder.layer).set_trainable(config.spin.trainable_layers).train()


def make_training(corpus: Path, folder: Path, transform=noisy_copy, **changes) -> Training:
    torch.set_num_threads(1)
    config = make_config(**changes)
    cuts = scan_training_cuts([artifacts.pitch_cuts(corpus, "spin_train")], config.spin)
    loader = make_loader(config, cuts, ((), (transform,)), torch.device("cpu"))
    validation = Validation(choose_cuts([artifacts.cuts(corpus, "valid")], 200))
    return Training(config, folder, folder / "tensorboard", make_model(config), loader, validation, cuts)


def after_each_step(training: Training, action) -> None:
    """Makes the training call action(step, batch) after every update; steps count from 0."""
    add = training.monitor.add

    def add_and_act(step, rate, loss, norm, batch):
        add(step, rate, loss, norm, batch)
        action(step, batch)

    training.monitor.add = add_and_act


def weights(training: Training) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in training.model.state_dict().items()}


def equal(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def noise_batch(lengths: list[int], seed: int = 2, labels: torch.Tensor | None = None) -> MicroBatch:
    """Pairs of views of noise, padded to the longest."""
    random = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([*lengths, *lengths])
    waveforms = torch.zeros(len(lengths), int(lengths.max()))
    for row, length in zip(waveforms, lengths, strict=True):
        row[:length] = 0.1 * torch.randn(int(length), generator=random)
    return MicroBatch(waveforms, lengths, labels)
