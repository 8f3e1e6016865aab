"""A training that is cut off at any point and started again ends with the same bits and has seen the same batches."""

from __future__ import annotations

import pytest
import torch

from spin.data.pairs import PairBatch
from spin.runtime import checkpoints
from spin.runtime.files import read_jsonl
from tests.training.tiny_training import make_corpus, make_training, weights

STEPS = {"max_steps": 6, "valid_every_steps": 3, "checkpoint_every_steps": 2, "log_every_steps": 2}


class _Cut(BaseException):
    """As a kill: nothing catches it."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def unbroken(corpus, tmp_path_factory):
    """(final weights, ids of every batch) of a whole training."""
    training = make_training(corpus, tmp_path_factory.mktemp("unbroken"), **STEPS)
    seen = _watch(training)
    training.run()
    return weights(training), seen


def _watch(training, cut_before: int | None = None, cut_after: int | None = None) -> dict[int, list[str]]:
    """Takes down the utterances of every update, and cuts the training off before or after one (counted from 0)."""
    seen: dict[int, list[str]] = {}
    update, add = training.updater.update, training.monitor.add

    def watched_update(parts, step, **options):
        if step == cut_before:
            raise _Cut
        return update(parts, step, **options)

    def watched_add(step, made, batch: PairBatch):
        seen[step] = batch.ids
        add(step, made, batch)
        if step == cut_after:
            raise _Cut

    training.updater.update, training.monitor.add = watched_update, watched_add
    return seen


def _finish(corpus, exp, unbroken, seen: dict[int, list[str]], **changes):
    """Goes on to the end, and compares."""
    training = make_training(corpus, exp, **(STEPS | changes))
    first = training.progress.step
    again = _watch(training)
    training.run()
    assert sorted(again) == list(range(first, 6))
    final, batches = unbroken
    assert {step: ids for step, ids in seen.items() if step < first} | again == batches
    found = weights(training)
    assert all(torch.equal(found[name], value) for name, value in final.items())
    return first


@pytest.mark.parametrize(("side", "step"), [*(("before", step) for step in range(6)), ("after", 1), ("after", 2)])
def test_cut_off_at_every_step(corpus, unbroken, tmp_path, side, step):
    training = make_training(corpus, tmp_path, **STEPS)
    seen = _watch(training, **{f"cut_{side}": step})
    with pytest.raises(_Cut):
        training.run()
    written = max((at for at in (2, 3, 4) if at <= step), default=0)  # every second step, and after the validation
    assert _finish(corpus, tmp_path, unbroken, seen) == written


def test_cut_off_again_after_every_single_step(corpus, unbroken, tmp_path):
    seen = {}
    for step in range(1, 6):
        training = make_training(corpus, tmp_path, **STEPS | {"checkpoint_every_steps": 1})
        assert training.progress.step == step - 1
        watched = _watch(training, cut_before=step)
        with pytest.raises(_Cut):
            training.run()
        seen |= watched
    assert _finish(corpus, tmp_path, unbroken, seen, checkpoint_every_steps=1) == 5


def test_cut_off_while_a_checkpoint_is_written(corpus, unbroken, tmp_path, monkeypatch):
    training = make_training(corpus, tmp_path, **STEPS)
    seen = _watch(training)
    save = torch.save

    def half(content, path):
        save(content, path)
        if content["step"] == 4:
            path.write_bytes(path.read_bytes()[:500])
            raise _Cut

    monkeypatch.setattr(checkpoints.torch, "save", half)
    with pytest.raises(_Cut):
        training.run()
    monkeypatch.undo()
    assert _finish(corpus, tmp_path, unbroken, seen) == 3


def test_cut_off_in_a_validation(corpus, unbroken, tmp_path, monkeypatch):
    training = make_training(corpus, tmp_path, **STEPS)
    seen = _watch(training)

    def cut(model):
        raise _Cut

    monkeypatch.setattr(training.validation, "measure", cut)
    with pytest.raises(_Cut):
        training.run()
    assert training.updater.model.training
    assert _finish(corpus, tmp_path, unbroken, seen) == 2
    assert [record["step"] for record in read_jsonl(tmp_path / "spin" / "history.jsonl")] == [3, 6]


@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "other"])
def test_a_damaged_last_checkpoint_falls_back_with_a_warning(corpus, unbroken, tmp_path, damage, caplog):
    training = make_training(corpus, tmp_path, **STEPS)
    seen = _watch(training, cut_after=4)
    with pytest.raises(_Cut):
        training.run()
    last = training.store.paths()[-1]
    assert last.name == "step-000000004.pt"
    content = last.read_bytes()
    if damage == "other":
        torch.save({"unknown": torch.zeros(1)}, last)
    else:
        last.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "noise": bytes(reversed(content))}[damage])
    first = _finish(corpus, tmp_path, unbroken, seen)
    assert first == 3 and "step-000000004.pt is damaged, falling back" in caplog.text
