"""Models of the authors: Spin's and R-Spin's layouts, published names, and the test whether a source is a model."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from spin.models import importers, published
from spin.models.importers import ENCODER_SOURCES, EncoderSource, known_formats, load_encoder
from spin.models.model_files import MODEL_KEYS, read_model
from spin.models.published import is_model_source
from spin.models.safetensors_io import save_encoder
from spin.objectives.model import SpinModel, load_model, save_model
from spin.tools.export import export_transformers
from tests.models.conftest import SHAPES, make_encoder, make_model
from tests.models.writers import error_of, fairseq_content, foreign_class, rspin_content, spin_content

BATCH = torch.randn(2, 5000, generator=torch.Generator().manual_seed(0)) * 0.1, torch.tensor([5000, 3210])


def same_units(one: SpinModel, other: SpinModel) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.units(*BATCH), other.units(*BATCH), strict=True))


def test_rspin_checkpoint(tmp_path):
    model = make_model("wavlm")
    torch.save(rspin_content(model), tmp_path / "rspin.pt")
    loaded = load_model(tmp_path / "rspin.pt")
    assert loaded.layer == 3 and loaded.encoder.shape == model.encoder.shape and same_units(loaded, model)
    encoder, state, layer = read_model(tmp_path / "rspin.pt")
    assert list(state) == list(MODEL_KEYS) and layer == 3 and state["codebook.weight"].shape == (16, 8)
    assert "load_model" in error_of(tmp_path / "rspin.pt")


def test_rspin_checkpoints_that_differ(tmp_path):
    path = tmp_path / "rspin.pt"

    def message(change) -> str:
        content = rspin_content(make_model("wavlm"))
        change(content)
        torch.save(content, path)
        return error_of(path, read_model)

    assert "(32, 8)" in message(lambda content: content["cfg"].update(codebook_size=32))
    assert "head.bias" in message(lambda content: content["state_dict"].pop("pred_head.bias"))
    assert "'decoder.weight'" in message(lambda content: content["state_dict"].update({"decoder.weight": torch.zeros(1)}))
    assert "known formats" in message(lambda content: content["state_dict"].pop("codebook.weight"))
    assert "head.weight" in message(lambda content: content["state_dict"].update({"pred_head.weight": torch.zeros(8, 5)}))
    assert "not finite" in message(lambda content: content["state_dict"]["codebook.weight"].fill_(float("nan")))


def test_spin_checkpoint_with_objects_of_its_trainer(tmp_path):
    model = make_model("wavlm", layer=2)
    content = spin_content(model)
    with foreign_class("pytorch_lightning.loggers.wandb.WandbLogger") as logger:
        content["callbacks"] = {"logger": logger()}
        torch.save(content, tmp_path / "spin.ckpt")
    loaded = load_model(tmp_path / "spin.ckpt")
    assert loaded.layer == 2 and same_units(loaded, model)
    for layer in (0, 4, "3", True):
        content = spin_content(model, {"model": {"encoder": {"use_layer": layer}}})
        torch.save(content, tmp_path / "spin.ckpt")
        assert f"layer {layer!r}" in error_of(tmp_path / "spin.ckpt", read_model)


def test_a_published_model_by_name_is_downloaded_once(tmp_path, monkeypatch):
    monkeypatch.setenv("SPIN_CACHE", str(tmp_path / "cache"))
    model, path = make_model("wavlm", codebook_size=32), tmp_path / "wavlm_rspin_32-40k.pt"
    torch.save(rspin_content(model), path)
    monkeypatch.setitem(published.PUBLISHED, "wavlm_rspin_32", path.as_uri())
    assert same_units(load_model("wavlm_rspin_32"), model)
    path.unlink()
    assert same_units(load_model("wavlm_rspin_32"), model)
    assert (tmp_path / "cache" / "models" / path.name).is_file()


@pytest.mark.parametrize("zipped", [True, False])
def test_models_are_distinguished_from_encoders(tmp_path, zipped):
    model = make_model("wavlm")
    contents = {"spin.ckpt": spin_content(model), "rspin.pt": rspin_content(model), "encoder.pt": fairseq_content(model.encoder)}
    for name, content in contents.items():
        torch.save(content, tmp_path / name, _use_new_zipfile_serialization=zipped)
    save_model(tmp_path / "model.safetensors", model)
    save_encoder(tmp_path / "encoder.safetensors", model.encoder)
    export_transformers(tmp_path / "folder", model.encoder)
    (tmp_path / "damaged.pt").write_bytes((tmp_path / "spin.ckpt").read_bytes()[:30])
    (tmp_path / "damaged.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:30])
    found = {path.name for path in tmp_path.iterdir() if is_model_source(path)}
    assert found == {"spin.ckpt", "rspin.pt", "model.safetensors"}
    assert is_model_source("spin_hubert_256")
    assert not any(is_model_source(name) for name in ("mini", "HUBERT_BASE", str(tmp_path / "nothing")))


def test_the_test_of_a_source_imports_no_torch():
    code = "import sys, spin.models.published as p; print(p.is_model_source('mini'), 'torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["False", "False"]


def load_toy(name: str):
    return make_encoder(SHAPES["wavlm"], seed=int(name.partition(":")[2]))


def test_a_new_encoder_source_takes_one_line(monkeypatch):
    toy = EncoderSource("toy:SEED", lambda name: name.startswith("toy:"), f"{__name__}:load_toy")
    monkeypatch.setattr(importers, "ENCODER_SOURCES", [*ENCODER_SOURCES, toy])
    encoder = load_encoder("toy:7", official_padding=True)
    assert encoder.official_padding and torch.equal(encoder.layers[0].ffn_in.weight, load_toy("toy:7").layers[0].ffn_in.weight)
    assert "toy:SEED" in known_formats() and "toy:SEED" in error_of("tuy:7")
