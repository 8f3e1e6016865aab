"""Wrong, damaged, mismatched and malicious files: the error names the file and the cause, and no code in a file is run."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from spin.errors import CheckpointError
from spin.models import importers
from spin.models.architecture import EncoderShape
from spin.models.importers import load_encoder
from spin.models.safetensors_io import load_encoder_file, save_encoder
from spin.objectives.model import load_model, save_model
from tests.models.conftest import SMALL, make_encoder, make_model
from tests.models.writers import error_of, fairseq_content, hidden, transformers_folder


class Malicious:
    """Runs a command when unpickled the ordinary way."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch '{self.canary}'",)


@pytest.mark.parametrize("load", [load_encoder, load_model])
@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_not_run(tmp_path, small_encoder, load, zipped):
    canary = tmp_path / "canary"
    path = tmp_path / "evil.pt"
    torch.save(fairseq_content(small_encoder) | {"extra": Malicious(canary)}, path, _use_new_zipfile_serialization=zipped)
    message = error_of(path, load)
    assert not canary.exists()
    assert "system" in message and "run code" in message


@pytest.mark.parametrize("load", [load_encoder, load_model])
def test_code_in_a_plain_pickle_or_a_folder_is_not_run(tmp_path, small_encoder, load):
    canary = tmp_path / "canary"
    path = tmp_path / "evil.ckpt"
    path.write_bytes(pickle.dumps(Malicious(canary)))
    error_of(path, load)
    folder = transformers_folder(tmp_path / "folder", small_encoder, "pytorch_model.bin")
    torch.save({"x": Malicious(canary)}, folder / "pytorch_model.bin")
    assert "run code" in error_of(folder / "pytorch_model.bin", lambda path: load_encoder(path.parent))
    assert not canary.exists()


def test_a_pickled_model_is_refused_with_the_reason(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole_model.pt")
    assert "run code" in error_of(tmp_path / "whole_model.pt")


@pytest.mark.parametrize("keep", [0, 10, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["e.pt", "e.safetensors", "m.safetensors"])
def test_truncated_files(tmp_path, small_encoder, kind, keep):
    path, load = tmp_path / kind, load_model if kind[0] == "m" else load_encoder
    if kind == "e.pt":
        torch.save(fairseq_content(small_encoder), path)
    elif kind[0] == "e":
        save_encoder(path, small_encoder)
    else:
        save_model(path, make_model())
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if isinstance(keep, int) else int(keep * len(whole))])
    message = error_of(path, load)
    assert "known formats" in message and "bytes" in message


@pytest.mark.parametrize("content", ["hello, this is not a checkpoint\n" * 50, "{}", "", "\x80\x02.", "PK\x03\x04 broken"])
@pytest.mark.parametrize("suffix", [".pt", ".ckpt", ".safetensors", ".txt"])
def test_files_without_weights(tmp_path, content, suffix):
    path = tmp_path / f"file{suffix}"
    path.write_bytes(content.encode("latin-1"))
    for load in (load_encoder, load_model):
        assert "known formats" in error_of(path, load)


def test_missing_names_and_paths(tmp_path, monkeypatch):
    message = error_of("HUBERT_TINY")
    assert "HUBERT_BASE" in message and "mini" in message and "known formats" in message
    error_of(tmp_path / "nothing.ckpt", load_model)
    monkeypatch.setattr(importers, "MINI", tmp_path / "mini.safetensors")
    with pytest.raises(CheckpointError, match="pretrain_encoder"):
        load_encoder("mini")
    save_encoder(tmp_path / "mini.safetensors", make_encoder(SMALL))
    assert load_encoder("mini").shape == SMALL


def test_missing_unexpected_and_misshapen_parameters(tmp_path, small_encoder):
    path = tmp_path / "e.pt"
    content = fairseq_content(small_encoder)
    weight = content["model"].pop("encoder.layers.1.fc1.weight")
    torch.save(content, path)
    assert "missing parameter 'encoder.layers.1.fc1.weight'" in error_of(path)
    content["model"] |= {"encoder.layers.1.fc1.weight": weight, "encoder.layers.7.fc1.weight": weight}
    torch.save(content, path)
    assert "unexpected parameter 'encoder.layers.7.fc1.weight'" in error_of(path)
    del content["model"]["encoder.layers.7.fc1.weight"]
    content["model"]["encoder.layers.1.fc1.weight"] = weight[:, :-1]
    torch.save(content, path)
    message = error_of(path)
    assert "encoder.layers.1.fc1.weight" in message and "(40, 23)" in message and "(40, 24)" in message
    content["model"]["encoder.layers.1.fc1.weight"] = weight.long()
    torch.save(content, path)
    assert "encoder.layers.1.fc1.weight" in error_of(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("activation_fn", "relu"), ("layer_type", "conformer"), ("extractor_mode", "mel"), ("conv_feature_layers", "[(1,2)]"),
     ("encoder_attention_heads", 5), ("conv_feature_layers", "__import__('os')")],
)  # fmt: skip
def test_architectures_that_are_not_implemented(tmp_path, small_encoder, key, value):
    content = fairseq_content(small_encoder)
    content["cfg"]["model"][key] = value
    torch.save(content, tmp_path / "e.pt")
    assert key.removeprefix("encoder_attention_") in error_of(tmp_path / "e.pt")


def test_other_dictionaries(tmp_path, small_encoder):
    path = tmp_path / "e.pt"
    content = fairseq_content(small_encoder)
    without = ({"model": content["model"]}, {"cfg": content["cfg"]}, {"state_dict": {}}, {"state_dict": None})
    for other in (content["model"], {}, *without):
        torch.save(other, path)
        assert "known formats" in error_of(path)
    torch.save([1, 2], path)
    assert "a list" in error_of(path)
    del content["cfg"]["model"]["conv_feature_layers"]
    torch.save(content, path)
    assert "conv_feature_layers" in error_of(path)


def test_bad_folders(tmp_path, small_encoder):
    (tmp_path / "empty").mkdir()
    assert "config.json" in error_of(tmp_path / "empty" / "config.json", lambda path: load_encoder(path.parent))
    folder = transformers_folder(tmp_path / "folder", small_encoder)
    config = json.loads((folder / "config.json").read_text())
    for key, value in {"model_type": "wav2vec2", "hidden_act": "relu", "feat_proj_layer_norm": False}.items():
        (folder / "config.json").write_text(json.dumps(config | {key: value}))
        assert key in error_of(folder)
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "wavlm"}))
    assert "missing parameter" in error_of(folder)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").unlink()
    assert "pytorch_model.bin" in error_of(folder)
    (folder / "config.json").write_text("[1]")
    assert "list" in error_of(folder)


def test_our_own_files_of_another_version(tmp_path, small_encoder):
    path = tmp_path / "e.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata={"spin": json.dumps({"format": "spin encoder 9"})})
    assert "spin encoder 9" in error_of(path)
    save_file({"x": torch.zeros(1)}, path, metadata={"spin": json.dumps({"format": "spin encoder 1", "shape": "{"})})
    assert "'shape'" in error_of(path)
    save_file({"x": torch.zeros(1)}, path, metadata={"spin": json.dumps({"format": "spin model 1", "config": "{}"})})
    assert "'encoder'" in error_of(path, load_model)


@pytest.fixture
def official(golden_dir, tmp_path):
    """A copy of the official checkpoint, its content and its path."""
    path = tmp_path / "spin.ckpt"
    shutil.copy(golden_dir / "spin_official.ckpt", path)
    return torch.load(path, weights_only=True), path


def test_official_checkpoint_away_from_its_base(golden_dir, official):
    _, path = official
    assert "base=" in error_of(path, load_model)
    assert load_model(path, base=golden_dir / "hubert_fairseq.pt").encoder.shape.heads == 4
    assert "load_model" in error_of(path)


def test_official_checkpoints_that_differ(golden_dir, official):
    content, path = official
    base = golden_dir / "hubert_fairseq.pt"

    def message(change) -> str:
        changed = torch.load(golden_dir / "spin_official.ckpt", weights_only=True)
        change(changed)
        torch.save(changed, path)
        return error_of(path, lambda path: load_model(path, base=base))

    settings = {"normalize": True, "feat_select": "ffn", "pre_normalize": True}
    for key, value in settings.items():
        assert key in message(lambda c, k=key, v=value: c["hyper_parameters"]["model"]["encoder"].update({k: v}))
    assert "head.bias" in message(lambda c: c["state_dict"].pop("pred_head.layers.0.bias"))
    assert "pred_head.layers.1.bias" in message(lambda c: c["state_dict"].update({"pred_head.layers.1.bias": torch.zeros(1)}))
    assert "loss_module.codebook.weight" in message(lambda c: c["state_dict"].pop("loss_module.codebook.weight"))
    for key in ("pred_head.layers.0.weight", "loss_module.codebook.weight"):
        assert "not finite" in message(lambda c, k=key: c["state_dict"][k].view(-1)[0].fill_(float("nan")))
    assert "encoder.layers.0.fc1.weight" in message(lambda c: c["state_dict"].pop("encoder.model.encoder.layers.0.fc1.weight"))


SHAPE_VALUES = st.sampled_from([None, "x", -1, 0, 2.5, [], [1], [None], {}, float("nan"), float("inf"), True, 10**30])


@settings(max_examples=60)
@given(st.sampled_from([field.name for field in dataclasses.fields(EncoderShape)]), SHAPE_VALUES)
def test_any_wrong_shape_is_an_error_of_the_file(key, value):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.safetensors"
        save_model(path, make_model(codebook_size=4, codebook_dim=4))
        state = load_file(path)
        shape = SMALL.as_dict() | {key: value}
        config = {"encoder": shape, "layer": 3, "codebook_size": 4, "codebook_dim": 4}
        save_file(state, path, metadata={"spin": json.dumps({"format": "spin model 1", "config": json.dumps(config)})})
        try:
            load_model(path)
        except CheckpointError as error:
            assert str(path) == error.subject


def test_encoder_in_half_precision(tmp_path, small_encoder, assert_close):
    save_encoder(tmp_path / "whole.safetensors", small_encoder)
    save_encoder(tmp_path / "half.safetensors", small_encoder, dtype="float16")
    half, whole = (load_encoder(tmp_path / f"{name}.safetensors") for name in ("half", "whole"))
    assert (tmp_path / "half.safetensors").stat().st_size < 0.7 * (tmp_path / "whole.safetensors").stat().st_size
    assert {parameter.dtype for parameter in half.parameters()} == {torch.float32}
    assert_close(hidden(half), hidden(small_encoder), 1e-2)
    assert torch.equal(hidden(whole), hidden(small_encoder))


def test_weights_that_cannot_be_stored(tmp_path, small_encoder):
    with torch.no_grad():
        small_encoder.layer_norm.weight[0] = 1e6
    with pytest.raises(CheckpointError, match=r"layer_norm\.weight"):
        save_encoder(tmp_path / "e.safetensors", small_encoder, dtype="float16")
    with pytest.raises(CheckpointError, match="bfloat8"):
        save_encoder(tmp_path / "e.safetensors", small_encoder, dtype="bfloat8")
    assert not list(tmp_path.iterdir())


def test_an_encoder_is_not_a_model_nor_the_other_way_round(tmp_path, small_encoder):
    save_encoder(tmp_path / "e.safetensors", small_encoder)
    save_model(tmp_path / "m.safetensors", make_model())
    assert "load_encoder" in error_of(tmp_path / "e.safetensors", load_model)
    assert "load_model" in error_of(tmp_path / "m.safetensors", load_encoder_file)
