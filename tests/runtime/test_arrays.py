"""Copied and moved experiments read their own arrays."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from lhotse import CutSet, MonoCut, NumpyFilesWriter

from spin.errors import DataError
from spin.runtime.arrays import Home


def write(folder, value: float) -> None:
    """A manifest of one cut with an array, as stage 3 leaves it."""
    with NumpyFilesWriter(folder / "arrays" / "test" / "hidden") as writer:
        array = writer.store_array("u1", np.full((5, 2), value, np.float32), frame_shift=0.02, temporal_dim=0, start=0.0)
    cut = MonoCut("u1", start=0.0, duration=0.1, channel=0).with_custom("hidden", array).with_custom("note", "other")
    CutSet.from_cuts([cut, MonoCut("u2", start=0.0, duration=0.1, channel=0)]).to_file(folder / "cuts.jsonl.gz")


def read(folder) -> list:
    return list(Home(folder).cuts(CutSet.from_jsonl_lazy(folder / "cuts.jsonl.gz")))


def test_a_copy_reads_its_own_arrays(tmp_path):
    write(tmp_path / "a", 1.0)
    assert read(tmp_path / "a")[0].load_hidden()[0, 0] == 1.0
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    write(tmp_path / "a", 2.0)  # made again, with other settings
    first, second = read(tmp_path / "b")
    assert first.load_hidden()[0, 0] == 1.0 and first.note == "other" and second.custom is None
    assert read(tmp_path / "a")[0].load_hidden()[0, 0] == 2.0
    (tmp_path / "a").rename(tmp_path / "moved")
    assert read(tmp_path / "moved")[0].load_hidden()[0, 0] == 2.0


def test_a_folder_reached_through_a_link_is_the_same(tmp_path):
    write(tmp_path / "a", 1.0)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    stored = str(tmp_path / "a" / "arrays" / "test" / "hidden")
    assert Home(tmp_path / "link").path(stored) == stored


def test_arrays_of_another_experiment_are_refused(tmp_path):
    write(tmp_path / "a", 1.0)
    (tmp_path / "b").mkdir()
    shutil.copy(tmp_path / "a" / "cuts.jsonl.gz", tmp_path / "b")
    with pytest.raises(DataError, match="(?s)belongs to another folder.*stage 3 with --force"):
        read(tmp_path / "b")
    with pytest.raises(DataError, match="belongs to another"):
        Home(tmp_path / "b").path("/somewhere")


def test_descriptions(tmp_path):
    write(tmp_path / "a", 1.0)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    plain = {"hidden": read(tmp_path / "a")[0].hidden.to_dict()}
    found = Home(tmp_path / "b").described(plain)
    assert found["hidden"]["array"]["storage_path"] == str(tmp_path / "b" / "arrays" / "test" / "hidden")
    assert plain["hidden"]["array"]["storage_path"] == str(tmp_path / "a" / "arrays" / "test" / "hidden")
