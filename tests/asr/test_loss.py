"""The CTC loss by k2 against torch's and against enumeration by hand."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spin.asr.loss import count_needed_frames, ctc_loss, dense_segments


def torch_loss(log_probs: torch.Tensor, lengths: torch.Tensor, tokens: list[list[int]]) -> torch.Tensor:
    """(B,) by torch, in double precision."""
    targets = torch.tensor([token for ids in tokens for token in ids])
    sizes = torch.tensor([len(ids) for ids in tokens])
    return torch.nn.functional.ctc_loss(log_probs.double().transpose(0, 1), targets, lengths, sizes, reduction="none")


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 5.0])
def test_equal_to_torch_with_gradients(sharpness):
    generator = torch.Generator().manual_seed(3)
    logits = (sharpness * torch.randn(5, 60, 20, generator=generator)).requires_grad_()
    lengths = torch.tensor([60, 60, 41, 17, 9])
    tokens = [torch.randint(1, 20, (size,), generator=generator).tolist() for size in (30, 12, 15, 5, 1)]
    ours = ctc_loss(logits.log_softmax(-1), lengths, tokens)
    (gradient,) = torch.autograd.grad(ours.sum(), logits)
    theirs = torch_loss(logits.log_softmax(-1), lengths, tokens)
    (expected,) = torch.autograd.grad(theirs.sum(), logits)
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-4)


def test_two_frames_by_hand():
    # Tokens [1] in two frames: 11, 01 and 10.
    probabilities = torch.tensor([[[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]]])
    expected = -math.log(0.3 * 0.6 + 0.5 * 0.6 + 0.3 * 0.1)
    assert ctc_loss(probabilities.log(), torch.tensor([2]), [[1]]).item() == pytest.approx(expected, abs=1e-5)


@given(st.lists(st.integers(1, 2), max_size=3), st.integers(1, 4))
def test_equal_to_enumeration(tokens, frames):
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


def test_padding_and_batch_do_not_matter():
    generator = torch.Generator().manual_seed(5)
    log_probs = torch.randn(2, 30, 8, generator=generator).log_softmax(-1)
    both = ctc_loss(log_probs, torch.tensor([30, 12]), [[1, 2, 3], [4, 4]])
    alone = ctc_loss(log_probs[1:, :12], torch.tensor([12]), [[4, 4]])
    assert both[1].item() == pytest.approx(alone[0].item(), abs=1e-5)


def test_lengths_must_not_increase():
    with pytest.raises(ValueError, match="increase"):
        dense_segments(torch.tensor([3, 4]))


def test_count_needed_frames_by_hand():
    assert [count_needed_frames(ids) for ids in ([], [1], [1, 2], [1, 1], [1, 1, 1, 2])] == [0, 1, 2, 3, 6]
