"""Batches: padding, order, length, resuming; SpecAugment."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lhotse import CutSet, MonoCut

from spin import artifacts
from spin.asr.batches import MAX_PADDED_SHARE, BatchSampler, collate, frames_of, spec_augment, split_to_fit
from spin.asr.inputs import InputReader
from spin.data.store import load_array
from tests.asr.tiny_asr import cuts_of
from tests.data.test_plan import DECILES


def test_collate_sorts_pads_and_changes(made_corpus):
    cuts = {cut.id: cut for cut in cuts_of(made_corpus, "train").subset(first=5)}
    batch = collate(cuts.values(), InputReader().read)
    lengths = {name: frames_of(cut, artifacts.HIDDEN_FIELD) for name, cut in cuts.items()}
    assert batch.lengths.tolist() == [lengths[name] for name in batch.ids] == sorted(lengths.values(), reverse=True)
    for cut, row, length, text in zip(batch.cuts, batch.inputs, batch.lengths, batch.texts):
        assert torch.equal(row[:length], torch.from_numpy(load_array(cut, artifacts.HIDDEN_FIELD).astype(np.float32)))
        assert not row[length:].any() and text == cuts[cut.id].supervisions[0].text
    changed = collate(cuts.values(), InputReader().read, lambda name, inputs: inputs + 1)
    assert torch.equal(changed.inputs[0], batch.inputs[0] + 1)


def ids_of(batches) -> list[list[str]]:
    return [[cut.id for cut in cuts] for cuts in batches]


def make_cuts(seconds) -> CutSet:
    return CutSet.from_cuts([MonoCut(f"u{number}", 0.0, float(value), 0) for number, value in enumerate(seconds)])


@settings(max_examples=25)
@given(
    corpus=st.sampled_from(sorted(DECILES)),
    count=st.integers(1, 600),
    batch_seconds=st.sampled_from([10.0, 24.0, 60.0, 256.0]),
    seed=st.integers(0, 10**6) | st.none(),
)
def test_batches_hold_every_cut_once_and_none_is_too_long_after_padding(corpus, count, batch_seconds, seed):
    draws = np.random.default_rng(seed).uniform(0.0, 10.0, count)
    sampler = BatchSampler(make_cuts(np.interp(draws, np.arange(11), DECILES[corpus]).round(3)), batch_seconds, seed)
    orders = []
    for epoch in (0, 1):
        batches = list(sampler.batches(epoch))
        assert sorted(cut.id for batch in batches for cut in batch) == sorted(f"u{number}" for number in range(count))
        for batch in batches:
            assert len(batch) == 1 or len(batch) * max(cut.duration for cut in batch) <= MAX_PADDED_SHARE * batch_seconds
        orders.append(ids_of(batches))
    assert ids_of(sampler.batches(0)) == orders[0]
    assert count < 50 or (orders[0] == orders[1]) == (seed is None)


def test_splitting_by_hand():
    assert ids_of(split_to_fit(list(make_cuts([3, 1, 2])), 9.0)) == [["u0", "u1", "u2"]]
    assert ids_of(split_to_fit(list(make_cuts([3, 1, 2, 1])), 9.0)) == [["u1", "u3"], ["u2", "u0"]]
    assert ids_of(split_to_fit(list(make_cuts([30, 1, 2, 1])), 9.0)) == [["u1", "u3"], ["u2"], ["u0"]]


@given(st.integers(1, 400), st.integers(1, 40), st.integers(0, 5))
def test_spec_augment_masks_whole_spans_and_repeats(frames, dimensions, seed):
    features, fill = np.ones((frames, dimensions), dtype=np.float32), np.full(dimensions, 7.0, dtype=np.float32)
    masked = spec_augment(features.copy(), fill, seed, 3, "u1")
    assert set(np.unique(masked)) <= {1.0, 7.0}
    rows, columns = (masked == 7).all(axis=1), (masked == 7).all(axis=0)
    assert ((masked == 7) == (rows[:, None] | columns[None, :])).all()
    assert rows.mean() <= 0.5 or columns.all()
    assert np.array_equal(masked, spec_augment(features.copy(), fill, seed, 3, "u1"))


def test_spec_augment_of_units_depends_on_seed_epoch_and_utterance():
    units = np.arange(1, 301)
    results = [spec_augment(units.copy(), 0, *key) for key in ((0, 0, "a"), (1, 0, "a"), (0, 1, "a"), (0, 0, "b"))]
    assert len({masked.tobytes() for masked in results}) == 4
    for masked in results:
        assert 0 < (masked == 0).sum() <= 60 and np.array_equal(masked[masked > 0], units[masked > 0])
    assert spec_augment(np.ones(1, dtype=np.int64), 0, 0, 0, "a").tolist() == [1]
