"""Trainings: resuming to the bit after any end, effects of settings, what is left out, failures with reasons."""

import os
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from spin import artifacts
from spin.asr.batches import collate
from spin.asr.inputs import MASK, FeatureStatistics
from spin.asr.training import Training, learning_rate
from spin.config import RuntimeConfig
from spin.errors import DataError, TrainingError
from spin.runtime.checkpoints import CheckpointStore, read_checkpoint
from spin.runtime.files import read_json, read_jsonl
from tests.asr import tiny_asr
from tests.asr.tiny_asr import SYSTEMS, Killed, folder_of, make_config, spied, train_all, train_until_killed


def partial(folder):
    """The unfinished training of seed 0 on the filterbank."""
    return artifacts.recogniser_folder(folder / "exp", "fbank", "features", 0).with_name("seed0.partial")


def same(first, second, *place) -> bool:
    """Whether two contexts have the same recogniser, to the bit."""
    return len({artifacts.asr_model_in(folder_of(context, *place)).read_bytes() for context in (first, second)}) == 1


@pytest.mark.parametrize(
    ("asr", "kill_at"),
    [
        *[({}, step) for step in (7, 20, 33)],
        ({"model": "blstm"}, 33),
        *[({"average": 3, "valid_every_steps": 10}, step) for step in (17, 33)],
    ],
)
def test_resume_to_the_bit(work_folder, trained, tmp_path, asr, kill_at):
    config, whole = make_config(asr), trained[0]
    if asr:
        whole = train_all(shutil.copytree(work_folder, tmp_path / "whole"), config)
    train_until_killed(work_folder, config, kill_at)
    assert partial(work_folder).exists()
    context = train_all(work_folder, config)
    assert same(context, whole)
    assert (folder_of(context) / "history.jsonl").read_bytes() == (folder_of(whole) / "history.jsonl").read_bytes()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stop_leaves_a_checkpoint_of_the_very_step(work_folder, trained, monkeypatch, number, status):
    def stop(training, *_):
        if training.step == 13 and training.job.system.name == "fbank":  # between two checkpoints
            os.kill(os.getpid(), number)

    spied(monkeypatch, "update", stop)
    with pytest.raises(SystemExit) as ending:
        train_all(work_folder, make_config())
    assert ending.value.code == status
    assert (partial(work_folder) / "step-000000013.safetensors").exists()
    monkeypatch.undo()
    assert same(train_all(work_folder, make_config()), trained[0])


def test_kill_between_the_best_and_its_step(work_folder, trained, monkeypatch):
    original = CheckpointStore.save_best

    def torn(self, step, state, score):
        original(self, step, state, score)
        raise Killed

    monkeypatch.setattr(CheckpointStore, "save_best", torn)
    with pytest.raises(Killed):
        train_all(work_folder, make_config())
    monkeypatch.setattr(CheckpointStore, "save_best", original)
    context = train_all(work_folder, make_config())
    assert all(same(context, trained[0], system) for system in SYSTEMS)


def test_a_damaged_newest_checkpoint_that_is_also_the_best(work_folder, trained):
    """The best is a file of its own, which stays whole: the step is repeated, and is no better."""
    train_until_killed(work_folder, make_config(), 25)
    folder = partial(work_folder)
    newest = CheckpointStore(folder).paths()[-1]
    assert newest.name == "step-000000020.safetensors" and read_json(folder / "best.json")["step"] == 20
    with open(newest, "r+b") as stream:
        stream.write(bytes(3000))
    assert read_checkpoint(artifacts.asr_model_in(folder))[0] == 20
    assert same(train_all(work_folder, make_config()), trained[0])


def test_jobs_in_processes_give_the_same_bits(work_folder, trained):
    config = make_config({"inputs": ("features", "units")}, runtime=RuntimeConfig(nj=2, device="cpu"))
    context = train_all(work_folder, config)
    assert all(same(context, trained[0], "fbank", 0, source) for source in config.asr.inputs)


@pytest.mark.parametrize("source", ["features", "units"])
@pytest.mark.parametrize("augmented", [True, False])
def test_training_batches_are_masked_if_asked(work_folder, monkeypatch, augmented, source):
    changed, other_epochs, read = [], [], Training.read

    def look(training, cuts, epoch, batch):
        plain = collate(cuts, training.reader.read).inputs
        different = batch.inputs != plain
        mask = torch.tensor(MASK) if source == "units" else torch.from_numpy(training.job.inputs.mean)
        assert torch.equal(batch.inputs[different], mask.expand_as(plain)[different])
        changed.append(float(different.float().mean()))
        other_epochs.append(torch.equal(batch.inputs, read(training, cuts, epoch + 1).inputs))

    spied(monkeypatch, "read", look)
    train_all(work_folder, make_config({"spec_augment": augmented, "max_steps": 12, "inputs": (source,)}))
    assert len(changed) == 24
    if augmented:
        assert min(changed) > 0.01 and not any(other_epochs)
    else:
        assert max(changed) == 0.0 and all(other_epochs)


def test_gradients_are_clipped(work_folder, monkeypatch):
    norms: dict[float, list[float]] = {}

    def look(training, _, __):
        gradients = [one.grad.flatten() for one in training.model.parameters() if one.grad is not None]
        norms.setdefault(training.config.gradient_clip, []).append(float(torch.cat(gradients).norm()))

    spied(monkeypatch, "update", look)
    for limit in (1e6, 0.05):
        train_all(work_folder, make_config({"gradient_clip": limit, "max_steps": 5}))
    assert min(norms[1e6]) > 0.05  # otherwise there is nothing to clip
    assert norms[0.05] == pytest.approx([0.05] * 10, rel=1e-3)


def test_learning_rate():
    config = make_config({"max_steps": 100, "warmup_steps": 10, "learning_rate": 1.0}).asr
    assert [learning_rate(step, config) for step in (5, 10, 55, 100)] == pytest.approx([0.5, 1.0, 0.51, 0.02])
    assert learning_rate(1, make_config({"warmup_steps": 0, "learning_rate": 1.0}).asr) <= 1.0


@pytest.mark.parametrize("better", [True, False])
def test_the_mean_of_weights_replaces_the_best_where_it_is_better(work_folder, monkeypatch, better):
    original, asked = Training.measure, []

    def measure(self, model):
        valid, texts = original(self, model)
        mean = model is not self.model
        asked.append(mean)
        return {**valid, "wer": 50.0, "cer": (10.0 if better else 90.0) if mean else 50.0}, texts

    monkeypatch.setattr(Training, "measure", measure)
    context = train_all(work_folder, make_config({"average": 2, "max_steps": 30, "valid_every_steps": 10}))
    assert asked == [False, False, False, True] * 2
    for system in SYSTEMS:
        paths = sorted(folder_of(context, system).glob("weights-*"))
        assert [path.name for path in paths] == ["weights-000000020.safetensors", "weights-000000030.safetensors"]
        states = [read_checkpoint(path)[1] for path in paths]
        _, best = read_checkpoint(artifacts.asr_model_in(folder_of(context, system)))
        assert float(best["valid"]["cer"]) == (10.0 if better else 50.0)
        means = {name: np.mean([state[name].double().numpy() for state in states], axis=0) for name in best["model"]}
        differences = [float(np.abs(weight.numpy() - means[name]).max()) for name, weight in best["model"].items()]
        assert max(differences) < 1e-6 if better else max(differences) > 1e-4


def test_weights_of_an_interrupted_run_do_not_count(tmp_path):
    for step in (20, 30, 40):
        (tmp_path / f"weights-{step:09d}.safetensors").touch()
    paths = Training.kept_weights(SimpleNamespace(folder=tmp_path, step=30))
    assert [path.name for path in paths] == ["weights-000000020.safetensors", "weights-000000030.safetensors"]


def test_empty_and_too_short_utterances_are_named_and_left_out(work_folder):
    config = make_config({"max_steps": 2, "valid_every_steps": 2}, corpus={"max_bad_share": 0.5})
    texts = ["AB CAB", "", "DACE HAD", "FACE FACE"] * 6
    context = tiny_asr.make_context(work_folder, config, stage=3)
    tiny_asr.write_part(context, "train", texts, ("one",), {0: 6})
    tiny_asr.write_texts(context, tiny_asr.make_sentences(20, 4))
    train_all(work_folder, config)
    for system in SYSTEMS:
        records = list(read_jsonl(artifacts.rejects(context.exp, f"asr_{system}_features")))
        assert len(records) == 7
        assert records[0]["id"] == "train-000" and records[0]["reason"] == "too short for its text: 6 frames, 7 needed"
        assert {record["reason"] for record in records[1:]} == {"no transcript"}
    shutil.rmtree(folder_of(context, "baseline"))
    with pytest.raises(DataError, match="7 of 24"):
        train_all(work_folder, make_config())


def test_features_that_are_not_finite_stop_the_training(work_folder, monkeypatch):
    broken = FeatureStatistics(np.zeros(12, np.float32), np.full(12, np.nan, np.float32))
    monkeypatch.setattr("spin.asr.inputs.measure_features", lambda *_: broken)
    with pytest.raises(TrainingError, match="baseline, features, seed 0"):
        train_all(work_folder, make_config())
