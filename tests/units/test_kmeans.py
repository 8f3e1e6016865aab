"""k-means: finds what is there, the same bits every time, bounded memory, clear errors."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import MiniBatchKMeans

from spin import artifacts
from spin.errors import DataError
from spin.units import kmeans
from spin.units.kmeans import DeviceKMeans, Utterances, assign, draw_utterances, train_kmeans


def blobs(count: int = 4, utterances: int = 12, frames: int = 60, dim: int = 5, seed: int = 0):
    random = np.random.default_rng(seed)
    centres = random.normal(size=(count, dim)) * 10
    labels = [random.integers(0, count, frames) for _ in range(utterances)]
    features = {f"u{i:02d}": centres[own] + random.normal(size=(frames, dim)) for i, own in enumerate(labels)}
    return centres, labels, Utterances(list(features), [frames] * utterances, features.__getitem__)


def test_finds_well_separated_clusters():
    centres, labels, data = blobs()
    found, inertia = train_kmeans(data, 4, starts=3, epochs=3)
    match = [int(np.argmin(((found.numpy() - centre) ** 2).sum(1))) for centre in centres]
    assert sorted(match) == [0, 1, 2, 3]
    for name, own in zip(data.names, labels):
        assert (assign(found, data.load(name)) == np.array(match)[own]).all()
    assert 4 < inertia < 6  # five dimensions of unit variance


def test_same_seed_same_bits_whatever_the_cores():
    _, _, data = blobs(count=9)
    first = train_kmeans(data, 6, seed=3)
    torch.set_num_threads(2)
    again = train_kmeans(data, 6, seed=3)
    torch.set_num_threads(1)
    assert torch.equal(first[0], again[0]) and first[1] == again[1]
    assert not torch.equal(first[0], train_kmeans(data, 6, seed=4)[0])


def test_the_device_takes_the_steps_of_scikit_learn():
    _, _, data = blobs(count=9)
    frames = np.concatenate([data.load(name) for name in data.names]).astype(np.float32)
    ours = DeviceKMeans(frames[:5], torch.device("cpu"))
    theirs = MiniBatchKMeans(5, init=frames[:5], n_init=1, reassignment_ratio=0.0, compute_labels=False)
    for batch in np.split(frames, 4):
        ours.partial_fit(batch)
        theirs.partial_fit(batch)
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, rtol=1e-4, atol=1e-4)
    assert ours.score(frames) == pytest.approx(theirs.score(frames), rel=1e-4)


@pytest.mark.parametrize("small", [{"CPU": None}, {"BATCH_FRAMES": 100, "MIN_SAMPLE_FRAMES": 50}])
def test_the_steps_of_a_device_and_small_batches_give_as_good_a_result(monkeypatch, small):
    """Without CPU, torch.device("cpu") is treated as a GPU."""
    for name, value in small.items():
        monkeypatch.setattr(kmeans, name, value)
    assert 4 < train_kmeans(blobs(utterances=40)[2], 4, device=torch.device("cpu"), epochs=2)[1] < 7


def test_every_epoch_has_every_frame_once_in_an_order_of_its_own_and_long_utterances_are_split():
    numbers = {"long": 950, "short": 30, "other": 70} | {f"u{number}": 60 for number in range(20)}
    features = {name: np.full((count, 2), index, np.float32) for index, (name, count) in enumerate(numbers.items())}
    data = Utterances(list(numbers), list(numbers.values()), features.__getitem__)
    batches = list(kmeans._batches(data, 0, 0, 100))
    assert all(100 <= len(batch) < 300 for batch in batches)
    assert not np.array_equal(batches[0], next(kmeans._batches(data, 0, 1, 100)))
    _, counts = np.unique(np.concatenate(batches)[:, 0], return_counts=True)
    assert counts.tolist() == list(numbers.values())


def test_utterances_are_drawn_up_to_the_budget_in_any_order():
    """36 s are 1,800 frames: as many utterances of 400 frames as first reach them."""
    custom = {artifacts.HIDDEN_FIELD: np.zeros((400, 2))}
    cuts = [SimpleNamespace(id=f"u{number}", custom=custom) for number in range(20)]
    drawn = draw_utterances([*cuts, cuts[3]], 0.01, seed=0)
    assert sum(drawn.frames) == 2000 and len(set(drawn.names)) == 5
    assert draw_utterances(cuts[::-1], 0.01, seed=0).names == drawn.names
    assert draw_utterances(cuts, 0.01, seed=1).names != drawn.names
    assert draw_utterances(cuts, 5.0, seed=0).names == sorted(cut.id for cut in cuts)


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 8))
def test_assign_equals_slow_oracle_and_does_not_depend_on_company(seed, frames, clusters):
    random = np.random.default_rng(seed)
    centres = random.normal(size=(clusters, 3)).astype(np.float32)
    x = random.normal(size=(frames, 3)).astype(np.float32)
    units = assign(torch.from_numpy(centres), x)
    distances = ((x[:, None].astype(np.float64) - centres.astype(np.float64)) ** 2).sum(-1)
    picked = distances[np.arange(frames), units]
    assert np.all(picked <= distances.min(1) + 1e-4) and units.dtype == np.int32


def test_ties_go_to_the_lowest_number():
    centres = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]])
    assert assign(centres, np.array([[0.0, 5.0], [2.0, 0.0], [-2.0, 0.0]])).tolist() == [0, 0, 1]
    assert assign(centres, np.zeros((0, 2))).tolist() == []


def test_as_many_clusters_as_frames_and_no_more():
    points = np.arange(6, dtype=np.float64)[:, None] * 10
    data = Utterances(["u"], [6], lambda name: points)
    centres, inertia = train_kmeans(data, 6)
    assert sorted(assign(centres, points).tolist()) == list(range(6)) and inertia == pytest.approx(0)
    with pytest.raises(DataError, match="6 frames"):
        train_kmeans(data, 7)
