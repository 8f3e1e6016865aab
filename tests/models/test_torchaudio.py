"""torchaudio's own models with random weights as oracle, converted by the same code as its bundles."""

from __future__ import annotations

import urllib.error

import pytest
import torch
import torchaudio

from spin.errors import CheckpointError
from spin.models.importers import BUNDLES, load_encoder
from spin.models.torchaudio_bundles import from_torchaudio

CONVOLUTIONS = [(16, 10, 5)] + [(16, 3, 2)] * 4 + [(16, 2, 2)] * 2
COMMON = {
    "extractor_conv_layer_config": CONVOLUTIONS,
    "encoder_embed_dim": 24,
    "encoder_projection_dropout": 0.1,
    "encoder_pos_conv_kernel": 8,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": 3,
    "encoder_num_heads": 2,
    "encoder_attention_dropout": 0.1,
    "encoder_ff_interm_features": 40,
    "encoder_ff_interm_dropout": 0.1,
    "encoder_dropout": 0.1,
    "encoder_layer_drop": 0.1,
    "aux_num_out": None,
}
BASE = {"extractor_mode": "group_norm", "extractor_conv_bias": False, "encoder_layer_norm_first": False}
LARGE = {"extractor_mode": "layer_norm", "extractor_conv_bias": True, "encoder_layer_norm_first": True}
WAVLM = {"encoder_num_buckets": 320, "encoder_max_distance": 800}
MODELS = {
    "hubert base": lambda: torchaudio.models.wav2vec2_model(**COMMON, **BASE),
    "hubert large": lambda: torchaudio.models.wav2vec2_model(**COMMON, **LARGE),
    "wavlm base": lambda: torchaudio.models.wavlm_model(**COMMON, **BASE, **WAVLM),
    "wavlm large": lambda: torchaudio.models.wavlm_model(**COMMON, **LARGE, **WAVLM),
}


def random_model(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.mark.parametrize("name", sorted(MODELS))
@torch.no_grad()
def test_every_layer_equals_torchaudio(name, assert_close):
    model = random_model(name)
    encoder = from_torchaudio(model)
    waveforms, lengths = torch.randn(2, 9000) * 0.1, torch.tensor([9000, 5000])
    hidden, _ = encoder(waveforms, lengths)
    for i, n in enumerate(lengths.tolist()):
        alone, _ = model.extract_features(waveforms[i : i + 1, :n])
        for found, expected in zip(hidden[1:], alone, strict=True):
            assert_close(found[i : i + 1, : expected.shape[1]], expected)


@pytest.mark.parametrize("name", ["hubert base", "hubert large"])  # torchaudio's WavLM takes no lengths
@torch.no_grad()
def test_padded_batch_the_official_way(name, assert_close):
    model = random_model(name)
    waveforms, lengths = torch.randn(2, 9000) * 0.1, torch.tensor([9000, 5000])
    expected, frames = model.extract_features(waveforms, lengths)
    encoder = from_torchaudio(model)
    encoder.official_padding = True
    hidden, official_frames = encoder(waveforms, lengths)
    assert official_frames.tolist() == frames.tolist()
    for found, oracle in zip(hidden[1:], expected, strict=True):
        for row, other, n in zip(found, oracle, frames, strict=True):
            assert_close(row[:n], other[:n])


@torch.no_grad()
def test_bundles_that_normalise_waveforms(assert_close):
    from torchaudio.pipelines._wav2vec2.utils import _extend_model

    model = _extend_model(random_model("wavlm large"), normalize_waveform=True)
    encoder = from_torchaudio(model)
    waveform = torch.randn(1, 6000) * 0.03 + 0.2
    expected, _ = model.extract_features(waveform)
    padded = torch.cat([waveform, torch.full((1, 700), 9.0)], 1)
    assert_close(encoder(padded, torch.tensor([6000]))[0][-1][:, : expected[-1].shape[1]], expected[-1])


def test_model_with_a_pretraining_head():
    model = random_model("hubert base")
    model.aux = torch.nn.Linear(24, 5)
    assert from_torchaudio(model).shape.dim == 24


@pytest.mark.parametrize("name", BUNDLES)
def test_without_network_the_error_says_what_to_fetch(name, monkeypatch):
    def refuse(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(type(getattr(torchaudio.pipelines, name)), "get_model", refuse)
    with pytest.raises(CheckpointError, match="no network") as caught:
        load_encoder(name)
    assert name in str(caught.value) and "no route to host" in str(caught.value) and "checkpoints" in str(caught.value)
