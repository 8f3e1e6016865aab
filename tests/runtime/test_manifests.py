"""Manifests with an index: the same cuts from anywhere in the file, and nothing believed that is not of these bytes."""

from __future__ import annotations

import gzip
import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spin.errors import DataError
from spin.runtime.manifests import BLOCK, index_path, read_index, write_manifest


def cut(number: int) -> dict:
    return {
        "id": f"u{number:05d}",
        "start": 0.5 * number,
        "duration": 1 + number / 7,
        "channel": 0,
        "supervisions": [{"speaker": f"s{number % 3}", "text": "caf\u00e9"}] if number % 5 else [],
        "recording": {"sampling_rate": 16_000},
    }


@pytest.fixture(scope="module", params=[0, 1, BLOCK, 3 * BLOCK + 5])
def manifest(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("manifest") / "cuts_a.jsonl.gz"
    assert write_manifest(path, map(cut, range(request.param))) == request.param
    return path, [cut(number) for number in range(request.param)]


def test_the_file_is_plain_gzip_without_a_time_stamp(manifest, tmp_path):
    path, cuts = manifest
    content = path.read_bytes()
    assert content[4:8] == bytes(4)
    assert [json.loads(line) for line in gzip.decompress(content).decode().splitlines()] == cuts
    write_manifest(tmp_path / "cuts_a.jsonl.gz", iter(cuts))
    assert (tmp_path / "cuts_a.jsonl.gz").read_bytes() == content


def test_columns(manifest):
    index, (_, cuts) = read_index(manifest[0]), manifest
    assert len(index) == len(cuts)
    assert [identity.decode() for identity in index.ids] == [one["id"] for one in cuts]
    assert index.durations.tolist() == [one["duration"] for one in cuts]
    assert index.starts.tolist() == [one["start"] for one in cuts]
    speakers = [index.names[number] if number >= 0 else None for number in index.speakers]
    assert speakers == [one["supervisions"][0]["speaker"] if one["supervisions"] else None for one in cuts]


@given(first=st.integers(0, 4 * BLOCK), size=st.none() | st.integers(0, 3 * BLOCK))
def test_any_range_is_that_of_the_whole(manifest, first, size):
    path, cuts = manifest
    last = None if size is None else first + size
    assert [json.loads(line) for line in read_index(path).lines(first, last)] == cuts[first:last]
    if first < len(cuts):
        assert read_index(path).record(first) == cuts[first]


@pytest.fixture
def copy(tmp_path):
    path = tmp_path / "cuts_a.jsonl.gz"
    write_manifest(path, map(cut, range(200)))
    return path


def test_an_index_of_another_manifest_is_none(copy, tmp_path):
    write_manifest(tmp_path / "cuts_b.jsonl.gz", map(cut, range(1, 201)))
    shutil.copy(index_path(tmp_path / "cuts_b.jsonl.gz"), index_path(copy))
    assert read_index(copy) is None


DAMAGES = {
    "absent": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "other bytes": lambda path: path.write_bytes(b"x" * 99),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:300]),
    "other arrays": lambda path: np.savez(path, made_of=1),
}


@pytest.mark.parametrize("change", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_index_is_none(copy, change):
    assert read_index(copy) is not None
    change(index_path(copy))
    assert read_index(copy) is None


def test_damage_in_the_manifest_is_an_error(copy):
    index = read_index(copy)
    content = bytearray(copy.read_bytes())
    content[index.offsets[1] + 20 : index.offsets[1] + 60] = bytes(40)
    copy.write_bytes(content)
    with pytest.raises(DataError, match="cuts 64 and after"):
        list(index.lines(BLOCK, BLOCK + 1))
