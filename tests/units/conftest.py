"""A corpus of noise bursts with known phones, and a very small encoder and Spin model: enough for every part of stage 3."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from lhotse import MonoCut, Recording, SupervisionSegment
from lhotse.supervision import AlignmentItem

from spin import artifacts
from spin.config import Config, CorpusConfig, EncoderConfig, RuntimeConfig, SpinConfig, UnitsConfig
from spin.models.encoder import Encoder, EncoderShape
from spin.models.spin_model import SpinModel, save_model
from spin.models.storage import save_encoder
from spin.runtime.files import write_jsonl
from spin.runtime.stages import Context

SHAPE = EncoderShape(conv_channels=(8,) * 7, dim=16, layers=3, heads=2, ffn_dim=32, pos_conv_taps=8, pos_conv_groups=2)
PHONES = {"AA": 700, "IY": 300, "S": 3500, "M": 150}  # each a tone of its own, in Hz


def speak(random: np.random.Generator, phones: list[str], pitch: float) -> tuple[np.ndarray, list[AlignmentItem]]:
    """Tones of 80 to 140 ms in the order of `phones`, silence before and after."""
    pieces, items, at = [np.zeros(1600)], [], 0.1
    for phone in phones:
        samples = 160 * int(random.integers(8, 15))
        tone = np.sin(2 * np.pi * PHONES[phone] * pitch * np.arange(samples) / artifacts.SAMPLE_RATE)
        pieces.append(0.3 * tone)
        items.append(AlignmentItem(phone, round(at, 4), samples / artifacts.SAMPLE_RATE))
        at += samples / artifacts.SAMPLE_RATE
    audio = np.concatenate([*pieces, np.zeros(1600)])
    return (audio + 0.01 * random.normal(size=len(audio))).astype(np.float32), items


def make_cut(folder: Path, name: str, speaker: str, audio: np.ndarray, items: list, rate: int = artifacts.SAMPLE_RATE) -> MonoCut:
    """Writes the audio and describes it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.wav"
    soundfile.write(path, audio, rate, subtype="FLOAT")
    recording = Recording.from_file(path, recording_id=name)
    alignment = {artifacts.PHONE_TIER: items} if items else None
    supervision = SupervisionSegment(
        id=name, recording_id=name, start=0, duration=recording.duration, text="A TEST", speaker=speaker, alignment=alignment
    )
    return MonoCut(name, 0, recording.duration, 0, [supervision], recording=recording)


def make_part(corpus: Path, part: str, speakers: int, utterances: int, seed: int) -> None:
    random, cuts = np.random.default_rng(seed), []
    for speaker in range(speakers):
        for number in range(utterances):
            audio, items = speak(random, list(random.choice(list(PHONES), 8)), 1 + 0.1 * speaker)
            cuts.append(make_cut(corpus / "audio" / part, f"{part}-{speaker}-{number}", f"{part}{speaker}", audio, items))
    write_jsonl(artifacts.cuts(corpus, part), (cut.to_dict() for cut in cuts))


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory) -> Path:
    """A corpus folder with parts spin_train and test."""
    corpus = tmp_path_factory.mktemp("corpus") / "small"
    make_part(corpus, "spin_train", 2, 5, 1)
    make_part(corpus, "test", 3, 5, 2)
    return corpus


@pytest.fixture(scope="session")
def small_models(tmp_path_factory) -> tuple[Path, Path]:
    """Files of an encoder and of a Spin model whose top layer differs from it."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    encoder = Encoder(SHAPE)
    save_encoder(folder / "encoder.safetensors", encoder)
    model = SpinModel.create(encoder, 3, 12, 8, seed=0)
    with torch.no_grad():
        for parameter in encoder.layers[2].parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    save_model(folder / "model.safetensors", model)
    return folder / "encoder.safetensors", folder / "model.safetensors"


@pytest.fixture
def make_context(small_models):
    """make_context(exp, corpus, section={key: value}) -> the Context of stage 3, with the Spin model in its place."""

    def make(exp: Path, corpus: Path, /, **changes: dict) -> Context:
        sections = {
            "encoder": EncoderConfig(source=str(small_models[0]), layer=3),
            "spin": SpinConfig(codebook_size=12, codebook_dim=8),
            "corpus": CorpusConfig(name="small", asr_train=("spin_train",), valid=("test",)),
            "units": UnitsConfig(kmeans_starts=2, kmeans_epochs=2, pictures=1),
            "runtime": RuntimeConfig(nj=1, device="cpu"),
        }
        sections = {name: dataclasses.replace(section, **changes.get(name, {})) for name, section in sections.items()}
        target = artifacts.spin_model(exp)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(small_models[1].read_bytes())
        log = logging.getLogger("spin.test")
        return Context(Config(name="small", **sections), exp, corpus, artifacts.tensorboard(exp, 3), False, log, "command")

    return make
