"""The CTC models: shapes, independence of padding and batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spin.asr.inputs import FeatureStatistics
from spin.asr.model import BlstmBody, CtcModel, FeatureFront, load_weights, restore_model
from spin.config import AsrConfig
from spin.errors import CheckpointError

STATISTICS = FeatureStatistics(np.linspace(-1, 1, 6, dtype=np.float32), np.full(6, 2.0, dtype=np.float32))
KINDS = ("conv", "blstm")


def make(kind: str, inputs=STATISTICS) -> CtcModel:
    torch.manual_seed(0)
    return CtcModel(AsrConfig(model=kind, hidden=8, layers=2, dropout=0.1), inputs, 5).eval()


def make_inputs(symbols: bool) -> torch.Tensor:
    return torch.randint(9, (3, 20)) if symbols else torch.randn(3, 20, 6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("symbols", [False, True])
def test_padding_and_batch_change_nothing(kind, symbols):
    model = make(kind, 9 if symbols else STATISTICS)
    inputs, lengths = make_inputs(symbols), torch.tensor([20, 11, 1])
    log_probs = model(inputs, lengths)
    assert log_probs.shape == (3, 20, 5)
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(log_probs.shape[:2]))
    for row, length in enumerate(lengths.tolist()):
        alone = model(inputs[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(log_probs[row, :length], alone[0], rtol=1e-5, atol=1e-6)


def test_blstm_layers_are_one_lstm_with_dropout_after_each():
    """Against torch's own stack of layers, and with dropout against the layers one by one."""
    torch.manual_seed(0)
    body = BlstmBody(6, 8, layers=3, dropout=0.5).eval()
    theirs = torch.nn.LSTM(6, 8, 3, batch_first=True, bidirectional=True)
    theirs.load_state_dict({
        name.replace("_l0", f"_l{number}"): weight
        for number, layer in enumerate(body.layers)
        for name, weight in layer.state_dict().items()
    })  # fmt: skip
    features, lengths = torch.randn(2, 9, 6), torch.tensor([9, 9])
    torch.testing.assert_close(body(features, lengths), theirs(features)[0])
    seeds = []
    for _ in range(2):
        torch.manual_seed(7)
        seeds.append(body.train()(features, lengths))
    assert torch.equal(*seeds)
    assert 0.3 < float((seeds[0] == 0).float().mean()) < 0.7
    assert not torch.equal(body(features, lengths), seeds[0])


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_normalized(kind):
    model = make(kind)
    features = torch.randn(1, 7, 6)
    other = CtcModel(AsrConfig(model=kind, hidden=8, layers=2), FeatureStatistics(np.zeros(6), np.ones(6)), 5).eval()
    weights = {**model.state_dict(), "front.mean": other.front.mean, "front.scale": other.front.scale}
    load_weights(other, weights, "other")
    normalised = (features - torch.from_numpy(STATISTICS.mean)) / torch.from_numpy(STATISTICS.deviation)
    lengths = torch.tensor([7])
    torch.testing.assert_close(model(features, lengths), other(normalised, lengths))


@pytest.mark.parametrize("symbols", [False, True])
def test_a_checkpoint_says_what_its_model_reads(symbols):
    model = make("conv", 9 if symbols else STATISTICS)
    config, inputs = AsrConfig(model="conv", hidden=8, layers=2), make_inputs(symbols)
    again = restore_model(config, model.state_dict(), 5, "somewhere")
    lengths = torch.tensor([20, 20, 20])
    assert torch.equal(again(inputs, lengths), model(inputs, lengths))
    for weights in ({}, make("blstm").state_dict()):
        with pytest.raises(CheckpointError, match="somewhere"):
            restore_model(config, weights, 5, "somewhere")


def make_front(layers: int, weights: torch.Tensor | None = None) -> FeatureFront:
    """A front of several layers that are normalized already."""
    front = FeatureFront(FeatureStatistics(np.zeros((layers, 3), np.float32), np.ones((layers, 3), np.float32)))
    if weights is not None:
        front.layer_weights.data.copy_(weights)
    return front


def test_sum_of_layers_by_hand():
    features = torch.tensor([[[[1.0, 10.0, 0.0], [2.0, 20.0, 0.0], [6.0, 60.0, 0.0]]]])
    assert make_front(3).shares().tolist() == pytest.approx([1 / 3] * 3)
    torch.testing.assert_close(make_front(3)(features), torch.tensor([[[3.0, 30.0, 0.0]]]))
    front = make_front(3, torch.log(torch.tensor([0.5, 0.25, 0.25])))
    torch.testing.assert_close(front(features), torch.tensor([[[2.5, 25.0, 0.0]]]))
    torch.testing.assert_close(make_front(1)(features[:, :, :1]), features[:, :, 0])


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**16))
def test_sum_of_layers_against_a_loop_and_between_the_layers(count, frames, seed):
    torch.manual_seed(seed)
    features, front = torch.randn(2, frames, count, 3), make_front(count, torch.randn(count))
    summed, shares = front(features), front.shares()
    looped = torch.stack([sum(shares[n] * features[row, :, n] for n in range(count)) for row in range(2)])
    torch.testing.assert_close(summed, looped)
    assert (summed <= features.amax(2) + 1e-5).all() and (summed >= features.amin(2) - 1e-5).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_several_layers_normalizes_each_and_learns_the_shares(kind):
    torch.manual_seed(0)
    mean, deviation = np.zeros((2, 6), np.float32), np.ones((2, 6), np.float32)
    mean[1], deviation[1] = 5.0, 2.0
    model = CtcModel(AsrConfig(model=kind, hidden=8, layers=1), FeatureStatistics(mean, deviation), 5).eval()
    one, lengths = torch.randn(2, 9, 6), torch.tensor([9, 4])
    both = torch.stack([one, 5.0 + 2.0 * one], dim=2)  # the same numbers once normalized: any shares give the same sum
    before = model(both, lengths)
    with torch.no_grad():
        model.front.layer_weights.copy_(torch.tensor([3.0, -1.0]))
    torch.testing.assert_close(model(both, lengths), before, rtol=1e-4, atol=1e-5)
    model(torch.randn(2, 9, 2, 6), lengths).square().sum().backward()
    assert model.front.layer_weights.grad.abs().sum() > 0
