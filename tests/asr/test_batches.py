"""Batches: padding, order, sampling, resuming."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spin import artifacts
from spin.asr.batches import collate, frames_of, open_cuts, repeat_epochs, sample_batches, spec_augment
from spin.asr.inputs import InputReader
from spin.data.store import load_array
from spin.errors import DataError


@pytest.fixture
def train(made_corpus):
    return open_cuts(made_corpus / "exp", "fbank", "features", ["train"])


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
        list(open_cuts(made_corpus / "exp", "fbank", "features", ["nosuch"]))
    with pytest.raises(DataError, match="no part"):
        open_cuts(made_corpus / "exp", "fbank", "features", [])


def test_spec_augment_masks_all_layers_alike():
    fill = np.stack([np.full(40, 7.0, np.float32), np.full(40, 9.0, np.float32)])
    masked = spec_augment(np.ones((300, 2, 40), dtype=np.float32), fill, 0, 0, "a")
    alone = spec_augment(np.ones((300, 40), dtype=np.float32), fill[0], 0, 0, "a")
    assert np.array_equal(masked[:, 0], alone)
    assert np.array_equal(masked[:, 1] == 9.0, alone == 7.0)


@given(st.integers(1, 400), st.integers(1, 40), st.integers(0, 5))
def test_spec_augment_masks_whole_spans_and_repeats(frames, dimensions, seed):
    features = np.ones((frames, dimensions), dtype=np.float32)
    fill = np.full(dimensions, 7.0, dtype=np.float32)
    masked = spec_augment(features.copy(), fill, seed, 3, "u1")
    assert set(np.unique(masked)) <= {1.0, 7.0}
    rows, columns = (masked == 7).all(axis=1), (masked == 7).all(axis=0)
    assert ((masked == 7) == (rows[:, None] | columns[None, :])).all()
    assert rows.mean() <= 0.5 or not columns.size or columns.all()
    assert np.array_equal(masked, spec_augment(features.copy(), fill, seed, 3, "u1"))


def test_spec_augment_depends_on_seed_epoch_and_utterance():
    fill = np.full(40, 7.0, dtype=np.float32)
    keys = [(0, 0, "a"), (1, 0, "a"), (0, 1, "a"), (0, 0, "b")]
    results = [spec_augment(np.ones((300, 40), dtype=np.float32), fill, *key).tobytes() for key in keys]
    assert len(set(results)) == 4


def test_spec_augment_masks_spans_of_units():
    units = np.arange(1, 301)
    masked = spec_augment(units.copy(), 0, 0, 0, "a")
    assert 0 < (masked == 0).sum() <= 60 and np.array_equal(masked[masked > 0], units[masked > 0])
    assert np.array_equal(masked, spec_augment(units.copy(), 0, 0, 0, "a"))
    assert not np.array_equal(masked, spec_augment(units.copy(), 0, 0, 1, "a"))
    assert spec_augment(np.ones(1, dtype=np.int64), 0, 0, 0, "a").tolist() == [1]
