"""The formats of others, for every shape: both architectures, both layer orders."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from spin.errors import CheckpointError
from spin.models.encoder import Encoder, EncoderShape
from spin.models.fairseq import from_weights, parse_strides
from spin.models.importers import load_encoder
from spin.models.safe_load import Record, plain
from tests.models.conftest import SHAPES, SMALL, make_encoder
from tests.models.writers import error_of, fairseq_content, foreign_class, hidden, transformers_folder


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_fairseq_and_unilm_of_every_shape(tmp_path, name):
    encoder = make_encoder(SHAPES[name])
    content = fairseq_content(encoder)
    torch.save(content, tmp_path / "nested.pt")
    flat = {"cfg": content["cfg"]["model"] | content["cfg"]["task"], "model": content["model"]}
    torch.save(flat, tmp_path / "flat.pt")
    for path in (tmp_path / "nested.pt", tmp_path / "flat.pt"):
        assert torch.equal(hidden(load_encoder(path)), hidden(encoder))


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("name", sorted(SHAPES))
def test_transformers_of_every_shape(tmp_path, name, weights, assert_close):
    encoder = make_encoder(SHAPES[name])
    assert_close(hidden(load_encoder(transformers_folder(tmp_path / "folder", encoder, weights))), hidden(encoder))


def test_fairseq_without_a_projection(tmp_path, assert_close):
    encoder = make_encoder(replace(SMALL, dim=16, heads=2))
    with torch.no_grad():
        encoder.feature_projection.linear.weight.copy_(torch.eye(16))
        encoder.feature_projection.linear.bias.zero_()
    content = fairseq_content(encoder)
    content["model"] = {key: value for key, value in content["model"].items() if not key.startswith("post_extract_proj")}
    torch.save(content, tmp_path / "e.pt")
    assert_close(hidden(load_encoder(tmp_path / "e.pt")), hidden(encoder))


def test_bookkeeping_objects_are_left_unbuilt(tmp_path, small_encoder):
    content = fairseq_content(small_encoder)
    with foreign_class("fairseq.data.dictionary.Dictionary") as dictionary:
        symbols = dictionary()
        symbols.symbols = ["a", "b"]
        content["task_state"] = {"dictionaries": [symbols], "score": np.float64(3.5), "array": np.arange(3)}
        torch.save(content, tmp_path / "real_fairseq.pt")
    assert "fairseq" not in sys.modules
    assert torch.equal(hidden(load_encoder(tmp_path / "real_fairseq.pt")), hidden(small_encoder))


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


def test_shape_from_weights_alone_as_in_official_spin_checkpoints():
    for shape in (
        EncoderShape(layers=2),
        EncoderShape(arch="wavlm", layers=1, dim=48, heads=3, ffn_dim=8, pos_conv_taps=6),
        EncoderShape(
            layers=1,
            dim=1024,
            heads=16,
            ffn_dim=8,
            extractor_norm="layer",
            norm_first=True,
            waveform_norm_eps=1e-5,
            pos_conv_taps=2,
        ),
    ):
        assert from_weights("file", fairseq_content(Encoder(shape))["model"]) == shape


def test_configuration_in_a_namespace(tmp_path, small_encoder):
    content = fairseq_content(small_encoder)
    args = argparse.Namespace(**content["cfg"]["model"], normalize=False)
    torch.save({"args": args, "cfg": None, "model": content["model"]}, tmp_path / "old_fairseq.pt")
    assert torch.equal(hidden(load_encoder(tmp_path / "old_fairseq.pt")), hidden(small_encoder))


def test_fairseq_convolutions_are_parsed_not_evaluated():
    assert parse_strides("file", "[(4, 10, 5), (8, 3, 2)]") == (5, 2)
    for text in ("", "[(1,2)]", "[(1,2,3)] * x", "print(1)", "[(1,2,3)] - [(1,2,3)]"):
        with pytest.raises(CheckpointError, match="conv_feature_layers"):
            parse_strides("file", text)
