"""The CTC models: shapes, independence of padding and batch, augmentation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spin.asr.augment import spec_augment
from spin.asr.features import FeatureStatistics
from spin.asr.model import BlstmBody, CtcModel, LayerSum, load_weights, output_frames
from spin.config import AsrConfig
from spin.errors import CheckpointError, ConfigError

STATISTICS = FeatureStatistics(np.linspace(-1, 1, 6, dtype=np.float32), np.full(6, 2.0, dtype=np.float32))
KINDS = ("conv", "blstm")


def make(kind: str, subsampling: int = 1) -> CtcModel:
    torch.manual_seed(0)
    config = AsrConfig(model=kind, hidden=8, layers=2, dropout=0.1, subsampling=subsampling)
    return CtcModel(config, STATISTICS, 5).eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("subsampling", [1, 3])
def test_padding_and_batch_change_nothing(kind, subsampling):
    model = make(kind, subsampling)
    features = torch.randn(3, 20, 6)
    lengths = torch.tensor([20, 11, 1])
    log_probs, frames = model(features, lengths)
    assert log_probs.shape == (3, output_frames(20, subsampling), 5)
    assert frames.tolist() == [output_frames(length, subsampling) for length in (20, 11, 1)]
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(log_probs.shape[:2]))
    for row, length in enumerate(lengths.tolist()):
        alone, _ = model(features[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(log_probs[row, : frames[row]], alone[0], rtol=1e-5, atol=1e-6)


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
def test_features_are_normalised(kind):
    model = make(kind)
    features = torch.randn(1, 7, 6)
    other = CtcModel(AsrConfig(model=kind, hidden=8, layers=2), FeatureStatistics(np.zeros(6), np.ones(6)), 5).eval()
    weights = {**model.state_dict(), "mean": other.mean, "scale": other.scale}
    load_weights(other, weights, "other")
    normalised = (features - torch.from_numpy(STATISTICS.mean)) / torch.from_numpy(STATISTICS.deviation)
    lengths = torch.tensor([7])
    torch.testing.assert_close(model(features, lengths)[0], other(normalised, lengths)[0])


def test_unknown_kind_and_foreign_weights_are_errors():
    with pytest.raises(ConfigError, match="asr.model"):
        make("transformer")
    with pytest.raises(CheckpointError, match="elsewhere"):
        load_weights(make("conv"), make("blstm").state_dict(), "elsewhere")


def test_layer_sum_by_hand():
    layers = LayerSum(3)
    features = torch.tensor([[[[1.0, 10.0], [2.0, 20.0], [6.0, 60.0]]]])
    assert layers.shares().tolist() == pytest.approx([1 / 3] * 3)
    torch.testing.assert_close(layers(features), torch.tensor([[[3.0, 30.0]]]))
    with torch.no_grad():
        layers.weights.copy_(torch.log(torch.tensor([0.5, 0.25, 0.25])))
    torch.testing.assert_close(layers(features), torch.tensor([[[2.5, 25.0]]]))
    torch.testing.assert_close(LayerSum(1)(features[:, :, :1]), features[:, :, 0])


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**16))
def test_layer_sum_against_a_loop_and_between_the_layers(count, frames, seed):
    torch.manual_seed(seed)
    layers, features = LayerSum(count), torch.randn(2, frames, count, 3)
    torch.nn.init.normal_(layers.weights)
    found, shares = layers(features), layers.shares()
    looped = torch.stack([sum(shares[n] * features[row, :, n] for n in range(count)) for row in range(2)])
    torch.testing.assert_close(found, looped)
    assert (found <= features.amax(2) + 1e-5).all() and (found >= features.amin(2) - 1e-5).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_several_layers_normalises_each_and_learns_the_shares(kind):
    torch.manual_seed(0)
    mean, deviation = np.zeros((2, 6), np.float32), np.ones((2, 6), np.float32)
    mean[1], deviation[1] = 5.0, 2.0
    model = CtcModel(AsrConfig(model=kind, hidden=8, layers=1), FeatureStatistics(mean, deviation), 5).eval()
    one, lengths = torch.randn(2, 9, 6), torch.tensor([9, 4])
    both = torch.stack([one, 5.0 + 2.0 * one], dim=2)  # the same numbers once normalised: any shares give the same sum
    before, _ = model(both, lengths)
    with torch.no_grad():
        model.layer_sum.weights.copy_(torch.tensor([3.0, -1.0]))
    torch.testing.assert_close(model(both, lengths)[0], before, rtol=1e-4, atol=1e-5)
    model(torch.randn(2, 9, 2, 6), lengths)[0].square().sum().backward()
    assert model.layer_sum.weights.grad.abs().sum() > 0


def test_spec_augment_masks_all_layers_alike():
    fill = np.stack([np.full(40, 7.0, np.float32), np.full(40, 9.0, np.float32)])
    masked = spec_augment(np.ones((300, 2, 40), dtype=np.float32), fill, 0, 0, "a")
    alone = spec_augment(np.ones((300, 40), dtype=np.float32), fill[0], 0, 0, "a")
    assert np.array_equal(masked[:, 0], alone)
    assert np.array_equal(masked[:, 1] == 9.0, alone == 7.0)


@given(st.integers(1, 400), st.integers(1, 40), st.integers(0, 5))
def test_spec_augment_masks_whole_spans_and_repeats(frames, dimensions, seed):
    features = np.ones((frames, dimensions), dtype=np.float32)
    fill = np.full(dimensions, 7.0, dtype=np.float32)
    masked = spec_augment(features.copy(), fill, seed, 3, "u1")
    assert set(np.unique(masked)) <= {1.0, 7.0}
    rows, columns = (masked == 7).all(axis=1), (masked == 7).all(axis=0)
    assert ((masked == 7) == (rows[:, None] | columns[None, :])).all()
    assert rows.mean() <= 0.5 or not columns.size or columns.all()
    assert np.array_equal(masked, spec_augment(features.copy(), fill, seed, 3, "u1"))


def test_spec_augment_depends_on_seed_epoch_and_utterance():
    fill = np.full(40, 7.0, dtype=np.float32)
    keys = [(0, 0, "a"), (1, 0, "a"), (0, 1, "a"), (0, 0, "b")]
    results = [spec_augment(np.ones((300, 40), dtype=np.float32), fill, *key).tobytes() for key in keys]
    assert len(set(results)) == 4
