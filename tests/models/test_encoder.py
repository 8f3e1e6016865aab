"""The parts of the encoder, against PyTorch's own and by hand."""

import copy
import itertools
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from spin.errors import CheckpointError, DataError
from spin.models.architecture import TINY_SHAPE, EncoderShape
from spin.models.encoder import Encoder
from spin.models.layers import ConvLayer, PositionalConv, RelativePositionBias, TransformerLayer, attend
from tests.models.conftest import SHAPES, SMALL, make_encoder, make_model

BASE_FRAMES = {3: 0, 400: 1, 719: 1, 720: 2, 16_000: 49, 32_000: 99}


def test_published_sizes():
    assert sum(parameter.numel() for parameter in Encoder(TINY_SHAPE).parameters()) == 3_732_608
    encoder = Encoder(EncoderShape(layers=1))
    assert encoder.shape.receptive_field == 400
    assert encoder.feature_extractor.frame_lengths(torch.tensor(list(BASE_FRAMES))).tolist() == list(BASE_FRAMES.values())
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    layer = sum(parameter.numel() for parameter in encoder.layers[0].parameters())
    assert parameters + 11 * layer == 94_370_944  # HuBERT Base without its mask embedding


@pytest.mark.parametrize("norm_first", [False, True])
@torch.no_grad()
def test_layer_equals_pytorch(norm_first):
    shape = replace(SMALL, norm_first=norm_first)
    torch.manual_seed(0)
    layer = TransformerLayer(shape).eval()
    oracle = torch.nn.TransformerEncoderLayer(24, 2, 40, 0.0, F.gelu, batch_first=True, norm_first=norm_first).eval()
    attention = layer.attention
    oracle.self_attn.in_proj_weight.copy_(torch.cat([attention.q.weight, attention.k.weight, attention.v.weight]))
    oracle.self_attn.in_proj_bias.copy_(torch.cat([attention.q.bias, attention.k.bias, attention.v.bias]))
    theirs = oracle.self_attn.out_proj, oracle.linear1, oracle.linear2, oracle.norm1, oracle.norm2
    ours = attention.out, layer.ffn_in, layer.ffn_out, layer.attention_norm, layer.final_norm
    for target, source in zip(theirs, ours, strict=True):
        target.load_state_dict(source.state_dict())
    x, valid = torch.randn(2, 7, 24), torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    expected = oracle(x, src_key_padding_mask=~valid)
    found = layer(x, valid[:, None, None], None)
    torch.testing.assert_close(found[valid], expected[valid])
    torch.testing.assert_close(layer(x, None, None), oracle(x))


@pytest.mark.parametrize("frames", [1, 3, 50])
@pytest.mark.parametrize("taps", [1, 4, 5, 64])
def test_positional_convolution_equals_pytorch(taps, frames):
    """With a gradient, and without one, where it takes another way."""
    torch.manual_seed(taps)
    ours = PositionalConv(6, taps, 2)
    convolution = torch.nn.Conv1d(6, 6, taps, padding=taps // 2, groups=2)
    oracle = torch.nn.utils.parametrizations.weight_norm(convolution, dim=2)
    x = torch.randn(3, frames, 6)
    with torch.no_grad():
        ours.weight_v.normal_()
        ours.weight_g.uniform_(0.5, 2.0)
        ours.bias.normal_()
        oracle.parametrizations.weight.original0.copy_(ours.weight_g)
        oracle.parametrizations.weight.original1.copy_(ours.weight_v)
        oracle.bias.copy_(ours.bias)
        plain = ours(x)
    learning, expected = ours(x), F.gelu(oracle(x.transpose(1, 2))[..., :frames]).transpose(1, 2)
    assert learning.requires_grad and not plain.requires_grad
    torch.testing.assert_close(learning, expected)
    torch.testing.assert_close(plain, expected)


def test_position_buckets_by_hand():
    bias = RelativePositionBias(buckets=32, max_distance=128, heads=2)
    # Half of 32 for each sign; of those 16, distances below 8 have their own, then 8 steps on a logarithmic scale up to 128.
    cases = {0: 0, -1: 1, -7: 7, 1: 17, 7: 23, -8: 8, -127: 15, -128: 15, -5000: 15, 5000: 31}
    far = -40
    cases[far] = 8 + int(math.log(40 / 8) / math.log(128 / 8) * 8)
    assert bias.bucket(torch.tensor(list(cases))).tolist() == list(cases.values())
    for query, key in itertools.product(range(5), repeat=2):
        expected = bias.table(bias.bucket(torch.tensor(key - query)))
        torch.testing.assert_close(bias(5)[:, query, key], expected)


def test_dropout_and_layerdrop_only_in_training():
    encoder = make_encoder(SMALL, dropout=0.3, layerdrop=0.5)
    waveforms, lengths = torch.randn(1, 4000), torch.tensor([4000])
    assert torch.equal(encoder(waveforms, lengths)[0][-1], encoder(waveforms, lengths)[0][-1])
    encoder.train()
    assert not torch.equal(encoder(waveforms, lengths)[0][-1], encoder(waveforms, lengths)[0][-1])
    encoder = make_encoder(SMALL, layerdrop=1.0).train()
    hidden, _ = encoder(waveforms, lengths)
    assert torch.equal(hidden[0], hidden[-1])
    encoder.layers.eval()
    assert not torch.equal(encoder(waveforms, lengths)[0][0], encoder(waveforms, lengths)[0][-1])


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_bfloat16_autocast_trains(name):
    encoder = make_encoder(SHAPES[name]).train()
    with torch.autocast("cpu", torch.bfloat16):
        hidden, _ = encoder(torch.randn(2, 4000), torch.tensor([4000, 3000]))
    hidden[-1].float().square().mean().backward()
    used = [p for key, p in encoder.named_parameters() if not (SHAPES[name].norm_first and key.startswith("layer_norm"))]
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in used)


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_a_frozen_part_in_bf16_is_near_float32_and_changes_nothing_else(name):
    model = make_model(name).set_trainable(1).train()
    batch, state = (torch.randn(4, 4000), torch.tensor([4000, 3000, 4000, 3000])), copy.deepcopy(model.state_dict())
    (expected, frames), units = model.run_frozen(*batch), model.units(*batch)
    model.run_frozen_in(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = model.run_frozen(*batch)
    assert found.dtype == torch.float32 and not found.requires_grad
    for row, other, n in zip(found, expected, frames, strict=True):
        assert 0 < float((row[:n] - other[:n]).norm() / other[:n].norm()) < 0.03
    assert state.keys() == model.state_dict().keys() and all(torch.equal(model.state_dict()[key], state[key]) for key in state)
    assert all(torch.equal(*pair) for pair in zip(model.units(*batch), units, strict=True))


def test_fresh_weights_keep_the_scale():
    torch.manual_seed(3)
    encoder = Encoder(TINY_SHAPE)
    with torch.no_grad():
        hidden, _ = encoder(torch.randn(1, 16_000) * 0.1, torch.tensor([16_000]))
    assert all(0.3 < float(x.std()) < 3 for x in hidden)
    assert float(encoder.layers[0].ffn_in.weight.detach().std()) == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize(
    ("waveforms", "lengths", "layer", "subject"),
    [
        (torch.zeros(4000), [4000], 3, "waveforms"),
        (torch.zeros(1, 4000, dtype=torch.int16), [4000], 3, "waveforms"),
        (torch.zeros(2, 4000), [4000], 3, "lengths"),
        (torch.zeros(1, 4000), [399], 3, "lengths"),
        (torch.zeros(1, 4000), [4001], 3, "lengths"),
        (torch.zeros(1, 4000), 4000, 3, "lengths"),
        (torch.zeros(0, 4000), [], 3, "lengths"),
        (torch.zeros(1, 4000), [4000], 4, "last_layer"),
    ],
)
def test_bad_input_is_named(small_encoder, waveforms, lengths, layer, subject):
    with pytest.raises(DataError, match=subject):
        small_encoder(waveforms, torch.tensor(lengths), layer)


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_silence_is_finite(name):
    hidden, _ = make_encoder(SHAPES[name])(torch.zeros(2, 4000), torch.tensor([4000, 500]))
    assert all(bool(x.isfinite().all()) for x in hidden)


def test_shape_round_trip_and_its_errors():
    for shape in (*SHAPES.values(), TINY_SHAPE):
        assert EncoderShape.from_dict(shape.as_dict()) == shape
    bad = {"arch": "bert", "heads": 5, "layers": 0, "dim": "wide", "conv_strides": [1], "colour": "red", "conv_kernels": [0] * 7}
    named = {"conv_strides": "7/7/1 convolution", "heads": "heads 5"}
    for key, value in bad.items():
        with pytest.raises(CheckpointError, match=named.get(key, key)):
            EncoderShape.from_dict(SMALL.as_dict() | {key: value})


@pytest.mark.parametrize("bias", [False, True])
@given(samples=st.integers(10, 400), kernel=st.integers(1, 10), stride=st.integers(1, 6))
def test_the_first_convolution_without_gradient_equals_conv1d(bias, samples, kernel, stride):
    torch.manual_seed(samples)
    layer = ConvLayer(1, 5, kernel, stride, bias, None)
    x = torch.randn(2, 1, samples)
    with torch.no_grad():
        torch.testing.assert_close(layer(x, None), F.gelu(layer.conv(x)))


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
