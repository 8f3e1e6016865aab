"""What a training does with its settings: masks, clipped gradients, and the mean of weights where it is better."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from spin import artifacts
from spin.asr.averaging import WeightStore
from spin.asr.features import collate
from spin.asr.training import Training
from spin.asr.training_stage import train_asr
from spin.runtime.checkpoints import read_checkpoint


def spied(monkeypatch, name: str, look) -> None:
    """After each call of a method of Training, `look` gets the training, the arguments and what came back."""
    original = getattr(Training, name)

    def method(self, *given):
        result = original(self, *given)
        look(self, *given, result)
        return result

    monkeypatch.setattr(Training, name, method)


@pytest.mark.parametrize("wanted", [True, False])
def test_training_batches_are_masked_where_asked(work_folder, tools, monkeypatch, wanted):
    changed, drawn_anew, read = [], [], Training.read

    def look(training, cuts, epoch, batch):
        plain = collate(cuts, training.reader).features
        different = batch.features != plain
        mean = torch.from_numpy(training.job.statistics.mean).expand_as(plain)
        assert torch.equal(batch.features[different], mean[different])
        changed.append(float(different.float().mean()))
        drawn_anew.append(not torch.equal(batch.features, read(training, cuts, epoch + 1).features))

    spied(monkeypatch, "read", look)
    train_asr(tools.context(work_folder, tools.config(spec_augment=wanted, max_steps=12)))
    assert len(changed) == 24
    if wanted:
        assert min(changed) > 0.02 and all(drawn_anew)  # another epoch has other masks
    else:
        assert max(changed) == 0.0 and not any(drawn_anew)


def test_gradients_are_clipped(work_folder, tools, monkeypatch):
    norms: dict[float, list[float]] = {}

    def look(training, _, __):
        squares = sum(float(one.grad.square().sum()) for one in training.model.parameters() if one.grad is not None)
        norms.setdefault(training.config.gradient_clip, []).append(math.sqrt(squares))

    spied(monkeypatch, "update", look)
    for number, limit in enumerate((1e6, 0.05)):
        folder = work_folder / str(number)
        folder.mkdir()
        (folder / "exp").mkdir()
        (folder / "data").symlink_to((work_folder / "data").resolve())
        (folder / "exp" / "units").symlink_to((work_folder / "exp" / "units").resolve())
        train_asr(tools.context(folder, tools.config(gradient_clip=limit, max_steps=5)))
    assert min(norms[1e6]) > 0.05  # else there would be nothing to clip
    assert norms[0.05] == pytest.approx([0.05] * 10, rel=1e-3)


@pytest.mark.parametrize("better", [True, False])
def test_the_mean_of_weights_takes_the_place_of_the_best_where_it_is_better(work_folder, tools, monkeypatch, better):
    original = Training.measure
    asked = []

    def measure(self, model):
        valid, texts = original(self, model)
        mean = model is not self.model
        asked.append(mean)
        return {**valid, "wer": 50.0, "cer": (10.0 if better else 90.0) if mean else 50.0}, texts

    monkeypatch.setattr(Training, "measure", measure)
    context = tools.context(work_folder, tools.config(average=2, max_steps=30, valid_every_steps=10))
    train_asr(context)
    assert asked == [False, False, False, True] * 2
    for system in artifacts.SYSTEMS:
        paths = WeightStore(artifacts.asr_seed_folder(context.exp, system, 0), 2).paths(30)
        assert [path.name for path in paths] == ["weights-000000020.pt", "weights-000000030.pt"]
        states = [read_checkpoint(path)[1] for path in paths]
        _, best = read_checkpoint(artifacts.asr_model(context.exp, system, 0))
        assert float(best["valid"]["cer"]) == (10.0 if better else 50.0)
        moved = 0.0
        for name, value in best["model"].items():
            if value.is_floating_point():
                mean = np.mean([state[name].double().numpy() for state in states], axis=0)
                difference = float(np.abs(value.double().numpy() - mean).max())
                assert not better or difference < 1e-6
                moved = max(moved, difference)
        assert better or moved > 1e-4
