"""Effects of a training's settings: masks, clipped gradients, and the mean of weights where it is better."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from spin import artifacts
from spin.asr.batches import collate
from spin.asr.inputs import MASK
from spin.asr.training import Training
from spin.asr.validation import WeightStore
from spin.runtime.checkpoints import read_checkpoint
from tests.asr.tiny_asr import SYSTEMS, make_config, make_context, run_stage_4


def spied(monkeypatch, name: str, look) -> None:
    """After each call of a method of Training, `look` gets the training, the arguments and what came back."""
    original = getattr(Training, name)

    def method(self, *given):
        result = original(self, *given)
        look(self, *given, result)
        return result

    monkeypatch.setattr(Training, name, method)


@pytest.mark.parametrize("source", ["features", "units"])
@pytest.mark.parametrize("augmented", [True, False])
def test_training_batches_are_masked_if_asked(work_folder, monkeypatch, augmented, source):
    changed, other_epochs, read = [], [], Training.read

    def look(training, cuts, epoch, batch):
        plain = collate(cuts, training.reader.read).inputs
        different = batch.inputs != plain
        mask = torch.tensor(MASK) if source == "units" else torch.from_numpy(training.job.data.inputs.mean)
        assert torch.equal(batch.inputs[different], mask.expand_as(plain)[different])
        changed.append(float(different.float().mean()))
        other_epochs.append(torch.equal(batch.inputs, read(training, cuts, epoch + 1).inputs))

    spied(monkeypatch, "read", look)
    run_stage_4(make_context(work_folder, make_config({"spec_augment": augmented, "max_steps": 12, "inputs": (source,)})))
    assert len(changed) == 24
    if augmented:
        assert min(changed) > 0.01 and not any(other_epochs)
    else:
        assert max(changed) == 0.0 and all(other_epochs)


def test_gradients_are_clipped(work_folder, monkeypatch):
    norms: dict[float, list[float]] = {}

    def look(training, _, __):
        squares = sum(float(one.grad.square().sum()) for one in training.model.parameters() if one.grad is not None)
        norms.setdefault(training.config.gradient_clip, []).append(math.sqrt(squares))

    spied(monkeypatch, "update", look)
    for limit in (1e6, 0.05):
        run_stage_4(make_context(work_folder, make_config({"gradient_clip": limit, "max_steps": 5})))
    assert min(norms[1e6]) > 0.05  # otherwise there is nothing to clip
    assert norms[0.05] == pytest.approx([0.05] * 10, rel=1e-3)


def layer(value: float) -> nn.Module:
    linear = nn.Linear(1, 1)
    nn.init.constant_(linear.weight, value)
    nn.init.constant_(linear.bias, 0.0)
    return linear


def test_mean_of_weights_by_hand(tmp_path):
    store = WeightStore(tmp_path, 2)
    assert store.mean(99) is None
    store.keep(10, layer(8.0))
    assert store.mean(10) is None
    for step, value in ((20, 1.0), (30, 2.0)):
        store.keep(step, layer(value))
    assert [path.name for path in store.paths(99)] == ["weights-000000020.safetensors", "weights-000000030.safetensors"]
    assert float(store.mean(30)["weight"]) == 1.5
    assert store.mean(20) is None  # later weights belong to an interrupted run


@pytest.mark.parametrize("better", [True, False])
def test_the_mean_of_weights_replaces_the_best_where_it_is_better(work_folder, monkeypatch, better):
    original = Training.measure
    asked = []

    def measure(self, model):
        valid, texts = original(self, model)
        mean = model is not self.model
        asked.append(mean)
        return {**valid, "wer": 50.0, "cer": (10.0 if better else 90.0) if mean else 50.0}, texts

    monkeypatch.setattr(Training, "measure", measure)
    context = make_context(work_folder, make_config({"average": 2, "max_steps": 30, "valid_every_steps": 10}))
    run_stage_4(context)
    assert asked == [False, False, False, True] * 2
    for system in SYSTEMS:
        folder = artifacts.recogniser_folder(context.exp, system, "features", 0)
        paths = WeightStore(folder, 2).paths(30)
        assert [path.name for path in paths] == ["weights-000000020.safetensors", "weights-000000030.safetensors"]
        states = [read_checkpoint(path)[1] for path in paths]
        _, best = read_checkpoint(artifacts.asr_model_in(folder))
        assert float(best["valid"]["cer"]) == (10.0 if better else 50.0)
        moved = 0.0
        for name, value in best["model"].items():
            if value.is_floating_point():
                mean = np.mean([state[name].double().numpy() for state in states], axis=0)
                difference = float(np.abs(value.double().numpy() - mean).max())
                assert not better or difference < 1e-6
                moved = max(moved, difference)
        assert better or moved > 1e-4
