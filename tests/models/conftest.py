"""Small encoders of both architectures and both layer orders, and the comparison of the golden figures."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from spin.models.architecture import EncoderShape
from spin.models.encoder import Encoder
from spin.objectives.model import SpinModel
from spin.objectives.spin import Spin

torch.set_num_threads(1)

SMALL = EncoderShape(conv_channels=(16,) * 7, dim=24, layers=3, heads=2, ffn_dim=40, pos_conv_taps=8, pos_conv_groups=4)
SHAPES = {
    "hubert": SMALL,
    "wavlm": replace(SMALL, arch="wavlm"),
    "hubert_large": replace(SMALL, extractor_norm="layer", norm_first=True, waveform_norm_eps=1e-5, conv_bias=True),
    "wavlm_large": replace(SMALL, arch="wavlm", extractor_norm="layer", norm_first=True, waveform_norm_eps=1e-5),
}
BATCH = torch.randn(2, 5000, generator=torch.Generator().manual_seed(0)) * 0.1, torch.tensor([5000, 3210])


def make_encoder(shape: EncoderShape, seed: int = 0, **options) -> Encoder:
    """Random weights, biases too, large enough that every part of the model shows in the output."""
    torch.manual_seed(seed)
    encoder = Encoder(shape, **options)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return encoder.eval()


def make_model(name: str = "hubert", layer: int = 3, seed: int = 0, codebook_size: int = 16, codebook_dim: int = 8) -> SpinModel:
    """A Spin model with random weights, in evaluation mode."""
    encoder = make_encoder(SHAPES[name])
    return SpinModel(encoder, Spin(encoder.shape.dim, codebook_size, codebook_dim).reset_parameters(seed, "test"), layer).eval()


def same_units(one: SpinModel, other: SpinModel) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.units(*BATCH), other.units(*BATCH), strict=True))


@pytest.fixture
def small_encoder() -> Encoder:
    return make_encoder(SMALL)


def check_close(found, expected, tolerance: float = 1e-4) -> None:
    """Bounds the largest difference relative to the largest expected magnitude, by default as the golden figures ask for."""
    found, expected = torch.as_tensor(found).detach().double(), torch.as_tensor(np.asarray(expected)).double()
    assert found.shape == expected.shape
    assert float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-30)) <= tolerance
