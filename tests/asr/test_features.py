"""Reading, batching and measuring of stored features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lhotse.utils import fastcopy

from spin import artifacts
from spin.asr.features import FeatureReader, collate, endless, frames_of, measure, open_cuts, sample_batches
from spin.errors import DataError


@pytest.fixture
def train(made_corpus):
    return open_cuts(made_corpus / "exp", "spin", ["train"])


def test_collate_sorts_pads_and_changes(train):
    cuts = train.subset(first=5).to_eager()
    batch = collate(cuts, FeatureReader(0))
    assert batch.lengths.tolist() == sorted((frames_of(cut) for cut in cuts), reverse=True)
    by_id = {cut.id: cut for cut in cuts}
    for row, name in enumerate(batch.ids):
        length = int(batch.lengths[row])
        stored = by_id[name].load_custom(artifacts.HIDDEN_FIELD).astype(np.float32)
        assert torch.equal(batch.features[row, :length], torch.from_numpy(stored))
        assert not batch.features[row, length:].any()
        assert batch.texts[row] == by_id[name].supervisions[0].text
    changed = collate(cuts, FeatureReader(0), lambda name, features: features + 1)
    assert torch.equal(changed.features[0], batch.features[0] + 1)
    assert batch.seconds == pytest.approx(0.02 * int(batch.lengths.sum()))


def test_reader_keeps_within_its_bound(train):
    cuts = list(train.subset(first=3))
    size = cuts[0].load_custom(artifacts.HIDDEN_FIELD).nbytes
    reader = FeatureReader(size)
    assert reader.read(cuts[0]) is reader.read(cuts[0])
    assert reader.read(cuts[1]) is not reader.read(cuts[1])
    assert np.array_equal(reader.read(cuts[2]), cuts[2].load_custom(artifacts.HIDDEN_FIELD))


def test_bad_features_are_named(train):
    cut = next(iter(train))
    array = getattr(cut, artifacts.HIDDEN_FIELD)
    missing = cut.with_custom(artifacts.HIDDEN_FIELD, fastcopy(array, array=fastcopy(array.array, storage_path="nowhere")))
    with pytest.raises(DataError, match=cut.id):
        FeatureReader(0).read(missing)


def test_missing_field_and_manifest_are_named(train, made_corpus):
    cut = next(iter(train))
    with pytest.raises(DataError, match=cut.id):
        frames_of(_without_features(cut))
    with pytest.raises(DataError, match="nosuch"):
        open_cuts(made_corpus / "exp", "spin", ["nosuch"])
    with pytest.raises(DataError, match="no part"):
        open_cuts(made_corpus / "exp", "spin", [])


def _without_features(cut):
    cut = cut.with_custom("other", 1)
    del cut.custom[artifacts.HIDDEN_FIELD]
    return cut


def _never(cut) -> bool:
    return False


def test_statistics_by_hand(train):
    cuts = list(train)
    found = measure(cuts, FeatureReader(0), len(cuts))
    frames = np.concatenate([cut.load_custom(artifacts.HIDDEN_FIELD) for cut in cuts]).astype(np.float64)
    np.testing.assert_allclose(found.mean, frames.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(found.deviation, frames.std(axis=0), rtol=1e-4)
    some = measure(cuts, FeatureReader(0), len(cuts), at_most=20)
    assert not np.array_equal(some.mean, found.mean)
    with pytest.raises(DataError, match="no frame"):
        measure([], FeatureReader(0), 0)


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


def test_endless_goes_on_where_it_was(train):
    walk = endless(sample_batches(train, 60, 8.0, 0), 0, 0)
    steps = [next(walk) for _ in range(25)]
    epoch, number, _ = steps[12]
    again = endless(sample_batches(train, 60, 8.0, 0), epoch, number + 1)
    for wanted in steps[13:]:
        found = next(again)
        assert found[:2] == wanted[:2] and ids_of([found[2]]) == ids_of([wanted[2]])
    assert steps[-1][0] >= 1


def test_endless_without_cuts_is_an_error(train):
    empty = train.filter(_never)
    with pytest.raises(DataError, match="no batch"):
        next(endless(sample_batches(empty, 0, 8.0, 0), 0, 0))
