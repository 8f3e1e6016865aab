"""The CTC models: independence of padding and batch. The CTC loss against torch's and enumeration by hand."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spin.asr.inputs import FeatureStatistics
from spin.asr.model import BlstmBody, CtcModel, ctc_loss, dense_segments, restore_model
from spin.asr.tokens import count_needed_frames
from spin.config import AsrConfig
from spin.errors import CheckpointError

STATISTICS = FeatureStatistics(np.linspace(-1, 1, 6, dtype=np.float32), np.full(6, 2.0, dtype=np.float32))
KINDS = ("conv", "blstm")


def make(kind: str, inputs=STATISTICS) -> CtcModel:
    torch.manual_seed(0)
    return CtcModel(AsrConfig(model=kind, hidden=8, layers=2, dropout=0.1), inputs, 5).eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("symbols", [False, True])
def test_padding_and_batch_change_nothing_and_a_checkpoint_says_what_its_model_reads(kind, symbols):
    model = make(kind, 9 if symbols else STATISTICS)
    inputs, lengths = torch.randint(9, (3, 20)) if symbols else torch.randn(3, 20, 6), torch.tensor([20, 11, 1])
    log_probs = model(inputs, lengths)
    assert log_probs.shape == (3, 20, 5)
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(log_probs.shape[:2]))
    for row, length in enumerate(lengths.tolist()):
        alone = model(inputs[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(log_probs[row, :length], alone[0], rtol=1e-5, atol=1e-6)
    config = AsrConfig(model=kind, hidden=8, layers=2)
    assert torch.equal(restore_model(config, model.state_dict(), 5, "somewhere")(inputs, lengths), log_probs)
    for weights in ({}, make("conv" if kind == "blstm" else "blstm").state_dict()):
        with pytest.raises(CheckpointError, match="somewhere"):
            restore_model(config, weights, 5, "somewhere")


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
    other = make(kind, FeatureStatistics(np.zeros(6, np.float32), np.ones(6, np.float32)))
    normalised = (features - torch.from_numpy(STATISTICS.mean)) / torch.from_numpy(STATISTICS.deviation)
    torch.testing.assert_close(model(features, torch.tensor([7])), other(normalised, torch.tensor([7])))


# The loss
@pytest.mark.parametrize("sharpness", [0.1, 1.0, 5.0])
def test_loss_and_gradients_equal_those_of_torch_and_of_each_utterance_alone(sharpness):
    generator = torch.Generator().manual_seed(3)
    logits = (sharpness * torch.randn(5, 60, 20, generator=generator)).requires_grad_()
    lengths, sizes = torch.tensor([60, 60, 41, 17, 9]), (30, 12, 15, 5, 1)
    tokens = [torch.randint(1, 20, (size,), generator=generator).tolist() for size in sizes]
    log_probs, targets = logits.log_softmax(-1), torch.tensor([token for ids in tokens for token in ids])
    ours = ctc_loss(log_probs, lengths, tokens)
    theirs = torch.nn.functional.ctc_loss(
        log_probs.double().transpose(0, 1), targets, lengths, torch.tensor(sizes), reduction="none"
    )
    gradients = [torch.autograd.grad(loss.sum(), logits, retain_graph=True)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)
    alone = ctc_loss(log_probs[3:4, :17], lengths[3:4], tokens[3:4])
    assert ours[3].item() == pytest.approx(alone[0].item(), rel=1e-5)


def test_loss_of_two_frames_by_hand():
    # Tokens [1] in two frames: 11, 01 and 10.
    probabilities = torch.tensor([[[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]]])
    expected = -math.log(0.3 * 0.6 + 0.5 * 0.6 + 0.3 * 0.1)
    assert ctc_loss(probabilities.log(), torch.tensor([2]), [[1]]).item() == pytest.approx(expected, abs=1e-5)


@given(st.lists(st.integers(1, 2), max_size=3), st.integers(1, 4))
def test_loss_equals_enumeration_and_is_infinite_with_fewer_than_the_needed_frames(tokens, frames):
    generator = torch.Generator().manual_seed(len(tokens) + 10 * frames)
    log_probs = torch.randn(1, frames, 3, generator=generator).log_softmax(-1)
    total = 0.0
    for path in itertools.product(range(3), repeat=frames):
        joined = [token for token, _ in itertools.groupby(path)]
        if [token for token in joined if token] == tokens:
            total += math.exp(sum(log_probs[0, frame, token].item() for frame, token in enumerate(path)))
    possible = count_needed_frames(tokens) <= frames
    assert (total > 0) == possible
    loss = ctc_loss(log_probs, torch.tensor([frames]), [tokens]).item()
    assert loss == (pytest.approx(-math.log(total), abs=1e-4) if possible else math.inf)


def test_lengths_must_not_increase():
    with pytest.raises(ValueError, match="increase"):
        dense_segments(torch.tensor([3, 4]))
