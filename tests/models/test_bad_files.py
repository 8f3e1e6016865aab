"""Wrong, damaged, mismatched and malicious files: the error names the file and the cause, and no code in a file is run."""

import dataclasses
import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from spin.errors import CheckpointError
from spin.models import importers, weights
from spin.models.architecture import EncoderShape
from spin.models.importers import load_encoder
from spin.models.model_files import SPIN_NAMES
from spin.models.weights import load_encoder_file, save_encoder
from spin.objectives.model import load_model, save_model
from spin.tools.export import export_transformers
from tests.models.conftest import SMALL, check_close, make_encoder, make_model
from tests.models.writers import error_of, fairseq_content, hidden, rspin_content, spin_content

FC1 = "encoder.layers.1.fc1.weight"
both_loaders = pytest.mark.parametrize("load", [load_encoder, load_model])


class Malicious:
    """Runs a command when unpickled the ordinary way."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch '{self.canary}'",)


def test_short_memory_is_no_damage(tmp_path):
    error = importers.damaged(tmp_path / "e.pt", RuntimeError("unable to mmap 9 bytes: Cannot allocate memory (12)"))
    assert isinstance(error, MemoryError) and "e.pt" in str(error)


@both_loaders
@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_not_run(tmp_path, small_encoder, load, zipped):
    canary, path = tmp_path / "canary", tmp_path / "evil.pt"
    torch.save(fairseq_content(small_encoder) | {"extra": Malicious(canary)}, path, _use_new_zipfile_serialization=zipped)
    message = error_of(path, load)
    assert not canary.exists()
    assert "system" in message and "run code" in message


@both_loaders
def test_code_in_a_plain_pickle_or_a_folder_is_not_run(tmp_path, small_encoder, load):
    canary, path = tmp_path / "canary", tmp_path / "evil.ckpt"
    path.write_bytes(pickle.dumps(Malicious(canary)))
    error_of(path, load)
    folder = tmp_path / "folder"
    export_transformers(folder, small_encoder)
    (folder / "model.safetensors").unlink()
    torch.save({"x": Malicious(canary)}, folder / "pytorch_model.bin")
    assert "run code" in error_of(folder / "pytorch_model.bin", lambda path: load_encoder(path.parent))
    torch.save(torch.nn.Linear(2, 2), path)
    assert "run code" in error_of(path)
    assert not canary.exists()


@pytest.mark.parametrize("keep", [0, 10, 0.3, 0.999])
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


@pytest.mark.parametrize("suffix", [".pt", ".ckpt", ".safetensors", ".txt"])
@both_loaders
def test_files_without_weights(tmp_path, load, suffix):
    path = tmp_path / f"file{suffix}"
    for content in ("hello, this is not a checkpoint\n" * 50, "{}", "", "\x80\x02.", "PK\x03\x04 broken"):
        path.write_bytes(content.encode("latin-1"))
        assert "known formats" in error_of(path, load)


def test_missing_names_and_paths(tmp_path, monkeypatch):
    message = error_of("HUBERT_TINY")
    assert "HUBERT_BASE" in message and "mini" in message and "known formats" in message
    assert "did you mean 'HUBERT_BASE'?" in error_of("hubert-base")
    assert "'systems=[baseline,{name: other" in error_of("spin_hubert_256")
    error_of(tmp_path / "nothing.ckpt", load_model)
    monkeypatch.setattr(weights, "ENCODERS", tmp_path)
    assert "git checkout" in error_of("mini")


def open_checkpoint(kind: str) -> tuple[dict, dict, dict]:
    """A checkpoint, its weights and its configuration."""
    if kind == "fairseq":
        content = fairseq_content(make_encoder(SMALL))
        return content, content["model"], content["cfg"]["model"]
    content = (spin_content if kind == "spin" else rspin_content)(make_model("wavlm"))
    return content, content["state_dict"], content["cfg"] if kind == "rspin" else content["hyper_parameters"]["model"]["encoder"]


def nan(tensor: torch.Tensor) -> torch.Tensor:
    return torch.full_like(tensor, float("nan"))


DROP = object()
EXTRA = FC1.replace("1", "7", 1)
SHAPING = ("encoder.layer_norm.weight", "encoder.pos_conv.0.weight_v", "feature_extractor.conv_layers.6.0.weight")
CONVOLUTIONS = ("", "[(1,2)]", "[(1,2,3)] * x", "print(1)", "[(1,2,3)] - [(1,2,3)]", None, "__import__('os')")
CHANGES = [
    ("fairseq", FC1, DROP, f"missing parameter {FC1!r}"),
    ("fairseq", EXTRA, torch.zeros(1), f"unexpected parameter {EXTRA!r}"),
    ("fairseq", FC1, lambda weight: weight[:, :-1], f"{FC1!r} of shape (40, 23)"),
    ("fairseq", FC1, lambda weight: weight[:, :-1], "shape (40, 24)"),
    ("fairseq", FC1, torch.Tensor.long, FC1),
    *(("fairseq", key, value, key) for key in SHAPING for value in (None, torch.zeros(()))),
    ("fairseq", "activation_fn", "relu", "activation_fn"),
    ("fairseq", "layer_type", "conformer", "layer_type"),
    ("fairseq", "extractor_mode", "mel", "extractor_mode"),
    *(("fairseq", "conv_feature_layers", text, "conv_feature_layers") for text in CONVOLUTIONS),
    ("fairseq", "encoder_attention_heads", 5, "heads"),
    ("spin", "normalize", True, "normalize"),
    ("spin", "feat_select", "ffn", "feat_select"),
    ("spin", "pre_normalize", True, "pre_normalize"),
    *(("spin", "use_layer", layer, f"layer {layer!r}") for layer in (0, 4, "3", True)),
    ("spin", "pred_head.layers.0.bias", DROP, "head.bias"),
    ("spin", "loss_module.codebook.weight", DROP, "loss_module.codebook.weight"),
    ("spin", "encoder.model.encoder.layers.0.fc1.weight", DROP, "encoder.layers.0.fc1.weight"),
    ("spin", "pred_head.layers.1.bias", torch.zeros(1), "pred_head.layers.1.bias"),
    *(("spin", key, nan, "not finite") for key in SPIN_NAMES.values()),
    ("rspin", "codebook_size", 32, "(32, 8)"),
    ("rspin", "pred_head.bias", DROP, "head.bias"),
    ("rspin", "codebook.weight", DROP, "known formats"),
    ("rspin", "decoder.weight", torch.zeros(1), "'decoder.weight'"),
    ("rspin", "pred_head.weight", torch.zeros(8, 5), "head.weight"),
    ("rspin", "codebook.weight", nan, "not finite"),
]


@pytest.mark.parametrize(("kind", "key", "value", "words"), CHANGES)
def test_changed_checkpoints(tmp_path, kind, key, value, words):
    """Parameters that are missing, unexpected, misshapen or not finite, and architectures that are not implemented."""
    content, weights, config = open_checkpoint(kind)
    place = weights if "." in key else config
    if value is DROP:
        del place[key]
    else:
        place[key] = value(place[key]) if callable(value) else value
    torch.save(content, tmp_path / "changed.pt")
    assert words in error_of(tmp_path / "changed.pt", load_encoder if kind == "fairseq" else load_model)


def test_other_dictionaries(tmp_path, small_encoder):
    content, path = fairseq_content(small_encoder), tmp_path / "e.pt"
    without = ({"model": content["model"]}, {"cfg": content["cfg"]}, {"state_dict": {}}, {"state_dict": None})
    for other in (content["model"], {}, *without):
        torch.save(other, path)
        assert "known formats" in error_of(path)
    torch.save([1, 2], path)
    assert "a list" in error_of(path)


def test_bad_folders(tmp_path, small_encoder):
    (tmp_path / "empty").mkdir()
    assert "config.json" in error_of(tmp_path / "empty" / "config.json", lambda path: load_encoder(path.parent))
    folder = tmp_path / "folder"
    export_transformers(folder, small_encoder)
    config = json.loads((folder / "config.json").read_text())
    for change, word in (
        ({"model_type": "wav2vec2"}, "model_type"),
        ({"hidden_act": "relu"}, "hidden_act"),
        ({"feat_proj_layer_norm": False}, "feat_proj_layer_norm"),
        ({"model_type": "wavlm"}, "missing parameter"),
    ):
        (folder / "config.json").write_text(json.dumps(config | change))
        assert word in error_of(folder)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").unlink()
    assert "pytorch_model.bin" in error_of(folder)
    (folder / "config.json").write_text("[1]")
    assert "list" in error_of(folder)


def test_our_own_files_of_another_version_or_kind(tmp_path, small_encoder):
    path = tmp_path / "e.safetensors"
    for note, words, load in (
        ({"format": "spin encoder 9"}, "spin encoder 9", load_encoder),
        ({"format": "spin encoder 1", "shape": "{"}, "'shape'", load_encoder),
        ({"format": "spin model 1", "config": "{}"}, "'encoder'", load_model),
    ):
        save_file({"x": torch.zeros(1)}, path, metadata={"spin": json.dumps(note)})
        assert words in error_of(path, load)
    save_encoder(tmp_path / "e.safetensors", small_encoder)
    save_model(tmp_path / "m.safetensors", make_model())
    assert "load_encoder" in error_of(tmp_path / "e.safetensors", load_model)
    assert "load_model" in error_of(tmp_path / "m.safetensors", load_encoder_file)


def test_official_checkpoint_away_from_its_base(golden_dir, tmp_path):
    path = shutil.copy(golden_dir / "spin_official.ckpt", tmp_path / "spin.ckpt")
    assert "base=" in error_of(path, load_model)
    assert load_model(path, base=golden_dir / "hubert_fairseq.pt").encoder.shape.heads == 4
    assert "load_model" in error_of(path)


@pytest.fixture(scope="module")
def model_weights(tmp_path_factory) -> dict[str, torch.Tensor]:
    path = tmp_path_factory.mktemp("whole") / "m.safetensors"
    save_model(path, make_model(codebook_size=4, codebook_dim=4))
    return load_file(path)


SHAPE_VALUES = st.sampled_from([None, "x", -1, 0, 2.5, [], [1], [None], {}, float("nan"), float("inf"), True, 10**30])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([field.name for field in dataclasses.fields(EncoderShape)]), SHAPE_VALUES)
def test_any_wrong_shape_is_an_error_of_the_file(tmp_path, model_weights, key, value):
    path = tmp_path / "m.safetensors"
    config = {"encoder": SMALL.as_dict() | {key: value}, "layer": 3, "codebook_size": 4, "codebook_dim": 4}
    note = json.dumps({"format": "spin model 1", "config": json.dumps(config)})
    save_file(model_weights, path, metadata={"spin": note})
    try:
        load_model(path)
    except CheckpointError as error:
        assert str(path) == error.subject


def test_encoder_in_half_precision(tmp_path, small_encoder):
    save_encoder(tmp_path / "whole.safetensors", small_encoder)
    save_encoder(tmp_path / "half.safetensors", small_encoder, dtype="float16")
    half, whole = (load_encoder(tmp_path / f"{name}.safetensors") for name in ("half", "whole"))
    assert (tmp_path / "half.safetensors").stat().st_size < 0.7 * (tmp_path / "whole.safetensors").stat().st_size
    assert {parameter.dtype for parameter in half.parameters()} == {torch.float32}
    check_close(hidden(half), hidden(small_encoder), 1e-2)
    assert torch.equal(hidden(whole), hidden(small_encoder))


def test_weights_that_cannot_be_stored(tmp_path, small_encoder):
    with torch.no_grad():
        small_encoder.layer_norm.weight[0] = 1e6
    with pytest.raises(CheckpointError, match=r"layer_norm\.weight"):
        save_encoder(tmp_path / "e.safetensors", small_encoder, dtype="float16")
    assert not list(tmp_path.iterdir())
