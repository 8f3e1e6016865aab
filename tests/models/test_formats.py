"""The formats of others, for every shape: both architectures, both layer orders; torchaudio's own models as oracle."""

import argparse
import urllib.error
from dataclasses import replace

import pytest
import torch
import torchaudio
from safetensors.torch import load_file

from spin.models.architecture import EncoderShape
from spin.models.encoder import Encoder
from spin.models.importers import BUNDLES, load_encoder
from spin.models.pickles import Record, from_weights, plain
from spin.models.transformers_layout import from_torchaudio
from spin.tools.export import export_transformers
from tests.models.conftest import SHAPES, SMALL, check_close, make_encoder
from tests.models.writers import error_of, fairseq_content, foreign_class, hidden

CONVOLUTIONS = [(16, 10, 5)] + [(16, 3, 2)] * 4 + [(16, 2, 2)] * 2
DROPOUTS = ("projection_dropout", "attention_dropout", "ff_interm_dropout", "dropout", "layer_drop")
COMMON = {
    "extractor_conv_layer_config": CONVOLUTIONS,
    "encoder_embed_dim": 24,
    "encoder_pos_conv_kernel": 8,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": 3,
    "encoder_num_heads": 2,
    "encoder_ff_interm_features": 40,
    "aux_num_out": None,
} | {f"encoder_{name}": 0.1 for name in DROPOUTS}
BASE = {"extractor_mode": "group_norm", "extractor_conv_bias": False, "encoder_layer_norm_first": False}
LARGE = {"extractor_mode": "layer_norm", "extractor_conv_bias": True, "encoder_layer_norm_first": True}
WAVLM = {"encoder_num_buckets": 320, "encoder_max_distance": 800}
MODELS = {
    "hubert base": lambda: torchaudio.models.wav2vec2_model(**COMMON, **BASE),
    "hubert large": lambda: torchaudio.models.wav2vec2_model(**COMMON, **LARGE),
    "wavlm base": lambda: torchaudio.models.wavlm_model(**COMMON, **BASE, **WAVLM),
    "wavlm large": lambda: torchaudio.models.wavlm_model(**COMMON, **LARGE, **WAVLM),
}


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_fairseq_and_unilm_of_every_shape(tmp_path, name):
    encoder = make_encoder(SHAPES[name])
    content = fairseq_content(encoder)
    flat = content["cfg"]["model"] | content["cfg"]["task"]
    for configuration in ({"cfg": content["cfg"]}, {"cfg": flat}, {"args": argparse.Namespace(**flat), "cfg": None}):
        torch.save({"model": content["model"], **configuration}, tmp_path / "e.pt")
        assert torch.equal(hidden(load_encoder(tmp_path / "e.pt")), hidden(encoder))


def test_older_transformers_folders_of_a_whole_recogniser(tmp_path, small_encoder):
    """tests/tools/test_export.py has every shape."""
    export_transformers(tmp_path, small_encoder)
    weights = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    old = {f"hubert.{name}": value for name, value in weights.items()} | {"lm_head.weight": torch.zeros(5, 24)}
    torch.save(old, tmp_path / "pytorch_model.bin")
    check_close(hidden(load_encoder(tmp_path)), hidden(small_encoder))


def test_fairseq_without_a_projection(tmp_path):
    encoder = make_encoder(replace(SMALL, dim=16, heads=2))
    with torch.no_grad():
        encoder.feature_projection.linear.weight.copy_(torch.eye(16))
        encoder.feature_projection.linear.bias.zero_()
    content = fairseq_content(encoder)
    content["model"] = {key: value for key, value in content["model"].items() if not key.startswith("post_extract_proj")}
    torch.save(content, tmp_path / "e.pt")
    check_close(hidden(load_encoder(tmp_path / "e.pt")), hidden(encoder))


def test_a_class_that_is_a_dictionary_is_refused_with_its_name(tmp_path, small_encoder):
    content = fairseq_content(small_encoder)
    with foreign_class("omegaconf.box.Box", (dict,)) as box:
        content["cfg"]["model"] = box(content["cfg"]["model"])
        torch.save(content, tmp_path / "boxed.pt")
    assert "omegaconf.box.Box" in error_of(tmp_path / "boxed.pt")


def test_records_give_what_they_hold():
    node, container, enumeration = Record(), Record(), Record("gelu")
    node.__setstate__({"_val": 7})
    container.__setstate__({"_content": {"layers": node, "act": enumeration}})
    assert plain({"cfg": [container]}) == {"cfg": [{"layers": 7, "act": "gelu"}]}


LARGE_NORMS = {"extractor_norm": "layer", "norm_first": True, "waveform_norm_eps": 1e-5}


@pytest.mark.parametrize(
    "shape",
    [
        EncoderShape(layers=2),
        EncoderShape(arch="wavlm", layers=1, dim=48, heads=3, ffn_dim=8, pos_conv_taps=6),
        EncoderShape(layers=1, dim=1024, heads=16, ffn_dim=8, pos_conv_taps=2, **LARGE_NORMS),
    ],
)
def test_shape_from_weights_alone_as_in_official_spin_checkpoints(shape):
    assert from_weights("file", fairseq_content(Encoder(shape))["model"]) == shape


def random_model(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.mark.parametrize("name", sorted(MODELS))
@torch.no_grad()
def test_every_layer_equals_torchaudio(name):
    model = random_model(name)
    encoder = from_torchaudio(model)
    waveforms, lengths = torch.randn(2, 9000) * 0.1, torch.tensor([9000, 5000])
    for i, n in enumerate(lengths.tolist()):
        alone, _ = model.extract_features(waveforms[i : i + 1, :n])
        for found, expected in zip(encoder(waveforms, lengths)[0][1:], alone, strict=True):
            check_close(found[i : i + 1, : expected.shape[1]], expected)
    if name.startswith("hubert"):  # torchaudio's WavLM takes no lengths
        encoder.official_padding = True
        (hidden, frames), (expected, official_frames) = encoder(waveforms, lengths), model.extract_features(waveforms, lengths)
        assert frames.tolist() == official_frames.tolist()
        for found, oracle in zip(hidden[1:], expected, strict=True):
            for row, other, n in zip(found, oracle, frames, strict=True):
                check_close(row[:n], other[:n])


@torch.no_grad()
def test_bundles_that_normalise_waveforms():
    from torchaudio.pipelines._wav2vec2.utils import _extend_model

    model = _extend_model(random_model("wavlm large"), normalize_waveform=True)
    encoder = from_torchaudio(model)
    waveform = torch.randn(1, 6000) * 0.03 + 0.2
    expected, _ = model.extract_features(waveform)
    padded = torch.cat([waveform, torch.full((1, 700), 9.0)], 1)
    check_close(encoder(padded, torch.tensor([6000]))[0][-1][:, : expected[-1].shape[1]], expected[-1])


def test_without_network_the_error_says_what_to_fetch(monkeypatch):
    def refuse(*_, **__):
        raise urllib.error.URLError("no route to host")

    for name in BUNDLES:
        monkeypatch.setattr(type(getattr(torchaudio.pipelines, name)), "get_model", refuse)
        message = error_of(name)
        assert all(words in message for words in ("no network", "no route to host", "checkpoints"))
