"""A small corpus with phones, and a very small encoder and Spin model: enough for every part of stage 3."""

import json
import logging
import runpy
from pathlib import Path

import pytest
import torch

from spin import artifacts, products
from spin.config_io import dump_config, load_config
from spin.data.cuts import read_cuts, write_cuts
from spin.models.weights import save_encoder
from spin.objectives.model import save_model
from spin.runtime.files import write_text
from spin.runtime.product import Context
from tests.data.synthetic import write_corpus
from tests.models.conftest import make_model

SCRIPT = Path(__file__).resolve().parents[2] / "local" / "3_extract_units.py"
extract_units = runpy.run_path(str(SCRIPT))["extract_units"]
PARTS = ("spin_train", "test")
SETTINGS = (
    "systems=[baseline,spin]",
    "encoder.layer=3",
    "spin.codebook_size=12",
    "corpus={name: small, kind: lhotse, alignment: none, spin_train: [spin_train], asr_train: [spin_train]}",
    "corpus.valid=[test]",
    "corpus.test=[test]",
    "units={kmeans_starts: 2, pictures: 1}",
    "runtime={nj: 1, device: cpu}",
)


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory) -> Path:
    """A folder with cuts of the parts spin_train and test, by three speakers."""
    corpus = tmp_path_factory.mktemp("corpus") / "small"
    for part, count in zip(PARTS, (10, 15)):
        write_corpus(corpus, part, [1.3 + 0.05 * index for index in range(count)], pitch_name=False)
    return corpus


@pytest.fixture(scope="session")
def small_models(tmp_path_factory) -> tuple[Path, Path]:
    """Files of an encoder and of a Spin model whose top layer differs from it."""
    folder = tmp_path_factory.mktemp("models")
    model = make_model(codebook_size=12)
    save_encoder(folder / "encoder.safetensors", model.encoder)
    with torch.no_grad():
        for parameter in model.encoder.layers[2].parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    save_model(folder / "model.safetensors", model)
    return folder / "encoder.safetensors", folder / "model.safetensors"


@pytest.fixture(scope="session")
def make_context(small_models):
    """make_context(exp, corpus, "key=value", ...) -> the Context of stage 3, with finished stages 0 to 2.

    `corpus` is a folder with cuts_<part>.jsonl.gz, from which the manifests are made.
    """

    def make(exp: Path, corpus: Path, *changes: str) -> Context:
        given, data = {part: str(artifacts.cuts(corpus, part)) for part in PARTS}, exp.with_name(f"{exp.name}-data")
        places = [f"encoder.source={small_models[0]}", f"corpus.manifests={json.dumps(given)}", f"corpus.data_dir={data}"]
        config = load_config(None, [*SETTINGS, *places, *changes])
        context = Context(config, exp, artifacts.corpus_folder(data, "small"), 3, logging.getLogger("spin.test"))
        for part in PARTS:
            with products.manifest(context, part).building() as path:
                write_cuts(path, read_cuts(given[part]))
        for product in (products.speaker_pitch(context), products.pitch(context, "spin_train")):
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
