"""A corpus of noise bursts with known phones, and a very small encoder and Spin model: enough for every part of stage 3."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import runpy
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from lhotse import MonoCut, Recording, SupervisionSegment
from lhotse.supervision import AlignmentItem

from spin import artifacts, products
from spin.config import Config, CorpusConfig, EncoderConfig, RuntimeConfig, SpinConfig, UnitsConfig
from spin.data.cuts import read_cuts, write_cuts
from spin.models.architecture import EncoderShape
from spin.models.encoder import Encoder
from spin.models.safetensors_io import save_encoder
from spin.objectives.model import SpinModel, save_model
from spin.runtime.config_io import dump_config
from spin.runtime.context import Context
from spin.runtime.files import write_json, write_jsonl, write_text

SCRIPT = Path(__file__).resolve().parents[2] / "local" / "3_extract_units.py"
extract_units = runpy.run_path(str(SCRIPT))["extract_units"]
PARTS = ("spin_train", "test")
SHAPE = EncoderShape(conv_channels=(8,) * 7, dim=16, layers=3, heads=2, ffn_dim=32, pos_conv_taps=8, pos_conv_groups=2)
SMALL_SPIN = SpinConfig(codebook_size=12, codebook_dim=8)
PHONES = {"AA": 700, "IY": 300, "S": 3500, "M": 150}  # each a tone of its own, in Hz


def speak(random: np.random.Generator, phones: list[str], pitch: float) -> tuple[np.ndarray, list[AlignmentItem]]:
    """Tones of 80 to 140 ms in the order of `phones`, with silence before and after."""
    pieces, items, at = [np.zeros(1600)], [], 0.1
    for phone in phones:
        samples = 160 * int(random.integers(8, 15))
        tone = np.sin(2 * np.pi * PHONES[phone] * pitch * np.arange(samples) / artifacts.SAMPLE_RATE)
        pieces.append(0.3 * tone)
        items.append(AlignmentItem(phone, round(at, 4), samples / artifacts.SAMPLE_RATE))
        at += samples / artifacts.SAMPLE_RATE
    audio = np.concatenate([*pieces, np.zeros(1600)])
    return (audio + 0.01 * random.normal(size=len(audio))).astype(np.float32), items


def make_part(corpus: Path, part: str, speakers: int, utterances: int, seed: int) -> None:
    """Writes audio of some speakers with their phones, and its manifest."""
    random, cuts = np.random.default_rng(seed), []
    (corpus / "audio" / part).mkdir(parents=True)
    for speaker, number in itertools.product(range(speakers), range(utterances)):
        audio, items = speak(random, list(random.choice(list(PHONES), 8)), 1 + 0.1 * speaker)
        name = f"{part}-{speaker}-{number}"
        path = corpus / "audio" / part / f"{name}.wav"
        soundfile.write(path, audio, artifacts.SAMPLE_RATE, subtype="FLOAT")
        recording = Recording.from_file(path, recording_id=name)
        alignment, duration = {artifacts.PHONE_TIER: items}, recording.duration
        said = SupervisionSegment(name, name, 0, duration, text="A TEST", speaker=f"{part}{speaker}", alignment=alignment)
        cuts.append(MonoCut(name, 0, duration, 0, [said], recording=recording))
    write_cuts(artifacts.cuts(corpus, part), cuts)


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory) -> Path:
    """A folder with cuts of the parts spin_train and test."""
    corpus = tmp_path_factory.mktemp("corpus") / "small"
    make_part(corpus, "spin_train", 2, 5, 1)
    make_part(corpus, "test", 3, 5, 2)
    return corpus


@pytest.fixture(scope="session")
def small_models(tmp_path_factory) -> tuple[Path, Path]:
    """Files of an encoder and of a Spin model whose top layer differs from it."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    save_encoder(folder / "encoder.safetensors", Encoder(SHAPE))
    config = Config(encoder=EncoderConfig(source=str(folder / "encoder.safetensors"), layer=3), spin=SMALL_SPIN)
    model = SpinModel.create(config)
    with torch.no_grad():
        for parameter in model.encoder.layers[2].parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    save_model(folder / "model.safetensors", model)
    return folder / "encoder.safetensors", folder / "model.safetensors"


@pytest.fixture(scope="session")
def make_context(small_models):
    """make_context(exp, corpus, section={key: value}, systems=...) -> the Context of stage 3, with finished stages 0 to 2.

    `corpus` is a folder with cuts_<part>.jsonl.gz, from which the manifests are made.
    """

    def make(exp: Path, corpus: Path, /, systems=("baseline", "spin"), **changes: dict) -> Context:
        given, data = {part: str(artifacts.cuts(corpus, part)) for part in PARTS}, exp.with_name(f"{exp.name}-data")
        roles = {"asr_train": ("spin_train",), "valid": ("test",), "alignment": "none", "data_dir": str(data)}
        sections = {
            "encoder": EncoderConfig(source=str(small_models[0]), layer=3),
            "spin": SMALL_SPIN,
            "corpus": CorpusConfig(name="small", kind="lhotse", manifests=given, **roles),
            "units": UnitsConfig(kmeans_starts=2, pictures=1),
            "runtime": RuntimeConfig(nj=1, device="cpu"),
        }
        sections = {name: dataclasses.replace(section, **changes.get(name, {})) for name, section in sections.items()}
        config = Config(name="small", systems=systems, **sections)
        context = Context(config, exp, artifacts.corpus_folder(data, "small"), 3, logging.getLogger("spin.test"))
        trained, tested = context.config.corpus.spin_train, context.config.corpus.test
        for part in dict.fromkeys((*trained, *tested)):
            with products.manifest(context, part).building() as path:
                write_cuts(path, read_cuts(given[part]))
        for product in (products.speaker_pitch(context), *(products.pitch(context, part) for part in trained)):
            with product.building() as path:
                (path / "nothing.txt" if path.is_dir() else path).write_text("")
        with products.spin(context).building() as path:
            artifacts.model_in(path).write_bytes(small_models[1].read_bytes())
        return context

    return make


@pytest.fixture(scope="session")
def finished(tmp_path_factory, small_corpus, make_context) -> Context:
    """A finished stage 3 of the baseline and Spin, for tests that change nothing in it."""
    context = make_context(tmp_path_factory.mktemp("finished") / "exp", small_corpus)
    extract_units(context)
    write_text(artifacts.config_file(context.exp), dump_config(context.config))
    return context


@pytest.fixture(scope="session")
def unit_experiment(tmp_path_factory) -> Path:
    """An experiment with nothing but units of 6 codes: the baseline's are noise, Spin's are predictable."""
    corpus = CorpusConfig(name="small", spin_train=("train",), asr_train=("train",), valid=(), test=("test",))
    exp = tmp_path_factory.mktemp("units") / "exp"
    write_text(artifacts.config_file(exp), dump_config(Config(name="x", corpus=corpus)))
    for number, part in enumerate(("train", "test")):
        random = np.random.default_rng(number)
        steps = [random.choice([1, 1, 1, 2, 3], size=int(random.integers(1, 40))) for _ in range(30)]
        sequences = {"baseline": [random.integers(0, 6, 30) for _ in range(30)], "spin": [np.cumsum(own) % 6 for own in steps]}
        for system, lines in sequences.items():
            folder = artifacts.units_folder(exp, system, part)
            records = ({"id": f"{part}-{i}", "units": np.repeat(own, 2).tolist()} for i, own in enumerate(lines))
            write_jsonl(artifacts.units_lines(folder), records)
            write_json(artifacts.codebook_in(folder), {"codebook_size": 6})
    return exp
