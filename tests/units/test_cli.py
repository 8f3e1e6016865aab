"""python -m spin units: any rate, format and number of channels; clear errors; no partial output."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch

from spin.errors import CheckpointError, DataError
from spin.objectives.model import load_model
from spin.runtime.files import read_jsonl
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
        at = np.arange(rate) / rate
        left = 0.3 * np.sin(2 * np.pi * 220 * at)
        stereo = np.stack([left, 0.5 * left], axis=1)
        soundfile.write(tmp_path / name, stereo if name != "low.wav" else left, rate)
    units = run(small_models[1], [tmp_path / name for name in cases], tmp_path / "units.jsonl")
    assert {name: len(own) for name, own in units.items()} == {"low": 49, "cd": 49, "studio": 49, "old": 49}


def test_channels_are_averaged(tmp_path, speech):
    soundfile.write(tmp_path / "stereo.wav", np.stack([speech, 0 * speech], axis=1), 16_000, subtype="FLOAT")
    assert np.allclose(cli.read_audio(tmp_path / "stereo.wav", 400), speech / 2, atol=1e-7)


def test_names_are_paths_where_stems_repeat(tmp_path, speech, small_models):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / "x.wav", speech, 16_000)
    files = [tmp_path / "a" / "x.wav", tmp_path / "b" / "x.wav"]
    assert list(run(small_models[1], files, tmp_path / "units.jsonl")) == list(map(str, files))


def bad_files(folder, speech):
    soundfile.write(folder / "short.wav", speech[:399], 16_000)
    soundfile.write(folder / "empty.wav", speech[:0], 16_000)
    soundfile.write(folder / "nan.wav", np.full(16_000, np.nan, np.float32), 16_000, subtype="FLOAT")
    (folder / "text.wav").write_text("no audio")
    (folder / "nothing.flac").write_bytes(b"")
    (folder / "folder.wav").mkdir()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("short.wav", "399 samples"),
        ("empty.wav", "empty.wav"),
        ("nan.wav", "not finite"),
        ("text.wav", "text.wav"),
        ("nothing.flac", "nothing.flac"),
        ("folder.wav", "a folder"),
        ("missing.wav", "no such file"),
        ("good.wav good.wav", "given 2 times"),
    ],
)
def test_errors_name_the_file_and_write_nothing(tmp_path, speech, small_models, name, words):
    bad_files(tmp_path, speech)
    soundfile.write(tmp_path / "good.wav", speech, 16_000)
    files = [tmp_path / "good.wav", tmp_path / name] if " " not in name else [tmp_path / "good.wav"] * 2
    with pytest.raises(DataError, match=words):
        run(small_models[1], files, tmp_path / "units.jsonl")
    assert not list(tmp_path.glob("*units.jsonl"))


def test_a_missing_model(tmp_path, speech):
    soundfile.write(tmp_path / "good.wav", speech, 16_000)
    with pytest.raises(CheckpointError, match="no.safetensors"):
        run(tmp_path / "no.safetensors", [tmp_path / "good.wav"], tmp_path / "units.jsonl")
