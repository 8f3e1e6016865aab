"""What a stage was made from: keys of the configuration, contents of the files that these name."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path

import pytest

from spin import artifacts
from spin.config import Config
from spin.errors import DataError
from spin.runtime.files import write_json
from spin.runtime.upkeep import _BLOCK, _BLOCKS, NAMED_FILES, content_digest, difference, kept_products, made_from, why_again

STAGES = {"corpus": 0, "encoder": 2, "asr": 4, "decoding": 5}


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
    assert content_digest(tmp_path / "missing") is None
    folder = tmp_path / "folder"
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "a.tsv").write_bytes(b"1")
    seen = {content_digest(folder)}
    (folder / "in" / "a.tsv").write_bytes(b"2")
    seen.add(content_digest(folder))
    (folder / "in" / "a.tsv").rename(folder / "a.tsv")
    seen.add(content_digest(folder))
    assert len(seen) == 3 and None not in seen and content_digest(folder) in seen


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


def test_the_same_path_written_otherwise_is_no_change():
    old = {"config": {"corpus.corpus_dir": "speech/", "corpus.name": "a"}, "before": None}
    assert difference(old, {"config": {"corpus.corpus_dir": "./speech", "corpus.name": "a"}, "before": None}) is None
    assert "corpus_dir changed" in difference(old, {"config": {"corpus.corpus_dir": "talk", "corpus.name": "a"}, "before": None})


def test_what_is_drawn_in_training_belongs_to_training():
    other = dataclasses.replace(Config(), perturbation=dataclasses.replace(Config().perturbation, formant_ratio_max=1.2))
    floor = dataclasses.replace(Config(), perturbation=dataclasses.replace(Config().perturbation, pitch_floor_in_hz=60.0))
    for stage, changed in ((1, floor), (2, other)):
        same = {1: other, 2: floor}[stage]
        now = made_from(stage, Config(), Path("exp"), Path("corpus"))
        assert made_from(stage, same, Path("exp"), Path("corpus")) == now
        assert difference(now, made_from(stage, changed, Path("exp"), Path("corpus"))) is not None
    older = {
        "config": {"perturbation.formant_ratio_max": 1.4, **made_from(1, Config(), Path("e"), Path("c"))["config"]},
        "before": None,
    }
    assert difference(older, made_from(1, other, Path("e"), Path("c"))) is None  # a mark of when it mattered


@pytest.mark.parametrize("content", [{}, [], None, {"made_from": {}}, {"made_from": {"config": {}}}, 3])
def test_marks_that_say_nothing_are_named(tmp_path, content):
    write_json(artifacts.done_mark(tmp_path, 0), content)
    with pytest.raises(DataError, match=r"stage0.json(?s:.)*remove the file"):
        why_again(0, Config(), tmp_path, tmp_path)


def test_what_must_be_there_after_a_stage(tmp_path):
    for name in ("cuts_a.jsonl.gz", "cuts_a.index.npz", "cuts_a_pitch.jsonl.gz", "lexicon.txt", "rejects_stage0.jsonl", "other"):
        (tmp_path / name).touch()
    assert kept_products(0, tmp_path) == ["cuts_a.jsonl.gz", "lexicon.txt"]
    now = made_from(0, Config(), tmp_path, tmp_path)
    write_json(artifacts.done_mark(tmp_path, 0), {"made_from": now, "run": "1", "products": kept_products(0, tmp_path)})
    assert why_again(0, Config(), tmp_path, tmp_path) is None
    (tmp_path / "lexicon.txt").unlink()
    assert why_again(0, Config(), tmp_path, tmp_path) == "lexicon.txt is gone"
