"""The formats of others, for every shape: both architectures, both layer orders."""

from __future__ import annotations

import argparse
import json
import sys
import types
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from spin.errors import CheckpointError
from spin.models.importers import load_encoder
from spin.models.shapes import parse_convolutions
from tests.models.conftest import SHAPES, SMALL, make_encoder
from tests.models.writers import error_of, fairseq_content, hidden, transformers_folder


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


def test_transformers_in_several_files(tmp_path, small_encoder):
    folder = transformers_folder(tmp_path / "folder", small_encoder)
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    keys = sorted(state)
    parts = {"model-1-of-2.safetensors": keys[:20], "model-2-of-2.safetensors": keys[20:]}
    for part, names in parts.items():
        save_file({key: state[key] for key in names}, folder / part)
    weight_map = {key: part for part, names in parts.items() for key in names}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert torch.equal(hidden(load_encoder(folder)), hidden(small_encoder))
    (folder / "model-2-of-2.safetensors").unlink()
    assert "model-1-of-2" in error_of(folder)


def test_fairseq_without_a_projection(tmp_path, assert_close):
    encoder = make_encoder(replace(SMALL, dim=16, heads=2))
    with torch.no_grad():
        encoder.feature_projection.linear.weight.copy_(torch.eye(16))
        encoder.feature_projection.linear.bias.zero_()
    content = fairseq_content(encoder)
    content["model"] = {key: value for key, value in content["model"].items() if not key.startswith("post_extract_proj")}
    torch.save(content, tmp_path / "e.pt")
    assert_close(hidden(load_encoder(tmp_path / "e.pt")), hidden(encoder))


@pytest.fixture
def fairseq_classes():
    """A package `fairseq` while a file is written, whose class would leave a trace if it were ever built; gone afterwards."""
    module, parent = types.ModuleType("fairseq.data.dictionary"), types.ModuleType("fairseq")

    class Dictionary:
        def __init__(self):
            self.symbols = ["a", "b"]

        def __setstate__(self, state):
            raise AssertionError("the class of the file was run")

    Dictionary.__module__, Dictionary.__qualname__ = "fairseq.data.dictionary", "Dictionary"
    module.Dictionary = Dictionary
    sys.modules |= {"fairseq": parent, "fairseq.data": types.ModuleType("fairseq.data"), "fairseq.data.dictionary": module}
    yield Dictionary
    for name in ("fairseq", "fairseq.data", "fairseq.data.dictionary"):
        sys.modules.pop(name, None)


def test_bookkeeping_objects_of_fairseq_are_left_unbuilt(tmp_path, small_encoder, fairseq_classes):
    content = fairseq_content(small_encoder)
    content["task_state"] = {"dictionaries": [fairseq_classes()]}
    torch.save(content, tmp_path / "real_fairseq.pt")
    for name in ("fairseq", "fairseq.data", "fairseq.data.dictionary"):
        sys.modules.pop(name)
    assert torch.equal(hidden(load_encoder(tmp_path / "real_fairseq.pt")), hidden(small_encoder))


def test_configuration_in_a_namespace(tmp_path, small_encoder):
    content = fairseq_content(small_encoder)
    args = argparse.Namespace(**content["cfg"]["model"], normalize=False)
    torch.save({"args": args, "cfg": None, "model": content["model"]}, tmp_path / "old_fairseq.pt")
    assert torch.equal(hidden(load_encoder(tmp_path / "old_fairseq.pt")), hidden(small_encoder))


def test_fairseq_convolutions_are_parsed_not_evaluated():
    parsed = parse_convolutions("file", "[(512,10,5)] + [(512, 3, 2)] * 4 + [(512,2,2)] * 2")
    assert parsed["conv_channels"] == (512,) * 7
    assert parsed["conv_kernels"] == (10, 3, 3, 3, 3, 2, 2) and parsed["conv_strides"] == (5, 2, 2, 2, 2, 2, 2)
    assert parse_convolutions("file", "[(4, 10, 5), (8, 3, 2)]")["conv_channels"] == (4, 8)
    for text in ("", "[]", "[(1,2,3)] * x", "print(1)", "[(1,2,3)] - [(1,2,3)]"):
        with pytest.raises(CheckpointError, match="conv_feature_layers"):
            parse_convolutions("file", text)
