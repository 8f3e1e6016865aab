"""The Spin loop: kills change nothing, bad numbers and collapse end it with a reason, ranks and parts equal one batch."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from spin import artifacts
from spin.errors import CheckpointError, DataError, TrainingError
from spin.runtime.checkpoints import CheckpointStore
from spin.runtime.files import read_jsonl
from spin.training import ranks
from spin.training.spin_validation import CollapseWatch
from tests.data.test_pairs import noisy_copy
from tests.training.tiny_training import make_corpus, make_training, weights


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def unbroken(corpus, tmp_path_factory):
    """(experiment folder, initial weights, final weights) of a whole training."""
    exp = tmp_path_factory.mktemp("unbroken")
    training = make_training(corpus, exp)
    before = weights(training)
    training.run()
    return exp, before, weights(training)


def _equal(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def _events(exp) -> EventAccumulator:
    events = EventAccumulator(str(exp / "tensorboard"))
    events.Reload()
    return events


def _in_a_process(function, *arguments) -> int:
    """Runs in a forked process; returns its exit code, negative for a signal."""
    process = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    process.start()
    process.join(120)
    assert not process.is_alive()
    return process.exitcode


def test_only_the_top_layers_head_and_codebook_change(unbroken):
    _, before, after = unbroken
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith(("encoder.layers.1.", "encoder.layers.2.", "head.", "codebook.")) for name in changed)
    assert {"head.weight", "head.bias", "codebook.weight", "encoder.layers.1.ffn_in.weight"} <= changed
    torch.testing.assert_close(after["codebook.weight"].norm(dim=1), torch.ones(16))


def test_history_checkpoints_and_tensorboard(unbroken):
    exp, _, _ = unbroken
    history = list(read_jsonl(artifacts.spin_history(exp)))
    assert [record["step"] for record in history] == [6, 12]
    assert all(0 <= record["pnmi"] <= 1 and 1 <= record["perplexity"] <= 16 and record["loss"] > 0 for record in history)
    store = CheckpointStore(artifacts.spin_folder(exp) / "checkpoints")
    assert [path.name for path in store.paths()] == ["step-000000009.pt", "step-000000012.pt"]
    assert store.best_score() == pytest.approx(max(record["pnmi"] for record in history))
    events = _events(exp)
    wanted = {"loss", "learning_rate", "gradient_norm", "agreement", "code_perplexity", "probability_perplexity"}
    tags = set(events.Tags()["scalars"])
    assert {f"train/{name}" for name in wanted} <= tags
    assert {"valid/pnmi", "valid/perplexity", "speed/audio_hours_per_second", "speed/waiting_share", "speed/memory_in_gb"} <= tags
    assert [point.step for point in events.Scalars("train/loss")] == [2, 3, 4, 6, 8, 9, 10, 12]
    assert events.Scalars("data/unvoiced_utterances")[-1].value > 0


def _killed_run(corpus, exp, at, number, workers):
    training = make_training(corpus, exp, workers=workers)
    add = training.monitor.add

    def add_and_die(step, update, batch):
        add(step, update, batch)
        if step == at:
            os.kill(os.getpid(), number)

    training.monitor.add = add_and_die
    training.run()


def test_killed_twice_and_resumed_ends_with_the_same_bits(corpus, unbroken, tmp_path):
    exp, _, final = unbroken
    first, second = sorted(np.random.default_rng().choice(np.arange(1, 12), 2, replace=False).tolist())
    for at in (first, second):
        assert _in_a_process(_killed_run, corpus, tmp_path, at, signal.SIGKILL, 1) == -signal.SIGKILL, (first, second)
    training = make_training(corpus, tmp_path)
    assert training.progress.step == 3 * (second // 3)
    training.run()
    assert _equal(weights(training), final), f"killed at {first} and {second}"
    histories = [list(read_jsonl(artifacts.spin_history(folder))) for folder in (exp, tmp_path)]
    for expected, found in zip(*histories, strict=True):
        assert found["pnmi"] == expected["pnmi"] and found["perplexity"] == expected["perplexity"]
    curves = [[(point.step, point.value) for point in _events(folder).Scalars("train/agreement")] for folder in (exp, tmp_path)]
    assert curves[0] == curves[1]  # neither lost nor drawn twice


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stop_writes_a_checkpoint_and_ends_with_the_signals_status(corpus, unbroken, tmp_path, number, status):
    assert _in_a_process(_killed_run, corpus, tmp_path, 7, number, 1) == status
    training = make_training(corpus, tmp_path)
    assert training.progress.step == 8  # the step that the signal met was finished
    training.run()
    assert _equal(weights(training), unbroken[2])


def test_a_stop_between_two_reports_changes_no_curve_and_no_history(corpus, unbroken, tmp_path):
    assert _in_a_process(_killed_run, corpus, tmp_path, 6, signal.SIGTERM, 1) == 143
    training = make_training(corpus, tmp_path)
    assert training.progress.step == 7
    training.run()
    histories = [list(read_jsonl(artifacts.spin_history(folder))) for folder in (unbroken[0], tmp_path)]
    assert histories[0] == histories[1]
    for name in ("train/loss", "train/gradient_norm", "train/learning_rate", "train/agreement"):
        curves = [[(point.step, point.value) for point in _events(folder).Scalars(name)] for folder in (unbroken[0], tmp_path)]
        assert curves[0] == curves[1]


def test_a_damaged_last_checkpoint_costs_only_time(corpus, unbroken, tmp_path):
    training = make_training(corpus, tmp_path, max_steps=12)
    training.run()
    last = training.store.paths()[-1]
    last.write_bytes(last.read_bytes()[:1000])
    again = make_training(corpus, tmp_path)
    assert again.progress.step == 9
    again.run()
    assert _equal(weights(again), unbroken[2])


def test_a_finished_training_does_nothing(corpus, unbroken):
    exp, _, final = unbroken
    again = make_training(corpus, exp)
    again.run()
    assert _equal(weights(again), final) and len(list(read_jsonl(artifacts.spin_history(exp)))) == 2


def test_a_checkpoint_of_other_layers_is_refused(corpus, unbroken):
    with pytest.raises(CheckpointError, match="other trained parameters"):
        make_training(corpus, unbroken[0], trainable_layers=1)


def test_not_a_number_names_step_utterances_and_rate(corpus, tmp_path):
    def broken(cut, view1, epoch):
        view2, changed = noisy_copy(cut, view1, epoch)
        return (view2 * math.nan if cut.id == "spin_train-0005" else view2), changed

    with pytest.raises(TrainingError, match=r"(?s)step \d+.*loss nan.*learning rate.*spin_train-0005.*remedy") as caught:
        make_training(corpus, tmp_path, perturb=broken).run()
    assert "spin.learning_rate" in caught.value.remedy
    for path in CheckpointStore(artifacts.spin_folder(tmp_path) / "checkpoints").paths():
        state = torch.load(path, weights_only=True)["state"]
        assert all(torch.isfinite(value).all() for value in state["trained"].values())


def test_a_collapsed_codebook_ends_the_training(corpus, tmp_path):
    training = make_training(corpus, tmp_path, min_perplexity_share=1.0, valid_every_steps=2)
    with pytest.raises(TrainingError, match=r"(?s)step 4: the codebook has collapsed.*below 16.00 in 2 validations.*remedy"):
        training.run()


def test_the_collapse_watch_wants_low_values_in_a_row():
    watch = CollapseWatch(codebook_size=100, min_share=0.1, patience=2)
    for value in (9.0, 50.0, 9.9, 10.0):
        watch.look(1, value)
    watch.look(2, 1.0)
    with pytest.raises(TrainingError):
        watch.look(3, 1.0)


def test_too_many_unreadable_files_end_the_training(tmp_path):
    folder = make_corpus(tmp_path / "corpus")
    for index in range(6):
        (folder / "audio" / f"spin_train-{index:04d}.wav").write_bytes(b"")
    with pytest.raises(DataError, match=r"(?s)5 unreadable of 24.*max_bad_share"):
        make_training(folder, tmp_path / "exp").run()


def test_parts_of_a_batch_equal_the_whole_batch(corpus, unbroken, tmp_path):
    training = make_training(corpus, tmp_path, accumulation=3)
    training.run()
    for name, value in unbroken[2].items():
        torch.testing.assert_close(weights(training)[name], value, rtol=1e-4, atol=1e-5)


def _one_rank(rank: int, size: int, corpus, exp, rendezvous):
    torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=size)
    training = make_training(corpus, exp)
    training.run()
    torch.save(weights(training), exp / f"rank{rank}.pt")
    ranks.finish()


def test_two_ranks_end_with_the_weights_of_one(corpus, unbroken, tmp_path):
    torch.multiprocessing.start_processes(
        _one_rank, (2, corpus, tmp_path, tmp_path / "rendezvous"), nprocs=2, start_method="fork"
    )
    found = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    assert _equal(*found)
    for name, value in unbroken[2].items():
        torch.testing.assert_close(found[0][name], value, rtol=1e-5, atol=1e-5)


def test_equal_lengths_train_too(corpus, tmp_path):
    training = make_training(corpus, tmp_path, equal_lengths=True, max_steps=2)
    training.run()
    assert math.isfinite(training.monitor.loss)
