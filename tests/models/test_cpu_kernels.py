"""The CPU's faster ways equal torch's plain ways: both special convolutions and attention."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from spin.models.extractor import ConvLayer
from spin.models.transformer import PositionalConv, attend


@pytest.mark.parametrize("bias", [False, True])
@given(samples=st.integers(10, 400), kernel=st.integers(1, 10), stride=st.integers(1, 6))
def test_the_first_convolution_without_gradient_equals_conv1d(bias, samples, kernel, stride):
    torch.manual_seed(samples)
    layer = ConvLayer(1, 5, kernel, stride, bias, None)
    x = torch.randn(2, 1, samples)
    with torch.no_grad():
        torch.testing.assert_close(layer(x, None), F.gelu(layer.conv(x)))


@pytest.mark.parametrize("taps", [1, 4, 7, 64])
@pytest.mark.parametrize("frames", [1, 3, 50])
def test_the_positional_convolution_is_the_same_with_and_without_gradient(taps, frames):
    torch.manual_seed(0)
    conv = PositionalConv(8, taps, 2)
    torch.nn.init.normal_(conv.weight_v)
    torch.nn.init.ones_(conv.weight_g)
    x = torch.randn(2, frames, 8)
    learning = conv(x)
    with torch.no_grad():
        plain = conv(x)
    assert learning.requires_grad and not plain.requires_grad and plain.shape == (2, frames, 8)
    torch.testing.assert_close(plain, learning)


@pytest.mark.parametrize("kind", ["none", "padding", "bias"])
def test_bf16_attention_with_gradient_equals_float32(kind):
    torch.manual_seed(1)
    q, k, v = (torch.randn(3, 2, 9, 16, requires_grad=True) for _ in range(3))
    valid = (torch.arange(9) < torch.tensor([9, 5, 1])[:, None])[:, None, None]
    mask = {"none": None, "padding": valid, "bias": torch.randn(3, 2, 9, 9).masked_fill(~valid, float("-inf"))}[kind]
    weight = torch.randn(3, 2, 9, 16)

    def outcome(dtype):
        float_mask = mask is not None and mask.dtype != torch.bool
        inputs = [x.detach().to(dtype).requires_grad_() for x in (q, k, v)]
        y = attend(*inputs, mask.to(dtype) if float_mask else mask, 0.0)
        assert y.dtype == dtype
        (y.float() * weight).sum().backward()
        return [y.float(), *(x.grad.float() for x in inputs)]

    for narrow, wide in zip(outcome(torch.bfloat16), outcome(torch.float32), strict=True):
        torch.testing.assert_close(narrow, wide, rtol=0.05, atol=0.05)


def test_dropout_of_attention_weights_leaves_the_mean():
    torch.manual_seed(2)
    q = torch.zeros(1, 1, 400, 4, dtype=torch.bfloat16, requires_grad=True)
    y = attend(q, q, torch.ones_like(q), None, 0.5)
    assert y.float().std() > 0.01 and float(y.float().mean()) == pytest.approx(1.0, abs=0.05)
