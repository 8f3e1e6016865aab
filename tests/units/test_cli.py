"""python -m spin units: any rate, format and number of channels; clear errors; no partial output. Its benchmark."""

import json

import numpy as np
import pytest
import soundfile
import torch

from spin.__main__ import main
from spin.errors import CheckpointError, DataError
from spin.objectives.model import load_model
from spin.runtime.files import read_jsonl
from spin.tools.benchmark_units import make_extractors
from spin.units import cli


@pytest.fixture
def speech(tmp_path):
    """A second of something at 16 kHz."""
    time = np.arange(16_000) / 16_000
    return (0.3 * np.sin(2 * np.pi * (200 + 300 * time) * time)).astype(np.float32)


def run(model, files, output):
    cli.main(["--model", str(model), "--audio", *map(str, files), "--output", str(output), "--device", "cpu"])
    return {record["id"]: record["units"] for record in read_jsonl(output)}


def test_units_equal_the_model_alone_and_in_any_company(tmp_path, speech, small_models):
    soundfile.write(tmp_path / "one.wav", speech, 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "two.flac", speech[:9000], 16_000)
    both = run(small_models[1], [tmp_path / "one.wav", tmp_path / "two.flac"], tmp_path / "units.jsonl")
    assert list(both) == ["one", "two"]
    expected = load_model(small_models[1]).units(torch.from_numpy(speech)[None], torch.tensor([16_000]))[0]
    assert both["one"] == expected.tolist() and len(both["one"]) == 49
    assert run(small_models[1], [tmp_path / "two.flac"], tmp_path / "alone.jsonl") == {"two": both["two"]}


def test_rates_channels_and_formats(tmp_path, speech, small_models):
    cases = {"low.wav": 8000, "cd.wav": 44_100, "studio.flac": 48_000, "old.ogg": 22_050}
    for name, rate in cases.items():
        soundfile.write(tmp_path / name, np.ones((rate, 1 if name == "low.wav" else 2)), rate)
    units = run(small_models[1], [tmp_path / name for name in cases], tmp_path / "units.jsonl")
    assert {name: len(own) for name, own in units.items()} == {"low": 49, "cd": 49, "studio": 49, "old": 49}
    soundfile.write(tmp_path / "stereo.wav", np.stack([speech, 0 * speech], axis=1), 16_000, subtype="FLOAT")
    assert np.allclose(cli.load_audio(tmp_path / "stereo.wav", 400), speech / 2, atol=1e-7)


def test_names_are_paths_where_stems_repeat(tmp_path, speech, small_models):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / "x.wav", speech, 16_000)
    files = [tmp_path / "a" / "x.wav", tmp_path / "b" / "x.wav"]
    assert list(run(small_models[1], files, tmp_path / "units.jsonl")) == list(map(str, files))


BAD_FILES = {
    "short.wav": (lambda path: soundfile.write(path, np.ones(399), 16_000), "399 samples"),
    "empty.wav": (lambda path: soundfile.write(path, np.ones(0), 16_000), "empty.wav"),
    "nan.wav": (lambda path: soundfile.write(path, np.full(16_000, np.nan), 16_000, subtype="FLOAT"), "not finite"),
    "text.wav": (lambda path: path.write_text("no audio"), "text.wav"),
    "nothing.flac": (lambda path: path.write_bytes(b""), "nothing.flac"),
    "folder.wav": (lambda path: path.mkdir(), "a folder"),
    "missing.wav": (lambda path: None, "no such file"),
    "good.wav": (lambda path: None, "given 2 times"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_errors_name_the_file_and_write_nothing(tmp_path, speech, small_models, name):
    make, words = BAD_FILES[name]
    make(tmp_path / name)
    soundfile.write(tmp_path / "good.wav", speech, 16_000)
    with pytest.raises(DataError, match=words):
        run(small_models[1], [tmp_path / "good.wav", tmp_path / name], tmp_path / "units.jsonl")
    assert not list(tmp_path.glob("*units.jsonl"))
    with pytest.raises(CheckpointError, match="no.safetensors"):
        run(tmp_path / "no.safetensors", [tmp_path / "good.wav"], tmp_path / "units.jsonl")


def test_the_benchmark_names_its_reference_and_its_systems_share_what_they_have_in_common(small_models, capsys):
    words = ["--encoder", str(small_models[0]), "--seconds", "5", "--device", "cpu", "--json"]
    assert main(["benchmark", "units", *words]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["ratio"] > 0 and result["reference"] and result["device"] == "cpu" and result["audio_seconds"] >= 5
    _, after = make_extractors(str(small_models[0]), torch.device("cpu")).values()
    assert after.shared == 1  # all but the top two layers
