"""Means of weights, early stopping, utterances end to end; and a training with all of them, killed and gone on with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from spin import artifacts
from spin.asr.augment import concatenate
from spin.asr.averaging import WeightStore, validations_without_gain
from spin.asr.features import Batch
from spin.asr.training_stage import train_asr
from spin.runtime.checkpoints import read_checkpoint
from spin.runtime.files import read_jsonl
from tests.asr.toys import train_until_killed


def layer(value: float) -> nn.Module:
    made = nn.Linear(1, 1)
    nn.init.constant_(made.weight, value)
    nn.init.constant_(made.bias, 0.0)
    return made


def test_mean_by_hand_and_what_is_kept(tmp_path):
    store = WeightStore(tmp_path, 2)
    assert store.mean(99) is None
    store.keep(10, layer(8.0))
    assert store.mean(10) is None
    for step, value in ((20, 1.0), (30, 2.0)):
        store.keep(step, layer(value))
    assert [path.name for path in store.paths(99)] == ["weights-000000020.pt", "weights-000000030.pt"]
    assert float(store.mean(30)["weight"]) == 1.5
    assert store.mean(20) is None  # what lies ahead is of a run that was cut off


@pytest.mark.parametrize(
    ("rates", "wanted"), [([], 0), ([5.0], 0), ([5.0, 4.0], 0), ([4.0, 4.0], 1), ([3.0, 4.0, 5.0], 2), ([5.0, 3.0, 4.0], 1)]
)
def test_validations_without_gain(rates, wanted):
    assert validations_without_gain(rates) == wanted


def batch_of(lengths: list[int]) -> Batch:
    lengths = sorted(lengths, reverse=True)
    features = torch.zeros(len(lengths), lengths[0], 2)
    for row, length in enumerate(lengths):
        features[row, :length] = row + 1.0
    names = [f"u{row}" for row in range(len(lengths))]
    return Batch(names, features, torch.tensor(lengths), [name.upper() for name in names])


def test_end_to_end_by_hand():
    joined = concatenate(batch_of([9, 6, 3, 2]), np.full(2, -1.0, np.float32), gap=1)
    assert joined.ids == ["u0", "u1+u3", "u2"] and joined.texts == ["U0", "U1 U3", "U2"]
    assert joined.lengths.tolist() == [9, 9, 3]
    assert joined.features[1, :, 0].tolist() == [2.0] * 6 + [-1.0] + [4.0] * 2
    assert joined.features[2, :, 1].tolist() == [3.0] * 3 + [0.0] * 6


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(0, 4))
def test_nothing_is_lost_end_to_end(lengths, gap):
    batch = batch_of(lengths)
    joined = concatenate(batch, np.zeros(2, np.float32), gap)
    assert sorted("+".join(joined.ids).split("+")) == sorted(batch.ids)
    assert joined.features.shape[1] == int(joined.lengths.max()) == max(lengths)
    assert torch.equal(joined.features.sum(), batch.features.sum())
    assert (joined.lengths[1:] <= joined.lengths[:-1]).all()
    assert (joined.features.abs().sum(2) > 0).sum() == sum(lengths)


@pytest.mark.parametrize("kill_at", [17, 33])
def test_a_training_with_everything_goes_on_to_the_same_bits(work_folder, tools, tmp_path_factory, kill_at):
    config = tools.config(average=3, patience=2, concatenate=True, valid_every_steps=10)
    whole = tmp_path_factory.mktemp("whole")
    (whole / "exp").mkdir()
    (whole / "exp" / "units").symlink_to((work_folder / "exp" / "units").resolve())
    (whole / "data").symlink_to((work_folder / "data").resolve())
    contexts = [tools.context(folder, config) for folder in (whole, work_folder)]
    train_asr(contexts[0])
    train_until_killed(contexts[1], "spin", kill_at)
    train_asr(contexts[1])
    first, second = (read_checkpoint(artifacts.asr_model(context.exp, "spin", 0)) for context in contexts)
    assert first[0] == second[0]
    assert all(torch.equal(first[1]["model"][name], second[1]["model"][name]) for name in first[1]["model"])
    assert (
        artifacts.asr_history(whole / "exp", "spin", 0).read_bytes()
        == artifacts.asr_history(contexts[1].exp, "spin", 0).read_bytes()
    )


def test_a_training_that_gains_nothing_stops_early(work_folder, tools):
    config = tools.config(patience=1, learning_rate=0.0, valid_every_steps=10)
    context = tools.context(work_folder, config)
    train_asr(context)
    records = list(read_jsonl(artifacts.asr_history(context.exp, "spin", 0)))
    assert [record["step"] for record in records] == [10, 20]
    before = artifacts.asr_model(context.exp, "spin", 0).read_bytes()
    train_asr(context)  # nothing is left to do
    assert artifacts.asr_model(context.exp, "spin", 0).read_bytes() == before
