"""What two encoders share is computed once, and changes nothing; a batch with padding gives what each utterance gives alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from spin.errors import ConfigError
from spin.models.encoder import Encoder
from spin.models.importers import load_encoder
from spin.models.spin_model import SpinModel, load_model
from spin.units.features import TwinEncoders, shared_layers

from .conftest import SHAPE


@pytest.fixture
def pair(small_models):
    return load_encoder(small_models[0]), load_model(small_models[1])


@pytest.fixture
def waveforms():
    random = np.random.default_rng(0)
    return [torch.from_numpy(random.normal(size=n).astype(np.float32) * 0.1) for n in (16_000, 400, 7_321, 12_345)]


def test_shared_layers(pair):
    baseline, model = pair
    assert shared_layers(baseline, model.encoder) == 2  # the third was changed
    assert shared_layers(baseline, baseline) == 3
    with torch.no_grad():
        model.encoder.layers[0].ffn_in.bias.add_(1)
    assert shared_layers(baseline, model.encoder) == 0
    with torch.no_grad():
        model.encoder.feature_projection.linear.bias.add_(1)
    assert shared_layers(baseline, model.encoder) is None
    assert shared_layers(baseline, Encoder(dataclasses.replace(SHAPE, ffn_dim=8))) is None


@pytest.mark.parametrize("layer", [1, 2, 3])
@pytest.mark.parametrize("change", ["nothing", "front"])
def test_equals_both_encoders_by_themselves(pair, waveforms, layer, change):
    baseline, model = pair
    if change == "front":
        with torch.no_grad():
            model.encoder.feature_projection.linear.bias.add_(0.1)
    found = TwinEncoders(baseline, model, layer)(waveforms)
    for waveform, features in zip(waveforms, found, strict=True):
        one, length = waveform[None], torch.tensor([len(waveform)])
        assert torch.equal(features.hidden["baseline"], baseline.layer_output(one, length, layer)[0])
        assert torch.equal(features.hidden["spin"], model.encoder.layer_output(one, length, layer)[0])
        assert torch.equal(features.spin_units, model.units(one, length)[0])


def test_wavlm_and_padded_batches(waveforms):
    """The way of GPUs: a padded batch, here in float32 on the CPU, is each utterance alone up to rounding."""
    torch.manual_seed(1)
    shape = dataclasses.replace(SHAPE, arch="wavlm", position_buckets=8, position_max_distance=16)
    encoder = Encoder(shape)
    model = SpinModel.create(Encoder(shape), 3, 12, 8, seed=0)
    model.encoder.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        model.encoder.layers[2].ffn_in.weight.mul_(1.5)
    twins = TwinEncoders(encoder, model, 3)
    assert twins.shared == 2
    for one, other in zip(twins(waveforms), twins._batch(waveforms), strict=True):
        for system in one.hidden:
            assert one.hidden[system].shape == other.hidden[system].shape
            assert torch.allclose(one.hidden[system], other.hidden[system], atol=1e-5)


def test_unknown_layer(pair):
    with pytest.raises(ConfigError, match="1 to 3"):
        TwinEncoders(*pair, 4)
