"""The speaker probe: finds a speaker that is there, chance where there is none, a fixed split."""

from __future__ import annotations

import math

import numpy as np
import pytest

from spin.units.speaker_probe import histogram, probe_speakers, split


def make(speakers: int, utterances: int, strength: float, seed: int = 0, dim: int = 12):
    random = np.random.default_rng(seed)
    voices = random.normal(size=(speakers, dim)) * strength
    names = [f"{s:02d}-{u:03d}" for s in range(speakers) for u in range(utterances)]
    labels = [name.split("-")[0] for name in names]
    return voices[[int(label) for label in labels]] + random.normal(size=(len(names), dim)), names, labels


def test_finds_speakers_that_are_there_and_no_others():
    accuracy, chance = probe_speakers(*make(6, 20, 5.0))
    assert accuracy > 0.99 and chance == pytest.approx(1 / 6)
    assert abs(probe_speakers(*make(4, 200, 0.0))[0] - 0.25) < 0.08
    features, names, labels = make(5, 12, 0.5)
    one, scaled = probe_speakers(features, names, labels), probe_speakers(features * 1000 + 5, names, labels)
    assert scaled[0] == pytest.approx(one[0], abs=0.1)


def test_split_is_fixed_disjoint_and_does_not_depend_on_order():
    names = [f"{s}-{u}" for s in "abc" for u in range(10)] + ["lonely-1"]
    speakers = [name.split("-")[0] for name in names]
    train, test = split(names, speakers)
    assert not set(train) & set(test) and len(train) == 24 and len(test) == 6
    assert {speakers[i] for i in train} == {speakers[i] for i in test} == set("abc")
    order = np.random.default_rng(0).permutation(len(names))
    again, _ = split([names[i] for i in order], [speakers[i] for i in order])
    assert [names[order[i]] for i in again] == [names[i] for i in train]
    assert split(names, speakers, seed=1)[0] != train


@pytest.mark.parametrize(("speakers", "utterances"), [(1, 10), (5, 1), (0, 0)])
def test_nothing_to_tell_apart(speakers, utterances):
    assert all(math.isnan(value) for value in probe_speakers(*make(speakers, utterances, 1.0)))


def test_histogram_by_hand():
    shares = histogram(np.array([2, 0, 2, 2]), 4)
    assert shares.dtype == np.float32 and shares.tolist() == [0.25, 0, 0.75, 0]
    assert histogram(np.zeros(0, int), 3).tolist() == [0, 0, 0]


@pytest.mark.parametrize(("own", "low", "high"), [(True, 0.9, 1.0), (False, 0.0, 0.45)])
def test_speakers_from_unit_histograms(own: bool, low: float, high: float):
    """Speakers that prefer units of their own are found; speakers that use all alike are not."""
    random = np.random.default_rng(0)
    names = [f"{s}-{u:02d}" for s in "abcd" for u in range(24)]
    use = random.dirichlet(np.full(16, 0.5), 4) if own else np.full((4, 16), 1 / 16)
    rows = [histogram(random.choice(16, 100, p=use["abcd".index(name[0])]), 16) for name in names]
    assert low <= probe_speakers(np.stack(rows), names, [name[0] for name in names])[0] <= high
