"""Exported models give the same numbers in every reader: this package, transformers, torch.hub."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from spin.errors import CheckpointError
from spin.models import weights
from spin.models.importers import HEAD_FILE, is_model_source, load_encoder
from spin.objectives.model import load_model, save_model
from spin.tools.export import export_transformers, main
from tests.models.conftest import SHAPES, check_close, make_encoder, make_model

LENGTHS = (400, 719, 720, 3000, 8001)


def same_parameters(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_the_folder_is_read_back_as_the_same_model(tmp_path, name):
    model = make_model(name, layer=2)
    export_transformers(tmp_path / "folder", model)
    assert is_model_source(tmp_path / "folder")
    back = load_model(tmp_path / "folder")
    assert back.layer == model.layer and back.encoder.shape == model.encoder.shape and same_parameters(back, model)
    encoder = load_encoder(tmp_path / "folder")
    assert encoder.shape == model.encoder.shape and same_parameters(encoder, model.encoder)
    save_model(tmp_path / "a.safetensors", model)
    save_model(tmp_path / "b.safetensors", back)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_an_encoder_alone_and_a_second_export_over_the_first(tmp_path):
    model = make_model("wavlm")
    export_transformers(tmp_path, model)
    export_transformers(tmp_path, make_encoder(SHAPES["hubert"]))
    assert not is_model_source(tmp_path)
    assert not (tmp_path / HEAD_FILE).exists()
    assert load_encoder(tmp_path).shape == SHAPES["hubert"]
    with pytest.raises(CheckpointError, match="neither head nor codebook"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_transformers_gives_the_same_hidden_states(tmp_path, name):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (requirements/test.txt)")
    encoder = make_encoder(SHAPES[name])
    export_transformers(tmp_path, encoder)
    theirs, notes = transformers.AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert type(theirs).__name__ == {"hubert": "HubertModel", "wavlm": "WavLMModel"}[encoder.shape.arch]
    assert not any(notes[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    prepare = transformers.AutoFeatureExtractor.from_pretrained(tmp_path)
    for length in LENGTHS:
        waveforms = torch.randn(1, length, generator=torch.Generator().manual_seed(length))
        inputs = prepare(waveforms[0].numpy(), sampling_rate=16_000, return_tensors="pt").input_values
        with torch.no_grad():
            outputs = theirs.eval()(inputs, output_hidden_states=True)
            expected, _ = encoder(waveforms, torch.tensor([length]))
            last = encoder.layer_norm(expected[-1]) if encoder.shape.norm_first else expected[-1]
        found = outputs.hidden_states
        check_close(outputs.last_hidden_state, last)
        assert len(found) == len(expected) == encoder.shape.layers + 1
        for one, other in zip(found, expected, strict=True):
            check_close(one, other)
    theirs.save_pretrained(tmp_path / "again")
    again = load_encoder(tmp_path / "again")
    assert again.shape == encoder.shape and same_parameters(again, encoder)


def rewrite_head(path, **metadata) -> None:
    weights.write(path, load_file(path), {"format": "spin head 2", **metadata}, "float32", None)


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        (HEAD_FILE, None, HEAD_FILE),
        (HEAD_FILE, lambda path: path.write_bytes(path.read_bytes()[:100]), "bytes that cannot be read"),
        (HEAD_FILE, lambda path: save_file(load_file(path), path), "spin head 2"),
        (HEAD_FILE, lambda path: rewrite_head(path, layer=9999), "1 to 3"),
        (HEAD_FILE, lambda path: rewrite_head(path), "layer None"),
        ("config.json", lambda path: path.write_text("{"), "config.json"),
        ("config.json", lambda path: path.write_text("[]"), "a list"),
        ("config.json", {"official_frames": "all"}, "official_frames 'all'"),
        ("config.json", {"waveform_norm_eps": -1}, "waveform_norm_eps"),
        ("config.json", None, "config.json"),  # as a killed export leaves it
    ],
)
def test_damaged_folders(tmp_path, file, change, words):
    export_transformers(tmp_path / "folder", make_model("hubert"))
    path = tmp_path / "folder" / file
    if change is None:
        path.unlink()
    elif isinstance(change, dict):
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    else:
        change(path)
    with pytest.raises(CheckpointError, match=words) as caught:
        load_model(tmp_path / "folder")
    assert "folder" in caught.value.subject


def test_weights_that_are_not_finite_are_not_written(tmp_path):
    model = make_model("hubert")
    with torch.no_grad():
        model.encoder.layers[0].ffn_in.bias[0] = float("nan")
    with pytest.raises(CheckpointError, match="intermediate_dense"):
        export_transformers(tmp_path / "folder", model)
    assert not (tmp_path / "folder" / "config.json").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="a file"):
        export_transformers(tmp_path / "file", model)


def test_the_command(tmp_path, capsys):
    model = make_model("hubert")
    save_model(tmp_path / "m.safetensors", model)
    folder = tmp_path / "folder"
    main(["--model", str(tmp_path / "m.safetensors"), "--output", str(folder)])
    assert same_parameters(load_model(folder), model)
    main(["--encoder", str(folder), "--output", str(tmp_path / "encoder")])
    assert same_parameters(load_encoder(tmp_path / "encoder"), model.encoder)
    assert f"{folder}: transformers" in capsys.readouterr().out
    with pytest.raises(CheckpointError, match="no such file"):
        main(["--model", str(tmp_path / "nothing"), "--output", str(folder)])


def test_torch_hub(tmp_path, repository):
    model = make_model("hubert_large")
    save_model(tmp_path / "m.safetensors", model)
    hub = {"repo_or_dir": str(repository), "source": "local"}
    assert same_parameters(torch.hub.load(model="spin_model", path=str(tmp_path / "m.safetensors"), **hub), model)
    mini = load_encoder("mini")
    assert same_parameters(torch.hub.load(model="mini", **hub), mini)
    assert same_parameters(torch.hub.load(model="encoder", name_or_path="mini", **hub), mini)
