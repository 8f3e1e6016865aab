"""The unit extractor as a program: the same units as the model's in any batch, without this package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spin.errors import CheckpointError
from spin.models import export_program
from spin.models.spin_model import SpinModel
from tests.models.conftest import SHAPES
from tests.models.test_export import LENGTHS, make_model, waves


def check_program(program, model: SpinModel, lengths: tuple[int, ...]) -> None:
    waveforms, count = waves(*lengths, seed=sum(lengths))
    units, frames = program(waveforms, count)
    for row, number, length, waveform in zip(units, frames.tolist(), lengths, waveforms, strict=True):
        assert number == model.encoder.feature_extractor.frame_lengths(length)
        assert (row[number:] == export_program.NO_UNIT).all()
        if number:
            assert torch.equal(row[:number], model.units(waveform[None, :length], torch.tensor([length]))[0])


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """programs(kind, name) -> (model, file); each is written once."""
    made = {}

    def get(kind: str, name: str) -> tuple[SpinModel, Path]:
        if (kind, name) not in made:
            model, path = make_model(name), tmp_path_factory.mktemp("program") / f"units{export_program.KINDS[kind]}"
            export_program.export_program(path, model, kind)
            made[kind, name] = model, path
        return made[kind, name]

    return get


@pytest.mark.parametrize(("kind", "name"), [("torchscript", name) for name in sorted(SHAPES)] + [("torch-export", "wavlm")])
def test_the_program_gives_the_same_units_in_any_batch(programs, kind, name):
    model, path = programs(kind, name)
    program = torch.jit.load(path) if kind == "torchscript" else torch.export.load(path).module()
    for lengths in ((400,), LENGTHS, (8001,) * 3, (16_000, 10, 399)):
        check_program(program, model, lengths)

    @settings(max_examples=15)
    @given(st.lists(st.integers(400, 6000), min_size=1, max_size=4))
    def any_batch(lengths):
        check_program(program, model, tuple(lengths))

    any_batch()


LOAD = {
    "torchscript": "torch.jit.load(path, _extra_files=extra)",
    "torch-export": "torch.export.load(path, extra_files=extra).module()",
}


@pytest.mark.parametrize("kind", sorted(LOAD))
def test_the_program_runs_where_this_package_is_not(tmp_path, programs, kind):
    model, path = programs(kind, "wavlm")
    waveforms, lengths = waves(3000, 2000)
    torch.save([waveforms, lengths], tmp_path / "batch.pt")
    code = f"""
import json, sys
sys.modules["spin"] = None
import torch
path, extra = {str(path)!r}, {{{export_program.DESCRIPTION!r}: ""}}
program = {LOAD[kind]}
units, frames = program(*torch.load({str(tmp_path / "batch.pt")!r}))
print(json.dumps([[row[:n].tolist() for row, n in zip(units, frames)], json.loads(extra["spin.json"])]))
"""
    shown = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    units, description = json.loads(shown.stdout.splitlines()[-1])
    assert units == [row.tolist() for row in model.units(waveforms, lengths)]
    assert description["codebook_size"] == 16 and description["samples_per_unit"] == 320 and description["no_unit"] == -1


def test_formats_and_suffixes_that_are_none(tmp_path):
    model = make_model("hubert")
    with pytest.raises(CheckpointError, match="onnx"):
        export_program.export_program(tmp_path / "u.onnx", model, "onnx")
    with pytest.raises(CheckpointError, match="suffix '.bin'"):
        export_program.export_program(tmp_path / "u.bin", model, "torchscript")
    assert not list(tmp_path.iterdir())
