"""Files of torch.save: what is read back is what was written; of anything else nothing is built and nothing is run."""

from __future__ import annotations

import collections
import io
import os
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spin.runtime.tensor_files import DAMAGE, read_tensor_file

TYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
         torch.uint8, torch.bool)  # fmt: skip


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("canary",)


class Script(torch.nn.Module):
    """Writes a file when it is read by torch.jit.load."""

    def __init__(self):
        super().__init__()
        self.there = True

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        return value

    @torch.jit.export
    def __getstate__(self) -> int:
        return 1

    @torch.jit.export
    def __setstate__(self, state: int) -> None:
        self.there = True
        torch.save(torch.zeros(1), "canary")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not os.path.exists("canary")


def same(one, two) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == two.dtype and one.shape == two.shape and torch.equal(one, two)
    if isinstance(one, dict):
        return list(one) == list(two) and all(same(one[key], two[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return type(one) is type(two) and len(one) == len(two) and all(map(same, one, two))
    return one == two and type(one) is type(two)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_every_type_of_number(dtype):
    values = torch.arange(12).reshape(3, 4).to(dtype)
    written = {"whole": values, "turned": values.T, "part": values[1:, ::2], "none": values[:0], "one": values[0, 0]}
    torch.save(written, "x.pt")
    assert same(read_tensor_file("x.pt"), written)


@settings(deadline=None, max_examples=40)
@given(
    content=st.recursive(
        st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=8,
    )
)
def test_plain_containers(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "x.pt"
    torch.save(content, path)
    assert same(read_tensor_file(path), content)


def test_a_state_dict_and_an_optimiser():
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    optimiser = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    written = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "parameter": next(model.parameters())}
    torch.save(written, "x.pt")
    found = read_tensor_file("x.pt")
    assert isinstance(found["model"], collections.OrderedDict)
    model.load_state_dict(found["model"])
    optimiser.load_state_dict(found["optimiser"])
    assert torch.equal(found["parameter"], next(model.parameters()))


@pytest.mark.parametrize("content", [Harmful(), {"state": Harmful()}, np.float64(1), torch.nn.Linear(1, 1), os.getcwd, {1j}])
def test_other_objects_are_not_built(content):
    torch.save(content, "x.pt")
    with pytest.raises(pickle.UnpicklingError, match="never built"):
        read_tensor_file("x.pt")


def test_a_torchscript_archive_is_not_run():
    torch.jit.save(torch.jit.script(Script()), "x.pt")
    with pytest.raises(DAMAGE):
        read_tensor_file("x.pt")


def test_other_formats():
    torch.save({"x": 1}, "old.pt", _use_new_zipfile_serialization=False)
    with tarfile.open("tar.pt", "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    with zipfile.ZipFile("bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", pickle.dumps("x" * 100_000))
    with zipfile.ZipFile("two.pt", "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps(1))
        archive.writestr("y/data.pkl", pickle.dumps(1))
    for name in ("old.pt", "tar.pt", "bomb.pt", "two.pt", "missing.pt", "."):
        with pytest.raises(DAMAGE):
            read_tensor_file(name)


def rewritten(source: str, change) -> None:
    """A copy of a file of torch.save with another pickle."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile("changed.pt", "w") as copy:
        for entry in archive.infolist():
            content = archive.read(entry)
            copy.writestr(entry.filename, change(content) if entry.filename.endswith("data.pkl") else content)


def test_a_tensor_larger_than_its_storage():
    torch.save(torch.zeros(7), "x.pt")
    for size in (b"K\x08", b"K\xff"):
        rewritten("x.pt", lambda content, size=size: content.replace(b"K\x07\x85", size + b"\x85"))
        with pytest.raises(DAMAGE):
            read_tensor_file("changed.pt")


@settings(deadline=None, max_examples=60)
@given(place=st.floats(0, 1), value=st.integers(0, 255))
def test_any_changed_byte_is_an_error_or_plain_content(place, value, tmp_path_factory):
    path = tmp_path_factory.mktemp("bytes") / "x.pt"
    torch.save({"x": torch.arange(5.0), "y": [1, "a"]}, path)
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] = value
    path.write_bytes(content)
    try:
        read_tensor_file(path)
    except DAMAGE:
        pass
