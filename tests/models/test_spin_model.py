"""Head, codebook, freezing, and our own files."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import spin
from spin.errors import CheckpointError, ConfigError
from spin.models.spin_model import SpinModel, load_model, save_model
from spin.models.storage import read_encoder, save_encoder
from tests.models.conftest import SHAPES, SMALL, make_encoder

BATCH = torch.randn(2, 5000, generator=torch.Generator().manual_seed(0)) * 0.1, torch.tensor([5000, 3210])


def make_model(name: str = "hubert", layer: int = 3, seed: int = 0, **options) -> SpinModel:
    return SpinModel.create(make_encoder(SHAPES[name], **options), layer, codebook_size=16, codebook_dim=8, seed=seed)


def test_logits_are_cosines_of_the_layer_that_is_read():
    model = make_model(layer=2)
    z, logits, frames = model(*BATCH)
    assert z.shape == (2, 15, 8) and logits.shape == (2, 15, 16) and frames.tolist() == [15, 9]
    hidden = model.encoder(*BATCH)[0][2]
    raw = hidden @ model.head.weight.T + model.head.bias
    torch.testing.assert_close(logits, F.cosine_similarity(raw[:, :, None], model.codebook.weight, dim=-1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(z.norm(dim=-1), torch.ones(2, 15))  # over features, not over time


def test_units_are_the_nearest_codes_of_valid_frames():
    model = make_model()
    logits, frames = model(*BATCH)[1:]
    units = model.units(*BATCH)
    assert [u.dtype for u in units] == [torch.int64] * 2
    assert all(torch.equal(u, row[:n].argmax(-1)) for u, row, n in zip(units, logits, frames, strict=True))


def test_codebook_by_hand():
    model = SpinModel(make_encoder(SMALL), nn.Linear(24, 2), nn.Linear(2, 2, bias=False), 1)
    with torch.no_grad():
        model.codebook.weight.copy_(torch.tensor([[3.0, 4.0], [0.0, -2.0]]))
        model.normalise_codebook()
        torch.testing.assert_close(model.codebook.weight, torch.tensor([[0.6, 0.8], [0.0, -1.0]]))
        model.head.weight.zero_()
        model.head.bias.copy_(torch.tensor([5.0, 0.0]))
    z, logits, _ = model(*BATCH)
    torch.testing.assert_close(z[0, 0], torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(logits[0, 0], torch.tensor([0.6, 0.0]))
    assert model.units(*BATCH)[0].unique().tolist() == [0]


def test_a_head_of_zeros_gives_no_nan():
    model = make_model()
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.head.bias)
    assert model(*BATCH)[1].isfinite().all()


def test_head_and_codebook_come_from_the_seed_alone():
    first = make_model(seed=5)
    torch.manual_seed(99)
    again, other = make_model(seed=5), make_model(seed=6)
    assert torch.equal(first.head.weight, again.head.weight) and torch.equal(first.codebook.weight, again.codebook.weight)
    assert not torch.equal(first.head.weight, other.head.weight)
    assert float(first.head.weight.detach().abs().max()) <= 1 / math.sqrt(24)
    torch.testing.assert_close(first.codebook.weight.norm(dim=1), torch.ones(16))


@pytest.mark.parametrize("name", ["hubert", "wavlm"])
@pytest.mark.parametrize("top", [0, 2, 3])
def test_only_the_top_layers_learn(name, top):
    model = make_model(name, layer=3).set_trainable(top)
    logits = model(*BATCH)[1]
    logits.square().sum().backward()
    learning = {key for key, parameter in model.named_parameters() if parameter.grad is not None}
    assert {key for key, parameter in model.named_parameters() if parameter.requires_grad} == learning
    layers = {key.split(".")[2] for key in learning if key.startswith("encoder.layers")}
    assert layers == {str(i) for i in range(3 - top, 3)}
    others = {key.split(".")[1] for key in learning if key.startswith("encoder.") and ".layers." not in key}
    assert others == ({"position_bias"} if name == "wavlm" and top == 3 else set())
    assert {"head.weight", "codebook.weight"} <= learning
    assert len(model.trainable_parameters()) == len(learning)


def test_layers_above_the_one_that_is_read_neither_run_nor_learn():
    model = make_model(layer=2).set_trainable(1).train()
    model.encoder.layers[2].register_forward_hook(lambda *_: pytest.fail("layer 3 was run"))
    model(*BATCH)[1].sum().backward()
    assert not any(parameter.requires_grad for parameter in model.encoder.layers[2].parameters())
    assert not any(parameter.requires_grad for parameter in model.encoder.layers[0].parameters())


def test_frozen_layers_have_no_dropout_and_are_never_skipped():
    model = make_model(dropout=0.5, layerdrop=1.0).set_trainable(1).train()
    below, again = (model.encoder(*BATCH, last_layer=2)[0] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(below, again, strict=True))
    assert not torch.equal(below[0], below[2])
    assert (
        model.encoder.layers[2].training and not model.encoder.layers[1].training and not model.encoder.feature_extractor.training
    )


def test_units_of_a_model_in_training_are_those_of_evaluation():
    model = make_model(dropout=0.5).set_trainable(2).train()
    in_training = model.units(*BATCH)
    assert model.training and model.encoder.layers[2].training and not model.encoder.layers[0].training
    assert all(torch.equal(a, b) for a, b in zip(in_training, model.eval().units(*BATCH), strict=True))


def test_bfloat16_autocast_keeps_logits_in_float32():
    model = make_model().set_trainable(2).train()
    with torch.autocast("cpu", torch.bfloat16):
        z, logits, _ = model(*BATCH)
    assert z.dtype == logits.dtype == torch.float32
    torch.testing.assert_close(z.norm(dim=-1), torch.ones(2, 15))
    logits.sum().backward()


@pytest.mark.parametrize("layer", [0, 4])
def test_a_layer_that_is_not_there(layer):
    with pytest.raises(ConfigError, match=r"encoder\.layer"):
        make_model(layer=layer)


def test_more_trainable_layers_than_run():
    with pytest.raises(ConfigError, match="trainable_layers"):
        make_model(layer=2).set_trainable(3)


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_save_and_load(tmp_path, name):
    model = make_model(name, layer=2)
    save_model(tmp_path / "model.safetensors", model, notes={"made_by": "a test"})
    loaded = spin.load_model(tmp_path / "model.safetensors")
    assert loaded.layer == 2 and loaded.encoder.shape == model.encoder.shape and not loaded.training
    assert model.state_dict().keys() == loaded.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), loaded.state_dict().values(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(model.units(*BATCH), loaded.units(*BATCH), strict=True))
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_encoder_in_half_precision(tmp_path, small_encoder, assert_close):
    save_encoder(tmp_path / "whole.safetensors", small_encoder)
    save_encoder(tmp_path / "half.safetensors", small_encoder, dtype="float16")
    half = spin.load_encoder(tmp_path / "half.safetensors")
    assert (tmp_path / "half.safetensors").stat().st_size < 0.7 * (tmp_path / "whole.safetensors").stat().st_size
    assert {parameter.dtype for parameter in half.parameters()} == {torch.float32}
    assert_close(half(*BATCH)[0][-1], small_encoder(*BATCH)[0][-1].detach(), 1e-2)
    whole = spin.load_encoder(str(tmp_path / "whole.safetensors"))
    assert torch.equal(whole(*BATCH)[0][-1], small_encoder(*BATCH)[0][-1])


def test_weights_that_cannot_be_stored(tmp_path, small_encoder):
    with torch.no_grad():
        small_encoder.layer_norm.weight[0] = 1e6
    with pytest.raises(CheckpointError, match=r"layer_norm\.weight"):
        save_encoder(tmp_path / "e.safetensors", small_encoder, dtype="float16")
    with pytest.raises(CheckpointError, match="bfloat8"):
        save_encoder(tmp_path / "e.safetensors", small_encoder, dtype="bfloat8")
    assert not list(tmp_path.iterdir())


def test_an_encoder_is_no_model_and_the_other_way_round(tmp_path, small_encoder):
    save_encoder(tmp_path / "e.safetensors", small_encoder)
    save_model(tmp_path / "m.safetensors", make_model())
    with pytest.raises(CheckpointError, match=r"load_encoder"):
        load_model(tmp_path / "e.safetensors")
    with pytest.raises(CheckpointError, match=r"load_model"):
        read_encoder(tmp_path / "m.safetensors")
