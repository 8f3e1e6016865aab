"""The Spin model: units, the layers that train, gradients through the official weights, and our own files."""

import math

import pytest
import torch
import torch.nn.functional as F

from spin.config import Config
from spin.errors import ConfigError
from spin.models.weights import read
from spin.objectives.model import SpinModel, load_model, save_model, select_valid
from spin.objectives.rspin import RSpin
from spin.objectives.spin import Spin
from tests.models.conftest import BATCH, SHAPES, SMALL, make_encoder, make_model, same_units

PAIR = torch.cat([BATCH[0], BATCH[0].flip(0)]), torch.tensor([5000, 3210, 5000, 3210])


def train_backward(model: SpinModel, batch=PAIR) -> None:
    represented = model.run_trainable(model.run_frozen(*batch))
    model.objective(represented).value.backward()


def test_units_are_the_nearest_codes_of_the_layer_that_is_read():
    model = make_model(layer=2)
    hidden = model.encoder(*BATCH)[0][2].detach()
    raw = hidden @ model.head.weight.T + model.head.bias
    cosines = F.cosine_similarity(raw[:, :, None], model.codebook.weight, dim=-1)
    units = model.units(*BATCH)
    assert [len(row) for row in units] == [15, 9] and units[0].dtype == torch.int64
    assert all(torch.equal(row, expected[: len(row)]) for row, expected in zip(units, cosines.argmax(-1), strict=True))
    similarities = model.objective.similarities(model.objective.represent(hidden)[0])
    torch.testing.assert_close(similarities, cosines, rtol=1e-4, atol=1e-5)


def test_codebook_by_hand():
    model = SpinModel(make_encoder(SMALL), Spin(24, 2, 2), 1)
    with torch.no_grad():
        model.codebook.weight.copy_(torch.tensor([[3.0, 4.0], [0.0, -2.0]]))
        model.objective.after_step()
        torch.testing.assert_close(model.codebook.weight, torch.tensor([[0.6, 0.8], [0.0, -1.0]]))
        model.head.weight.zero_()
        model.head.bias.copy_(torch.tensor([5.0, 0.0]))
    (projections,) = model.objective.represent(torch.zeros(1, 24))
    torch.testing.assert_close(model.objective.similarities(projections)[0], torch.tensor([0.6, 0.0]))
    assert model.units(*BATCH)[0].unique().tolist() == [0]
    model.head.bias.data.zero_()  # a head of zeros gives no NaN
    assert model.objective.similarities(model.objective.represent(torch.randn(5, 24))[0]).isfinite().all()


def test_head_and_codebook_come_from_the_seed_alone():
    first = Spin.create(Config(seed=5), 24)
    torch.manual_seed(99)
    again, other = Spin.create(Config(seed=5), 24), Spin.create(Config(seed=6), 24)
    assert torch.equal(first.head.weight, again.head.weight) and torch.equal(first.codebook.weight, again.codebook.weight)
    assert not torch.equal(first.head.weight, other.head.weight)
    assert float(first.head.weight.detach().abs().max()) <= 1 / math.sqrt(24)
    torch.testing.assert_close(first.codebook.weight.norm(dim=1), torch.ones(128))


@pytest.mark.parametrize("name", ["hubert", "wavlm"])
@pytest.mark.parametrize("top", [0, 2, 3, 4])
def test_only_the_top_layers_train(name, top):
    model = make_model(name).set_trainable(top)
    train_backward(model)
    trained = {key for key, parameter in model.named_parameters() if parameter.grad is not None}
    assert model.trainable_parameters().keys() == trained
    layers = {int(key.split(".")[2]) + 1 for key in trained if key.startswith("encoder.layers")}
    assert layers == set(range(max(1, 4 - top), 4)) & set(range(1, 4))
    others = {key.split(".")[1] for key in trained if key.startswith("encoder.")} - {"layers"}
    below = {"feature_extractor", "feature_projection", "pos_conv", "layer_norm"} if top == 4 else set()
    assert others == below | ({"position_bias"} if name == "wavlm" and top >= 3 else set())
    assert {"objective.head.weight", "objective.codebook.weight"} <= trained


def test_layers_above_the_one_that_is_read_neither_run_nor_train():
    model = make_model(layer=2).set_trainable(1).train()
    model.encoder.layers[2].register_forward_hook(lambda *_: pytest.fail("layer 3 was run"))
    train_backward(model)
    model.units(*BATCH)
    assert not any(parameter.requires_grad for layer in (0, 2) for parameter in model.encoder.layers[layer].parameters())


def test_frozen_parts_stay_in_evaluation_mode_and_units_restore_the_mode():
    model = make_model().set_trainable(1).train()
    units = model.units(*BATCH)
    assert model.training and model.encoder.layers[2].training
    assert not model.encoder.layers[1].training and not model.encoder.feature_extractor.training
    assert all(torch.equal(a, b) for a, b in zip(units, model.eval().units(*BATCH), strict=True))


def test_valid_frames_in_the_order_of_views():
    hidden = torch.arange(4 * 3 * 1.0).reshape(4, 3, 1)
    selected = select_valid(hidden, torch.tensor([3, 1, 3, 1]))
    assert selected.squeeze(-1).tolist() == [[0.0, 1.0, 2.0, 3.0], [6.0, 7.0, 8.0, 9.0]]
    assert torch.equal(select_valid(hidden, torch.tensor([3, 3, 3, 3])), hidden.reshape(2, 6, 1))


def test_layers_that_are_not_there():
    for layer in (0, 4):
        with pytest.raises(ConfigError, match=r"encoder\.layer"):
            make_model(layer=layer)
    for top in (-1, 4):
        with pytest.raises(ConfigError, match="trainable_layers"):
            make_model(layer=2).set_trainable(top)


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_save_and_load(tmp_path, name):
    model = make_model(name, layer=2)
    save_model(tmp_path / "model.safetensors", model, notes={"objective": "a test"})
    loaded = load_model(tmp_path / "model.safetensors")
    assert loaded.layer == 2 and loaded.encoder.shape == model.encoder.shape and not loaded.training
    assert model.state_dict().keys() == loaded.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), loaded.state_dict().values(), strict=True))
    assert same_units(model, loaded)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_model_file_holds_what_units_need_and_nothing_else(tmp_path):
    model = SpinModel(make_encoder(SMALL), RSpin(24, 16, 8), 3)
    model.objective.add_classifier(5, 5.0, seed=0)
    save_model(tmp_path / "model.safetensors", model)
    names, _ = read(tmp_path / "model.safetensors", "spin model 1")
    assert {name for name in names if not name.startswith("encoder.")} == {"head.weight", "head.bias", "codebook.weight"}
    assert same_units(model, load_model(tmp_path / "model.safetensors"))
