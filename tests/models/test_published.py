"""Models of the authors: their layouts and published names; every layer and code against the original implementations."""

import numpy as np
import pytest
import torch

import spin
from spin.models import importers
from spin.models.importers import ENCODER_SOURCES, PUBLISHED, EncoderSource, is_model_source, known_formats, load_encoder
from spin.models.model_files import MODEL_KEYS, read_model
from spin.models.weights import save_encoder
from spin.objectives.model import SpinModel, load_model, save_model
from spin.tools.export import export_transformers
from tests.models.conftest import SHAPES, check_close, make_encoder, make_model, same_units
from tests.models.writers import error_of, fairseq_content, foreign_class, rspin_content, spin_content


def test_rspin_checkpoint(tmp_path):
    model = make_model("wavlm")
    torch.save(rspin_content(model), tmp_path / "rspin.pt")
    loaded = load_model(tmp_path / "rspin.pt")
    assert loaded.layer == 3 and loaded.encoder.shape == model.encoder.shape and same_units(loaded, model)
    encoder, state, layer = read_model(tmp_path / "rspin.pt")
    assert list(state) == list(MODEL_KEYS) and layer == 3 and state["codebook.weight"].shape == (16, 8)
    assert "load_model" in error_of(tmp_path / "rspin.pt")


def test_spin_checkpoint_with_objects_of_its_trainer(tmp_path):
    model = make_model("wavlm", layer=2)
    content = spin_content(model)
    with foreign_class("pytorch_lightning.loggers.wandb.WandbLogger") as logger:
        with_state = logger()
        with_state.symbols = ["a", "b"]
        content["callbacks"] = {"loggers": [with_state], "score": np.float64(3.5), "array": np.arange(3)}
        torch.save(content, tmp_path / "spin.ckpt")
    loaded = load_model(tmp_path / "spin.ckpt")
    assert loaded.layer == 2 and same_units(loaded, model)


def test_a_published_model_by_name_is_downloaded_once(tmp_path, monkeypatch):
    monkeypatch.setenv("SPIN_CACHE", str(tmp_path / "cache"))
    model, path = make_model("wavlm", codebook_size=32), tmp_path / "wavlm_rspin_32-40k.pt"
    torch.save(rspin_content(model), path)
    monkeypatch.setitem(PUBLISHED, "wavlm_rspin_32", path.as_uri())
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


def load_toy(name: str):
    return make_encoder(SHAPES["wavlm"], seed=int(name.partition(":")[2]))


def test_a_new_encoder_source_takes_one_line(monkeypatch):
    toy = EncoderSource("toy:SEED", lambda name: name.startswith("toy:"), f"{__name__}:load_toy")
    monkeypatch.setattr(importers, "ENCODER_SOURCES", [*ENCODER_SOURCES, toy])
    encoder = load_encoder("toy:7", official_padding=True)
    assert encoder.official_padding and torch.equal(encoder.layers[0].ffn_in.weight, load_toy("toy:7").layers[0].ffn_in.weight)
    assert "toy:SEED" in known_formats() and "toy:SEED" in error_of("tuy:7")


@pytest.fixture(scope="module")
def hubert(golden_dir):
    return dict(np.load(golden_dir / "hubert_spin_golden.npz"))


@pytest.mark.parametrize("name", ["hubert_fairseq.pt", "hubert_s3prl_converted.pt"])
@torch.no_grad()
def test_hubert_official_padding(golden_dir, hubert, name):
    encoder = spin.load_encoder(golden_dir / name, official_padding=True)
    waveforms, lengths = torch.tensor(hubert["wav"]), torch.tensor(hubert["lens"])
    hidden, frame_lengths = encoder(waveforms, lengths)
    assert frame_lengths.tolist() == hubert["feat_len"].tolist()
    check_close(encoder.local_features(waveforms, lengths)[0], hubert["layer0"])
    for layer in range(1, 5):
        check_close(hidden[layer], hubert[f"layer{layer}"])


@torch.no_grad()
def test_hubert_batch_equals_each_utterance_alone(golden_dir, hubert):
    encoder = load_encoder(golden_dir / "hubert_fairseq.pt")
    hidden, frame_lengths = encoder(torch.tensor(hubert["wav"]), torch.tensor(hubert["lens"]))
    for i in range(6):
        alone = hubert[f"single{i}_layer4"]
        assert frame_lengths[i] == alone.shape[1]
        check_close(hidden[4][i : i + 1, : frame_lengths[i]], alone)


@pytest.mark.parametrize(
    ("name", "figures", "first"),
    [
        ("hf_hubert", "hf_hubert/golden.npz", 0),
        ("hf_wavlm", "hf_wavlm/golden.npz", 0),
        ("wavlm_unilm.pt", "wavlm_unilm_golden.npz", 1),
    ],
)
@torch.no_grad()
def test_transformers_folders_and_unilm(golden_dir, name, figures, first):
    """Layers of the figures begin with our layer `first`."""
    encoder, golden = load_encoder(golden_dir / name), np.load(golden_dir / figures)
    lengths = (golden["mask"] if "mask" in golden else ~golden["padding_mask"]).sum(1)
    waveforms, lengths = torch.tensor(golden["wav"]), torch.tensor(lengths)
    hidden, frames = encoder(waveforms, lengths)
    encoder.official_padding = True
    official, _ = encoder(waveforms, lengths)
    for layer in range(first, 5):
        check_close(official[layer], golden[f"layer{layer - first}"])
        check_close(hidden[layer][1:, : frames[1]], golden[f"short_layer{layer - first}"])


def project(model: SpinModel, waveforms: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """(z, similarities to the codes, frame lengths) of a padded batch."""
    hidden, frames = model.encoder(waveforms, lengths, model.layer)
    projections = model.head(hidden[-1])
    return torch.nn.functional.normalize(projections, dim=-1), model.objective.similarities(projections), frames


@torch.no_grad()
def test_official_spin_checkpoint_in_a_padded_batch(golden_dir, hubert):
    model = load_model(golden_dir / "spin_official.ckpt")
    model.encoder.official_padding = True
    waveforms, lengths = torch.tensor(hubert["wav"]), torch.tensor(hubert["lens"])
    z, logits, frame_lengths = project(model, waveforms, lengths)
    assert frame_lengths.tolist() == hubert["feat_len"].tolist()
    check_close(z, hubert["repr"])
    check_close(logits / 0.1, hubert["logits"])
    assert np.array_equal(logits.argmax(-1), hubert["codes"])
    units = model.units(waveforms, lengths)
    assert all(np.array_equal(row, codes[:n]) for row, codes, n in zip(units, hubert["codes"], hubert["feat_len"], strict=True))


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 2, 0], [3], [2, 4, 4, 2, 1]])
def test_units_of_the_official_checkpoint_do_not_depend_on_the_batch(golden_dir, hubert, order):
    model = load_model(golden_dir / "spin_official.ckpt")
    waveforms, lengths = torch.tensor(hubert["wav"])[order], torch.tensor(hubert["lens"])[order]
    _, logits, frames = project(model, waveforms, lengths)
    for row, n, units, i in zip(logits.argmax(-1), frames, model.units(waveforms, lengths), order, strict=True):
        assert np.array_equal(units, hubert[f"single{i}_codes"][0])
        assert np.array_equal(row[:n], hubert[f"single{i}_codes"][0])
