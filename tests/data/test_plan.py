"""Composition and length of batches, which ranks, epochs and interruptions cannot change."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spin import artifacts
from spin.config import SpinConfig
from spin.data.cuts import read_cuts
from spin.data.plan import BatchSampler, Crop, FrameLabels, TrainingCuts, duration_bins, fill, num_frames, scan_training_cuts
from spin.errors import DataError
from spin.objectives import NO_LABEL
from spin.runtime.files import write_jsonl
from tests.data.synthetic import RATE, write_corpus

SECONDS = [0.9, *np.random.default_rng(0).uniform(1.0, 4.0, 60).round(3).tolist()]
# Deciles of utterance lengths in seconds: 1,519 utterances of train-clean-5, 41 of test-other, 1,200 of conf/mini.yaml.
DECILES = {
    "train-clean-5": (1.9, 6.3, 10.0, 12.3, 13.2, 13.9, 14.5, 14.9, 15.4, 15.8, 17.3),
    "test-other": (2.5, 2.9, 3.5, 4.3, 6.0, 6.8, 7.5, 8.4, 9.1, 13.3, 18.1),
    "mini": (1.6, 2.3, 2.5, 2.7, 3.0, 3.1, 3.3, 3.6, 3.9, 4.3, 6.3),
}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"), "train", SECONDS)


def _scan(manifest, labels=(), **changes) -> TrainingCuts:
    lengths = {"min_samples": RATE, "max_samples": 3 * RATE, "batch_seconds": 6.0} | changes
    return scan_training_cuts([manifest], SpinConfig(**lengths), labels)


def _ids(plan) -> list[str]:
    return [crop.id for crops in plan.micro_batches for crop in crops]


def test_crops_depend_on_seed_and_epoch_only_and_short_utterances_are_named(manifest):
    cuts = _scan(manifest)
    assert cuts.short == ["train-0000"] and cuts.count == 60
    full = {cut.id: cut for cut in read_cuts(manifest)}
    moved = 0
    for cut in (crop.cut() for crop in cuts.epoch(seed=0, epoch=1)):
        whole = full[cut.id]
        assert cut.num_samples == min(whole.num_samples, 3 * RATE)
        assert 0 <= cut.start and cut.end <= whole.duration + 1e-9
        assert cut.load_audio().shape == (1, cut.num_samples)
        assert cut.supervisions[0].speaker == whole.supervisions[0].speaker and cut.supervisions[0].alignment is None
        moved += cut.start > 0
    assert moved > 10
    assert max(len(crop.record) for crop in cuts.epoch(0, 0)) < 1000
    starts = [[crop.cut().start for crop in cuts.epoch(seed, epoch)] for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))]
    assert starts[0] == starts[1] and starts[0] != starts[2] and starts[0] != starts[3]


def test_order_and_membership_change_from_epoch_to_epoch(manifest):
    sampler = BatchSampler(_scan(manifest), seed=0)
    first, second = ([frozenset(crop.id for crop in batch) for batch in sampler.batches(epoch)] for epoch in (0, 1))
    assert len(set(first) & set(second)) < len(first) / 4
    assert [frozenset(crop.id for crop in batch) for batch in sampler.batches(0)] == first
    assert sum(map(len, first)) == len(frozenset().union(*first)) >= 57  # nothing twice, and little is left over
    plans = itertools.islice(BatchSampler(_scan(manifest, batch_seconds=1000.0), seed=0), 2)  # all in one batch
    assert [(plan.epoch, len(plan.micro_batches[0])) for plan in plans] == [(0, 60), (1, 60)]


def test_starting_in_the_middle_gives_the_same_rest(manifest):
    cuts = _scan(manifest)
    whole = list(itertools.islice(BatchSampler(cuts, seed=3), 60))
    at = 40
    rest = BatchSampler(cuts, seed=3, start=(whole[at].epoch, whole[at].index))
    assert whole[at].epoch > 0
    for expected, found in zip(whole[at:], rest, strict=False):
        assert (expected.epoch, expected.index, _ids(expected)) == (found.epoch, found.index, _ids(found))


@pytest.mark.parametrize(("world_size", "accumulation"), [(2, 1), (1, 3), (3, 2)])
def test_ranks_and_micro_batches_share_out_the_same_batches(manifest, world_size, accumulation):
    alone = itertools.islice(BatchSampler(_scan(manifest), seed=0), 30)
    cuts = _scan(manifest, accumulation=accumulation)
    samplers = [BatchSampler(cuts, seed=0, rank=rank, world_size=world_size) for rank in range(world_size)]
    for whole, *shares in zip(alone, *samplers, strict=False):
        dealt = [name for plan in shares for name in _ids(plan)]
        assert sorted(dealt) == sorted(_ids(whole)) and all(len(plan.micro_batches) == accumulation for plan in shares)


def _sampler(seconds: np.ndarray, batch_seconds: float, equal_lengths: bool, longest: int = 272_000) -> BatchSampler:
    """A sampler of utterances that are lengths alone."""
    samples = (seconds * RATE).astype(int)
    bins = duration_bins(np.minimum(samples, longest), batch_seconds)
    lengths = {"min_samples": RATE, "max_samples": longest, "batch_seconds": batch_seconds, "equal_lengths": equal_lengths}
    cuts = TrainingCuts((), SpinConfig(**lengths), len(samples), bins=bins)
    crops = [Crop(f"u{number:06d}", cuts.cropped_samples(whole) / RATE) for number, whole in enumerate(samples.tolist())]
    object.__setattr__(cuts, "epoch", lambda seed, epoch: crops)
    return BatchSampler(cuts, seed=0)


@settings(max_examples=25)
@given(
    corpus=st.sampled_from(sorted(DECILES)),
    count=st.integers(1, 1500),
    batch_seconds=st.sampled_from([24.0, 64.0, 256.0]),
    equal_lengths=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_no_batch_exceeds_its_seconds_after_padding(corpus, count, batch_seconds, equal_lengths, seed):
    draws = np.random.default_rng(seed).uniform(0.0, 10.0, count)
    seconds = np.maximum(1.0, np.interp(draws, np.arange(11), DECILES[corpus]))
    sampler = _sampler(seconds, batch_seconds, equal_lengths)
    batches = list(sampler.batches(seed % 3))
    ids = [crop.id for batch in batches for crop in batch]
    assert len(ids) == len(set(ids)) and batches
    for batch in batches:
        assert len(batch) * max(crop.duration for crop in batch) <= 1.05 * batch_seconds or len(batch) == 1
    used = sum(crop.duration for batch in batches for crop in batch)
    assert used >= sum(crop.duration for crop in sampler.cuts.epoch(0, 0)) - 3 * batch_seconds  # little is left over


def test_equal_lengths_pad_nothing_but_the_rests_of_the_buckets():
    draws = np.random.default_rng(0).uniform(0.0, 10.0, 6000)
    sampler = _sampler(np.maximum(1.0, np.interp(draws, np.arange(11), DECILES["train-clean-5"])), 256.0, equal_lengths=True)
    assert len(sampler.cuts.bins) > 20
    lengths = {RATE, *(round(boundary * RATE) for boundary in sampler.cuts.bins)}
    assert {round(crop.duration * RATE) for crop in sampler.cuts.epoch(0, 0)} <= lengths
    batches = list(sampler.batches(0))
    padded = [number for number, batch in enumerate(batches) if len({crop.duration for crop in batch}) > 1]
    assert len(padded) <= 0.05 * len(batches) and all(number > 0.8 * len(batches) for number in padded)


def _crops(*samples: int) -> list:
    return [Crop(f"u{number}", length / RATE) for number, length in enumerate(samples)]


def test_filling_by_hand():
    one, two, long = _crops(2 * RATE, 2 * RATE), _crops(3 * RATE), _crops(9 * RATE)
    assert list(fill([one, two], 8.0, 1)) == [one]  # 4 of 8 s are half; the rest is left out
    assert list(fill([two, one[:1]], 8.0, 1)) == [two + one[:1]]  # 3 + 2 s, 6 s after padding
    assert list(fill([two], 8.0, 1)) == [two]  # all there is
    assert [len(batch) for batch in fill([_crops(*[RATE] * 7, 6 * RATE)], 8.0, 1)] == [7, 1]  # 48 s after padding
    assert list(fill([long], 8.0, 1)) == [long]


@given(lengths=st.lists(st.integers(16_000, 300_000), min_size=1, max_size=200), batch=st.sampled_from([1.0, 20.0, 1e6]))
def test_buckets_are_sorted_and_hold_about_the_same(lengths, batch):
    bins = duration_bins(np.array(lengths), batch)
    assert list(bins) == sorted(set(bins)) and len(bins) < 30
    cuts = TrainingCuts((), SpinConfig(min_samples=16_000, equal_lengths=True), len(lengths), bins=bins)
    for samples in lengths:
        assert 16_000 <= cuts.cropped_samples(samples) <= min(samples, 272_000)


def test_labels_of_crops_on_the_frame_grid(manifest, tmp_path):
    labels = {cut.id: list(range(num_frames(cut.num_samples))) for cut in read_cuts(manifest)}
    lines = [{"id": name, "units": units} for name, units in labels.items() if name != "train-0007"]
    lines[1]["units"] = lines[1]["units"][:20]
    write_jsonl(tmp_path / "train.jsonl", [{"id": "not in the manifest", "units": [0]}, *lines])
    for crop in _scan(manifest, labels=[tmp_path / "train.jsonl"]).epoch(0, 1):
        cut = crop.cut()
        first, rest = divmod(round(cut.start * RATE), artifacts.HOP_IN_SAMPLES)
        assert rest == 0
        known = {"train-0007": 0, "train-0001": 20}.get(cut.id, 10**6)
        frames = range(first, first + num_frames(cut.num_samples))
        assert crop.labels.tolist() == [frame if frame < known else NO_LABEL for frame in frames]


@given(st.lists(st.booleans(), max_size=60), st.lists(st.booleans(), max_size=60))
def test_labels_are_found_whatever_either_side_lacks(tmp_path_factory, labelled, asked):
    path = tmp_path_factory.mktemp("labels") / "part.jsonl"
    names = [f"u{number}" for number, there in enumerate(labelled) if there]
    path.write_text("".join(json.dumps({"id": name, "units": [int(name[1:])]}) + "\n" for name in names))
    reader = FrameLabels(path)
    for number in (number for number, there in enumerate(asked) if there):
        assert reader.find(f"u{number}") == ([number] if f"u{number}" in names else [])


def test_mistakes_are_explained(manifest, tmp_path):
    with pytest.raises(DataError, match="(?s)61 utterance.*spin.min_samples"):
        _scan(manifest, min_samples=100 * RATE, max_samples=100 * RATE)
    with pytest.raises(DataError, match="(?s)nowhere.*no such file"):
        _scan(tmp_path / "nowhere.jsonl.gz")
    with pytest.raises(DataError, match="(?s)nowhere.jsonl.*acoustic-pieces"):
        next(_scan(manifest, labels=[tmp_path / "nowhere.jsonl"]).epoch(0, 0))
