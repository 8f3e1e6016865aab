"""What a stage was made from: keys of the configuration, contents of the files that these name."""

from __future__ import annotations

import dataclasses
import hashlib
import os

import pytest

from spin import artifacts
from spin.config import Config
from spin.runtime.files import write_json
from spin.runtime.upkeep import _BLOCK, _BLOCKS, NAMED_FILES, content_digest, difference, made_from, why_again

STAGES = {"corpus": 0, "asr": 4, "decoding": 5}


def naming(key: str, path) -> Config:
    section, name = key.split(".")
    default = Config()
    return dataclasses.replace(default, **{section: dataclasses.replace(getattr(default, section), **{name: str(path)})})


@pytest.mark.parametrize("key", NAMED_FILES)
def test_changed_contents_make_a_stage_again(tmp_path, key):
    path, stage, folder = tmp_path / "named", STAGES[key.split(".")[0]], tmp_path / "folder"
    path.write_bytes(b"one")
    config = naming(key, path)
    first = made_from(stage, config, folder, folder)
    write_json(artifacts.done_mark(folder, stage), {"made_from": first, "run": "1"})
    os.utime(path, (1, 1))  # only what is in it counts
    assert why_again(stage, config, folder, folder) is None
    path.write_bytes(b"two")
    assert why_again(stage, config, folder, folder) == f"{key}: the content of {path} changed"
    path.unlink()  # what was made from it is still good
    assert why_again(stage, config, folder, folder) is None
    others = [made_from(other, config, folder, folder) for other in range(6) if other != stage]
    assert not any("files" in other for other in others)


def test_marks_without_files_stay_as_they_are(tmp_path):
    for stage in range(6):
        assert set(made_from(stage, Config(), tmp_path, tmp_path)) == {"config", "before"}
    path = tmp_path / "named"
    path.write_bytes(b"one")
    now = made_from(5, naming("decoding.arpa", path), tmp_path, tmp_path)
    older = {name: now[name] for name in ("config", "before")}
    assert difference(older, now) is None and difference(now, older) is None


def test_digest(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert content_digest(path) == f"3:{hashlib.sha256(b'abc').hexdigest()}"
    path.write_bytes(b"")
    assert content_digest(path) == f"0:{hashlib.sha256().hexdigest()}"
    assert content_digest(tmp_path) is None and content_digest(tmp_path / "missing") is None


@pytest.mark.parametrize("size", [_BLOCK * _BLOCKS - 1, _BLOCK * _BLOCKS, 20 * _BLOCK + 7])
def test_ends_of_large_files_are_read(tmp_path, size):
    path = tmp_path / "large"
    path.write_bytes(bytes(size))
    found = {content_digest(path)}
    for place in (0, _BLOCK - 1, size - 1):
        with open(path, "r+b") as stream:
            stream.seek(place)
            stream.write(b"x")
        found.add(content_digest(path))
    assert len(found) == 4
