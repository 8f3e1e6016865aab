"""The exported unit extractor gives the same units as the model in any batch, without this package."""

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
from spin.objectives.model import SpinModel, save_model
from spin.tools import export_program
from spin.tools.export import main
from tests.models.conftest import SHAPES, make_model
from tests.tools.test_export import LENGTHS, waves


def program_of(model: SpinModel) -> export_program.UnitProgram:
    return export_program.UnitProgram(model.encoder, model.head, model.codebook, model.layer)


def check_program(program, model: SpinModel, lengths: tuple[int, ...]) -> None:
    waveforms, count = waves(*lengths, seed=sum(lengths))
    units, frames = program(waveforms, count)
    for row, number, length, waveform in zip(units, frames.tolist(), lengths, waveforms, strict=True):
        assert number == model.encoder.feature_extractor.frame_lengths(length)
        assert (row[number:] == export_program.NO_UNIT).all()
        if number:
            assert torch.equal(row[:number], model.units(waveform[None, :length], torch.tensor([length]))[0])


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> tuple[SpinModel, Path]:
    """A WavLM model and its program, written by the command."""
    folder = tmp_path_factory.mktemp("program")
    model = make_model("wavlm", layer=2)
    save_model(folder / "m.safetensors", model)
    main(["--model", str(folder / "m.safetensors"), "--format", "torch-export", "--output", str(folder / "units.pt2")])
    return model, folder / "units.pt2"


@pytest.mark.parametrize("name", sorted(SHAPES))
@torch.no_grad()
def test_the_program_before_export_equals_the_model(name):
    model = make_model(name, layer=2)
    for lengths in ((400,), LENGTHS, (16_000, 10, 399)):
        check_program(program_of(model).eval(), model, lengths)


def test_the_file_gives_the_same_units_in_any_batch(exported):
    model, path = exported
    program = torch.export.load(path).module()
    for lengths in ((400,), LENGTHS, (8001,) * 3, (16_000, 10, 399)):
        check_program(program, model, lengths)

    @settings(max_examples=15)
    @given(st.lists(st.integers(400, 6000), min_size=1, max_size=4))
    def check_any_batch(lengths):
        check_program(program, model, tuple(lengths))

    check_any_batch()


def test_the_file_runs_without_this_package(tmp_path, exported):
    model, path = exported
    waveforms, lengths = waves(3000, 2000)
    torch.save([waveforms, lengths], tmp_path / "batch.pt")
    code = f"""
import json, sys
sys.modules["spin"] = None
import torch
extra = {{{export_program.DESCRIPTION!r}: ""}}
program = torch.export.load({str(path)!r}, extra_files=extra).module()
units, frames = program(*torch.load({str(tmp_path / "batch.pt")!r}))
print(json.dumps([[row[:n].tolist() for row, n in zip(units, frames)], json.loads(extra["spin.json"])]))
"""
    shown = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    units, description = json.loads(shown.stdout.splitlines()[-1])
    assert units == [row.tolist() for row in model.units(waveforms, lengths)]
    assert description["codebook_size"] == 16 and description["samples_per_unit"] == 320 and description["no_unit"] == -1


def test_other_suffixes(tmp_path):
    with pytest.raises(CheckpointError, match="suffix '.bin'"):
        export_program.export_program(tmp_path / "u.bin", program_of(make_model("hubert")))
    assert not list(tmp_path.iterdir())
