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
from spin.models import importers
from spin.models.architecture import EncoderShape
from spin.models.importers import load_encoder
from spin.models.weights import load_encoder_file, save_encoder
from spin.objectives.model import load_model, save_model
from spin.tools.export import export_transformers
from tests.models.conftest import SMALL, check_close, make_model
from tests.models.writers import error_of, fairseq_content, hidden

FC1 = "encoder.layers.1.fc1.weight"
both_loaders = pytest.mark.parametrize("load", [load_encoder, load_model])


class Malicious:
    """Runs a command when unpickled the ordinary way."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch '{self.canary}'",)


@pytest.fixture
def message(tmp_path, small_encoder):
    """The error of a fairseq file after a change of its content."""

    def message(change) -> str:
        content = fairseq_content(small_encoder)
        change(content)
        torch.save(content, tmp_path / "e.pt")
        return error_of(tmp_path / "e.pt")

    return message


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
    folder = export_transformers(tmp_path / "folder", small_encoder)
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


def test_missing_names_and_paths(tmp_path):
    message = error_of("HUBERT_TINY")
    assert "HUBERT_BASE" in message and "mini" in message and "known formats" in message
    assert "did you mean 'HUBERT_BASE'?" in error_of("hubert-base")
    assert "'systems=[baseline,{name: other" in error_of("spin_hubert_256")
    error_of(tmp_path / "nothing.ckpt", load_model)


def test_missing_unexpected_and_misshapen_parameters(message):
    def changed(**parameters) -> str:
        return message(lambda content: content["model"].update(parameters))

    def of(key: str, change) -> str:
        return message(lambda content: content["model"].update({key: change(content["model"][key])}))

    assert f"missing parameter {FC1!r}" in message(lambda content: content["model"].pop(FC1))
    extra = FC1.replace("1", "7", 1)
    assert f"unexpected parameter {extra!r}" in changed(**{extra: torch.zeros(1)})
    cut = of(FC1, lambda weight: weight[:, :-1])
    assert FC1 in cut and "(40, 23)" in cut and "(40, 24)" in cut
    assert FC1 in of(FC1, torch.Tensor.long)
    for key in ("encoder.layer_norm.weight", "encoder.pos_conv.0.weight_v", "feature_extractor.conv_layers.6.0.weight"):
        assert key in changed(**{key: None}) and key in changed(**{key: torch.zeros(())})


@pytest.mark.parametrize(
    ("key", "value"),
    [("activation_fn", "relu"), ("layer_type", "conformer"), ("extractor_mode", "mel"), ("conv_feature_layers", "[(1,2)]"),
     ("conv_feature_layers", None), ("conv_feature_layers", "__import__('os')"), ("encoder_attention_heads", 5)],
)  # fmt: skip
def test_architectures_that_are_not_implemented(message, key, value):
    assert key.removeprefix("encoder_attention_") in message(lambda content: content["cfg"]["model"].update({key: value}))


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
    folder = export_transformers(tmp_path / "folder", small_encoder)
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


def test_official_checkpoints_that_differ(golden_dir, tmp_path):
    def message(change) -> str:
        changed = torch.load(golden_dir / "spin_official.ckpt", weights_only=True)
        change(changed)
        torch.save(changed, tmp_path / "spin.ckpt")
        return error_of(tmp_path / "spin.ckpt", lambda path: load_model(path, base=golden_dir / "hubert_fairseq.pt"))

    for key, value in {"normalize": True, "feat_select": "ffn", "pre_normalize": True}.items():
        assert key in message(lambda c, k=key, v=value: c["hyper_parameters"]["model"]["encoder"].update({k: v}))
    assert "head.bias" in message(lambda c: c["state_dict"].pop("pred_head.layers.0.bias"))
    assert "pred_head.layers.1.bias" in message(lambda c: c["state_dict"].update({"pred_head.layers.1.bias": torch.zeros(1)}))
    assert "loss_module.codebook.weight" in message(lambda c: c["state_dict"].pop("loss_module.codebook.weight"))
    for key in ("pred_head.layers.0.weight", "loss_module.codebook.weight"):
        assert "not finite" in message(lambda c, k=key: c["state_dict"][k].view(-1)[0].fill_(float("nan")))
    assert "encoder.layers.0.fc1.weight" in message(lambda c: c["state_dict"].pop("encoder.model.encoder.layers.0.fc1.weight"))


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
