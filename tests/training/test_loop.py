"""The training loop: kills and stops change nothing, bad numbers and collapse end it with a reason."""

import math
import os
import signal

import numpy as np
import pytest
import torch

from spin.errors import CheckpointError, DataError, TrainingError
from spin.runtime import checkpoints
from spin.runtime.checkpoints import CheckpointStore, read_checkpoint
from spin.runtime.files import read_jsonl
from spin.training import monitor
from spin.training.monitor import check_collapse, choose_cuts
from tests.data.synthetic import noisy_copy, write_corpus
from tests.faults.points import points
from tests.training.test_distributed import run_on_ranks
from tests.training.tiny_training import after_each_step, equal, make_corpus, make_training, weights

SHORT = {"max_steps": 6, "valid_every_steps": 3, "checkpoint_every_steps": 2}


class Cut(BaseException):
    """Ends a training as a kill does: nothing catches it."""


@pytest.fixture(scope="module")
def short(corpus, tmp_path_factory):
    """(final weights, ids of every batch) of a short training."""
    training = make_training(corpus, tmp_path_factory.mktemp("short"), **SHORT)
    seen = watch(training)
    training.run()
    return weights(training), seen


def read_history(folder) -> list[dict]:
    return list(read_jsonl(folder / "history.jsonl"))


def read_curve(folder, name: str) -> list[tuple[int, float]]:
    return points(folder)[f"tensorboard/{name}"]


def watch(training, before: int | None = None, after: int | None = None) -> dict[int, list[str]]:
    """Records the utterances of every update, and ends the training before or after one (counted from 0)."""
    seen: dict[int, list[str]] = {}
    set_rate = training._set_learning_rate

    def watched_rate(step):
        if step == before:
            raise Cut
        return set_rate(step)

    def note(step, batch):
        seen[step] = batch.ids
        if step == after:
            raise Cut

    training._set_learning_rate = watched_rate
    after_each_step(training, note)
    return seen


def run_until_cut(training, **cuts: int) -> dict[int, list[str]]:
    seen = watch(training, **cuts)
    with pytest.raises(Cut):
        training.run()
    return seen


def finish(corpus, folder, short, seen: dict[int, list[str]], **changes) -> int:
    """Resumes to the end and compares with a training that was not interrupted; returns the step it resumed from."""
    training = make_training(corpus, folder, **(SHORT | changes))
    first = training.step
    again = watch(training)
    training.run()
    assert sorted(again) == list(range(first, 6))
    final, batches = short
    assert {step: ids for step, ids in seen.items() if step < first} | again == batches
    assert equal(weights(training), final)
    assert [record["step"] for record in read_history(folder)] == [3, 6]
    return first


def test_what_changes_history_checkpoints_and_curves(corpus, unbroken, tmp_path):
    before, (folder, after) = weights(make_training(corpus, tmp_path)), unbroken
    changed = {name.rpartition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert {"objective.head", "objective.codebook", "encoder.layers.1.ffn_in"} <= changed
    assert all(name.startswith(("encoder.layers.1.", "encoder.layers.2.", "objective.")) for name in changed)
    history = read_history(folder)
    assert [record["step"] for record in history] == [6, 12]
    assert all(0 <= record["pnmi"] <= 1 and 1 <= record["perplexity"] <= 16 and record["loss"] > 0 for record in history)
    store = CheckpointStore(folder / "checkpoints")
    assert [path.name for path in store.paths()] == ["step-000000009.safetensors", "step-000000012.safetensors"]
    assert store.best_score() == pytest.approx(max(record["pnmi"] for record in history))
    assert [step for step, _ in read_curve(folder, "train/loss")] == [2, 3, 4, 6, 8, 9, 10, 12]


@pytest.mark.parametrize(("side", "step"), [("before", 0), ("before", 1), ("before", 4), ("after", 2)])
def test_cut_off_before_and_after_an_update(corpus, short, tmp_path, side, step):
    seen = run_until_cut(make_training(corpus, tmp_path, **SHORT), **{side: step})
    saved = max((at for at in (2, 3, 4) if at <= step), default=0)  # every second step, and before the validation
    assert finish(corpus, tmp_path, short, seen) == saved


def test_cut_off_again_after_every_single_step(corpus, short, tmp_path):
    seen = {}
    for step in range(1, 6):
        seen |= run_until_cut(make_training(corpus, tmp_path, **SHORT | {"checkpoint_every_steps": 1}), before=step)
        assert max(seen) == step - 1
    assert finish(corpus, tmp_path, short, seen, checkpoint_every_steps=1) == 5


def test_cut_off_while_a_checkpoint_is_written(corpus, short, tmp_path, monkeypatch):
    training, save = make_training(corpus, tmp_path, **SHORT), checkpoints.save_file

    def half(content, path, metadata):
        save(content, path, metadata)
        if "000000004" in path:
            raise Cut

    monkeypatch.setattr(checkpoints, "save_file", half)
    seen = run_until_cut(training)
    monkeypatch.undo()
    assert finish(corpus, tmp_path, short, seen) == 3


@pytest.mark.parametrize("step", [3, 6])
def test_updates_before_a_validation_are_saved_first(corpus, short, tmp_path, monkeypatch, step):
    """Cut off in a validation, the training resumes from that very step and runs the validation again."""
    training = make_training(corpus, tmp_path, **SHORT)
    measure = training.validation.measure

    def cut(model):
        if training.step == step:
            raise Cut
        return measure(model)

    monkeypatch.setattr(training.validation, "measure", cut)
    assert finish(corpus, tmp_path, short, run_until_cut(training)) == step
    assert CheckpointStore(tmp_path / "checkpoints").best_score() == max(record["pnmi"] for record in read_history(tmp_path))


def run_with_signal(corpus, folder, at: int, number: int) -> int:
    """Trains in a forked process that gets a signal after step `at`; returns its exit code, negative for a signal."""

    def run(_):
        training = make_training(corpus, folder, workers=1)
        after_each_step(training, lambda step, _: os.kill(os.getpid(), number) if step == at else None)
        training.run()

    return run_on_ranks(1, run)[0]


def test_killed_twice_and_resumed_ends_with_the_same_bits(corpus, unbroken, tmp_path):
    folder, final = unbroken
    first, second = sorted(np.random.default_rng().choice(np.arange(1, 12), 2, replace=False).tolist())
    for at in (first, second):
        assert run_with_signal(corpus, tmp_path, at, signal.SIGKILL) == -signal.SIGKILL, (first, second)
    training = make_training(corpus, tmp_path)
    assert training.step == 3 * (second // 3)
    training.run()
    assert equal(weights(training), final), f"killed at {first} and {second}"
    for expected, found in zip(read_history(folder), read_history(tmp_path), strict=True):
        assert found["pnmi"] == expected["pnmi"] and found["perplexity"] == expected["perplexity"]
    assert read_curve(folder, "train/agreement") == read_curve(tmp_path, "train/agreement")  # neither lost nor drawn twice


@pytest.mark.parametrize(("number", "at"), [(signal.SIGTERM, 6), (signal.SIGINT, 7), (signal.SIGTERM, 5)])
def test_a_stop_saves_a_checkpoint_and_changes_nothing(corpus, unbroken, tmp_path, number, at):
    """Also between two reports (at 6), and at a step that is validated (at 5): the validation follows after the resume."""
    assert run_with_signal(corpus, tmp_path, at, number) == 128 + number
    training = make_training(corpus, tmp_path)
    assert training.step == at + 1  # the step that the signal met was finished
    training.run()
    assert equal(weights(training), unbroken[1])
    assert read_history(unbroken[0]) == read_history(tmp_path)
    for name in ("train/loss", "train/gradient_norm", "train/learning_rate", "train/agreement"):
        assert read_curve(unbroken[0], name) == read_curve(tmp_path, name)


def test_a_finished_training_does_nothing_and_one_of_other_layers_is_rejected(corpus, unbroken):
    folder, final = unbroken
    again = make_training(corpus, folder)
    again.run()
    assert equal(weights(again), final) and len(read_history(folder)) == 2
    with pytest.raises(CheckpointError, match="other trained parameters"):
        make_training(corpus, folder, trainable_layers=1)


def test_a_loss_that_is_not_finite_names_step_utterances_and_rate(corpus, tmp_path):
    def broken(waveform, cut, draw):
        view = noisy_copy(waveform, cut, draw)
        return view * math.nan if cut.id == "spin_train-0005" else view

    with pytest.raises(TrainingError, match=r"(?s)step \d+.*loss nan.*learning rate.*spin_train-0005.*remedy") as caught:
        make_training(corpus, tmp_path, transform=broken).run()
    assert "spin.learning_rate" in caught.value.remedy
    for path in CheckpointStore(tmp_path / "checkpoints").paths():
        assert all(torch.isfinite(value).all() for value in read_checkpoint(path)[1]["trained"].values())


def test_a_collapsed_codebook_ends_the_training_again_and_again(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(monitor, "MIN_PERPLEXITY_SHARE", 1.0)
    for _ in range(2):  # a rerun does not pass the check by resuming behind it
        with pytest.raises(TrainingError, match=r"(?s)step 4: the codebook has collapsed.*below 16.00 in 2 validations.*remedy"):
            make_training(corpus, tmp_path, valid_every_steps=2).run()


def test_collapse_needs_low_values_in_a_row(corpus, tmp_path):
    history = [{"step": step, "perplexity": value} for step, value in enumerate((4.0, 50.0, 4.9, 5.0, None, 1.0, 1.0))]
    for count in range(len(history)):
        check_collapse(history[:count], codebook_size=100)
    with pytest.raises(TrainingError):
        check_collapse(history, codebook_size=100)
    training = make_training(corpus, tmp_path, max_steps=4, valid_every_steps=2)
    training.validation.cuts = []  # as without a readable utterance
    training.run()
    assert [record["perplexity"] for record in read_history(tmp_path)] == [None, None]


def test_too_many_unreadable_files_end_the_training(tmp_path):
    folder = make_corpus(tmp_path / "corpus")
    for index in range(6):
        (folder / "audio" / f"spin_train-{index:04d}.wav").write_bytes(b"")
    with pytest.raises(DataError, match=r"(?s)5 of 24.*5 x unreadable audio.*max_bad_share"):
        make_training(folder, tmp_path / "training").run()


def test_a_training_resumes_with_other_micro_batches(corpus, short, tmp_path):
    """The remedy for a GPU out of memory costs no finished step."""
    run_until_cut(make_training(corpus, tmp_path, **SHORT), before=4)
    resumed = make_training(corpus, tmp_path, **SHORT, accumulation=2)
    resumed.run()
    torch.testing.assert_close(weights(resumed), short[0], rtol=1e-4, atol=1e-5)


def test_valid_utterances_are_spread_over_the_parts(tmp_path):
    parts = [write_corpus(tmp_path, name, [1.0, 0.4, 1.2], pitch_name=False) for name in ("one", "two")]
    assert [cut.id for cut in choose_cuts(parts, 2)] == ["one-0000", "two-0002"]
    assert [cut.id for cut in choose_cuts(parts, 6, min_duration_in_s=0.5)] == ["one-0000", "one-0002", "two-0000", "two-0002"]
