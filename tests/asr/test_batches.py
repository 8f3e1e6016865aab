"""Batches: padding, order, sampling, resuming."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spin import artifacts
from spin.asr.batches import collate, frames_of, manifests, open_cuts, repeat_epochs, sample_batches
from spin.asr.inputs import InputReader
from spin.data.store import load_array
from spin.errors import DataError


@pytest.fixture
def train(made_corpus):
    return open_cuts(manifests(made_corpus / "exp", "fbank", "features", ["train"]))


def _never(cut) -> bool:
    return False


def test_collate_sorts_pads_and_changes(train):
    cuts = train.subset(first=5).to_eager()
    batch = collate(cuts, InputReader().read)
    assert batch.lengths.tolist() == sorted((frames_of(cut, artifacts.HIDDEN_FIELD) for cut in cuts), reverse=True)
    by_id = {cut.id: cut for cut in cuts}
    for row, name in enumerate(batch.ids):
        length = int(batch.lengths[row])
        stored = load_array(by_id[name], artifacts.HIDDEN_FIELD).astype(np.float32)
        assert torch.equal(batch.inputs[row, :length], torch.from_numpy(stored))
        assert not batch.inputs[row, length:].any()
        assert batch.texts[row] == by_id[name].supervisions[0].text
    changed = collate(cuts, InputReader().read, lambda name, inputs: inputs + 1)
    assert torch.equal(changed.inputs[0], batch.inputs[0] + 1)
    assert batch.seconds == pytest.approx(sum(cut.duration for cut in cuts))


def ids_of(batches) -> list[list[str]]:
    return [sorted(cut.id for cut in cuts) for cuts in batches]


def test_batches_cover_every_cut_once_within_the_limit(train):
    sampler = sample_batches(train, 60, 8.0, 0)
    sampler.set_epoch(0)
    first = list(sampler)
    assert sorted(name for names in ids_of(first) for name in names) == sorted(cut.id for cut in train)
    assert all(sum(cut.duration for cut in cuts) <= 8.0 for cuts in first)
    sampler.set_epoch(1)
    assert ids_of(sampler) != ids_of(first)
    assert ids_of(sample_batches(train, 60, 8.0, 0)) == ids_of(first)
    assert ids_of(sample_batches(train, 60, 8.0, 1)) != ids_of(first)


def test_a_single_cut_makes_a_batch(train):
    assert len(ids_of(sample_batches(train.subset(first=1), 1, 8.0, None))) == 1


def test_epochs_resume(train):
    walk = repeat_epochs(sample_batches(train, 60, 8.0, 0), 0, 0)
    steps = [next(walk) for _ in range(25)]
    epoch, number, _ = steps[12]
    again = repeat_epochs(sample_batches(train, 60, 8.0, 0), epoch, number + 1)
    for expected in steps[13:]:
        found = next(again)
        assert found[:2] == expected[:2] and ids_of([found[2]]) == ids_of([expected[2]])
    assert steps[-1][0] >= 1


def test_epochs_without_cuts_is_an_error(train):
    empty = train.filter(_never)
    with pytest.raises(DataError, match="no batch"):
        next(repeat_epochs(sample_batches(empty, 0, 8.0, 0), 0, 0))


def test_missing_field_and_manifest_are_named(train, made_corpus):
    cut = next(iter(train))
    with pytest.raises(DataError, match=cut.id):
        frames_of(cut, "nosuch")
    with pytest.raises(DataError, match="nosuch"):
        list(open_cuts([made_corpus / "nosuch.jsonl.gz"]))
    with pytest.raises(DataError, match="no part"):
        open_cuts([])
