"""Batches of pairs: who is in them, how long they are, and that ranks, epochs and interruptions cannot change them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spin.data.pair_cuts import PairCuts, cropped_samples, duration_bins, read_cuts, scan_pair_cuts
from spin.data.pair_sampler import PairSampler
from spin.errors import DataError
from tests.data.synthetic import RATE, write_corpus

SECONDS = [0.9, *np.random.default_rng(0).uniform(1.0, 4.0, 60).round(3).tolist()]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"), "train", SECONDS)


def _scan(manifest, **changes) -> PairCuts:
    return scan_pair_cuts([manifest], **{"min_samples": RATE, "max_samples": 3 * RATE, "batch_seconds": 6.0} | changes)


def _ids(plan) -> list[str]:
    return [cut.id for part in plan.parts for cut in part]


def _epoch(sampler: PairSampler, epoch: int) -> list:
    return list(itertools.takewhile(lambda plan: plan.epoch == epoch, sampler))


def test_short_utterances_are_left_out_and_named_and_long_ones_cropped(manifest):
    cuts = _scan(manifest)
    assert cuts.short == ("train-0000",) and cuts.count == 60
    full = {cut.id: cut for cut in read_cuts([manifest])}
    moved = 0
    for cut in (crop.cut() for crop in cuts.epoch(seed=0, epoch=1)):
        whole = full[cut.id]
        assert cut.num_samples == min(whole.num_samples, 3 * RATE)
        assert 0 <= cut.start and cut.end <= whole.duration + 1e-9
        assert cut.load_audio().shape == (1, cut.num_samples)
        moved += cut.start > 0
    assert moved > 10


def test_crops_depend_on_seed_and_epoch_only(manifest):
    cuts = _scan(manifest)
    starts = [[crop.cut().start for crop in cuts.epoch(seed, epoch)] for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))]
    assert starts[0] == starts[1] and starts[0] != starts[2] and starts[0] != starts[3]


def test_batches_hold_every_utterance_at_most_once_and_not_too_much_audio(manifest):
    plans = _epoch(PairSampler(_scan(manifest), 6.0, seed=0), 0)
    ids = [name for plan in plans for name in _ids(plan)]
    assert len(ids) == len(set(ids)) and len(ids) >= 57
    for plan in plans:
        seconds = [cut.duration for cut in plan.parts[0]]
        assert 3.0 <= sum(seconds) <= 6.0


def test_order_and_membership_change_from_epoch_to_epoch(manifest):
    sampler = PairSampler(_scan(manifest), 6.0, seed=0)
    first, second = ([frozenset(cut.id for cut in batch) for batch in sampler.batches(epoch)] for epoch in (0, 1))
    assert len(set(first) & set(second)) < len(first) / 4
    again = [frozenset(cut.id for cut in batch) for batch in sampler.batches(0)]
    assert again == first


def test_starting_in_the_middle_gives_the_same_rest(manifest):
    cuts = _scan(manifest)
    whole = list(itertools.islice(PairSampler(cuts, 6.0, seed=3), 60))
    at = 40
    rest = PairSampler(cuts, 6.0, seed=3, epoch=whole[at].epoch, index=whole[at].index)
    assert whole[at].epoch > 0
    for expected, found in zip(whole[at:], rest, strict=False):
        assert (expected.epoch, expected.index, _ids(expected)) == (found.epoch, found.index, _ids(found))


@pytest.mark.parametrize(("world_size", "parts"), [(2, 1), (1, 3), (3, 2)])
def test_ranks_and_parts_share_out_the_same_batches(manifest, world_size, parts):
    cuts = _scan(manifest)
    alone = itertools.islice(PairSampler(cuts, 6.0, seed=0), 30)
    samplers = [PairSampler(cuts, 6.0, seed=0, rank=rank, world_size=world_size, parts=parts) for rank in range(world_size)]
    for whole, *shares in zip(alone, *samplers, strict=False):
        dealt = [name for plan in shares for name in _ids(plan)]
        assert sorted(dealt) == sorted(_ids(whole)) and all(len(plan.parts) == parts for plan in shares)


def test_a_corpus_smaller_than_a_batch_is_one_batch(manifest):
    plans = itertools.islice(PairSampler(_scan(manifest, batch_seconds=1000.0), 1000.0, seed=0), 3)
    assert [(plan.epoch, len(plan.parts[0])) for plan in plans] == [(0, 60), (1, 60), (2, 60)]


def test_equal_lengths_need_no_padding(manifest):
    cuts = _scan(manifest, batch_seconds=1.5, equal_lengths=True)
    assert len(cuts.bins) > 3
    for cut in cuts.epoch(0, 0):
        assert cut.samples in {RATE, *(round(border * RATE) for border in cuts.bins)}
    plans = _epoch(PairSampler(cuts, 4.0, seed=0), 0)
    padded = [plan for plan in plans if len({cut.samples for cut in plan.parts[0]}) > 1]
    assert len(padded) <= len(plans) / 3  # only what is left over at the end of an epoch is mixed


@given(lengths=st.lists(st.integers(16_000, 300_000), min_size=1, max_size=200), batch=st.sampled_from([1.0, 20.0, 1e6]))
def test_buckets_are_sorted_and_hold_about_the_same(lengths, batch):
    bins = duration_bins(np.array(lengths), batch)
    assert list(bins) == sorted(set(bins)) and len(bins) < 30
    cuts = PairCuts((), 16_000, 272_000, len(lengths), bins=bins, equal_lengths=True)
    for samples in lengths:
        assert 16_000 <= cropped_samples(samples, cuts) <= min(samples, 272_000)


def test_nothing_long_enough_is_an_error_that_says_what_to_do(manifest):
    with pytest.raises(DataError, match="(?s)61 utterance.*spin.min_samples"):
        _scan(manifest, min_samples=100 * RATE)


def test_a_missing_manifest_names_itself(tmp_path):
    with pytest.raises(DataError, match="(?s)cuts_nowhere.*no such file"):
        scan_pair_cuts([tmp_path / "(?s)cuts_nowhere.jsonl.gz"], min_samples=1, max_samples=2, batch_seconds=1.0)
