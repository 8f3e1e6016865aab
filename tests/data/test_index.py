"""Stages 1 to 3 see the same utterances with the index of a manifest and without it."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import soundfile

from spin import artifacts
from spin.data.pair_cuts import read_cuts, scan_pair_cuts
from spin.errors import DataError
from spin.perturbation.stage import read_utterances
from spin.runtime.manifests import BLOCK, index_path, write_manifest
from spin.units import shards

PART, COUNT = "train", BLOCK + 7


def record(folder, number: int, rate: int = 16_000) -> dict:
    samples = 3_000 + number * 997 % 9_000
    name, seconds = f"u{number:04d}", samples / 16_000
    source = folder / f"{number % 3}.wav"
    if not source.exists():
        soundfile.write(source, np.random.default_rng(number).uniform(-0.1, 0.1, 12_000), 16_000)
    recording = {"id": name, "sources": [{"type": "file", "channels": [0], "source": str(source)}], "sampling_rate": rate,
                 "num_samples": 12_000, "duration": 0.75, "channel_ids": [0]}  # fmt: skip
    said = {"id": name, "recording_id": name, "start": 0.0, "duration": seconds, "text": "A", "speaker": f"s{number % 5}"}
    supervisions = [said] if number % 7 else []
    return {"id": name, "start": 0.0, "duration": seconds, "channel": 0, "supervisions": supervisions, "recording": recording,
            "type": "MonoCut"}  # fmt: skip


@pytest.fixture
def manifests(tmp_path):
    """(folder with an index, folder without)."""
    folders = tmp_path / "with", tmp_path / "without"
    for folder in folders:
        folder.mkdir()
        for path in (artifacts.cuts(folder, PART), artifacts.pitch_cuts(folder, PART)):
            write_manifest(path, (record(tmp_path, number) for number in range(COUNT)))
            if folder is folders[1]:
                index_path(path).unlink()
    return folders


def test_stage_1(manifests):
    with_index, without = (read_utterances(folder, PART) for folder in manifests)
    for one, two in zip(with_index, without, strict=True):
        assert dataclasses.replace(one, source={}, number=0) == dataclasses.replace(two, source={}, number=0)
        (first, rate), (second, other) = one.load(), two.load()
        assert rate == other and np.array_equal(first, second)


def test_a_manifest_that_changed_meanwhile(tmp_path):
    path = artifacts.cuts(tmp_path, PART)
    write_manifest(path, [record(tmp_path, 0), record(tmp_path, 1)])
    before = read_utterances(tmp_path, PART)
    write_manifest(path, [record(tmp_path, 1), record(tmp_path, 2)])
    with pytest.raises(DataError, match="changed meanwhile"):
        before[0].load()


@pytest.mark.parametrize("min_samples", [0, 5_000, 11_000])
def test_stage_2(manifests, min_samples):
    found = [
        scan_pair_cuts([artifacts.pitch_cuts(folder, PART)], min_samples=min_samples, max_samples=8_000, batch_seconds=0.2)
        for folder in manifests
    ]
    assert dataclasses.replace(found[0], paths=()) == dataclasses.replace(found[1], paths=())
    for one, two in itertools.islice(zip(found[0].epoch(0, 1), found[1].epoch(0, 1), strict=True), 5):
        assert dataclasses.replace(one, source=None) == dataclasses.replace(two, source=None)
        assert one.cut() == two.cut() and (one.duration, one.samples) == (one.cut().duration, one.cut().num_samples)


def test_stage_2_with_a_manifest_that_changed_meanwhile(tmp_path):
    path = artifacts.pitch_cuts(tmp_path, PART)
    write_manifest(path, [record(tmp_path, 0), record(tmp_path, 1)])
    planned = list(scan_pair_cuts([path], min_samples=0, max_samples=8_000, batch_seconds=1).epoch(0, 0))
    write_manifest(path, [record(tmp_path, 1)])
    for crop in planned:
        with pytest.raises(DataError, match="changed meanwhile"):
            crop.cut()


def test_a_wrong_rate_is_named_with_the_index_too(tmp_path):
    path = artifacts.pitch_cuts(tmp_path, PART)
    write_manifest(path, [record(tmp_path, 0), record(tmp_path, 1, 8_000)])
    with pytest.raises(DataError, match="u0001"):
        scan_pair_cuts([path], min_samples=0, max_samples=8_000, batch_seconds=1)


def test_stage_3(manifests):
    paths = [artifacts.cuts(folder, PART) for folder in manifests]
    assert shards.plan(paths[0], PART, "x") == shards.plan(paths[1], PART, "x")
    for first, last in ((0, None), (0, 3), (BLOCK - 2, BLOCK + 2), (COUNT - 1, COUNT), (COUNT, None)):
        assert list(shards.read_cuts(paths[0], first, last)) == list(shards.read_cuts(paths[1], first, last))


def test_spin_reads_cuts_without_words(manifests):
    assert all(not cut.supervisions for cut in read_cuts([artifacts.pitch_cuts(manifests[0], PART)]))
