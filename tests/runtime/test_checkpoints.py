"""Checkpoints: the last two and the best stay, a damaged one is skipped. Code in them: tests/faults/test_bad_products.py."""

from unittest import mock

import pytest
import torch

from spin.errors import CheckpointError
from spin.runtime import checkpoints
from spin.runtime.checkpoints import CheckpointStore, read_checkpoint


def test_keeps_the_last_two_and_the_best(tmp_path):
    store = CheckpointStore(tmp_path)
    assert store.load_latest() is None
    for step, score in [(1, 0.2), (2, 0.9), (3, 0.5), (4, 0.9)]:
        store.save(step, {"weight": torch.full((2,), float(step))}, score)
    assert [path.name for path in store.paths()] == ["step-000000003.safetensors", "step-000000004.safetensors"]
    assert store.best_score() == 0.9
    assert read_checkpoint(tmp_path / "best.safetensors")[0] == 2  # an equal score later is no better
    step, state = CheckpointStore(tmp_path).load_latest()
    assert step == 4 and torch.equal(state["weight"], torch.full((2,), 4.0))


@pytest.mark.parametrize("damage", ["truncate", "empty", "text", "other"])
def test_a_damaged_last_one_falls_back(tmp_path, damage):
    store = CheckpointStore(tmp_path)
    store.save(1, {"x": 1})
    store.save(2, {"x": 2})
    last = store.paths()[-1]
    content = last.read_bytes()
    if damage == "other":
        torch.save({"y": 3}, last)  # a pickle under our name
    else:
        last.write_bytes({"truncate": content[: len(content) // 2], "empty": b"", "text": b"hello"}[damage])
    assert store.load_latest() == (1, {"x": 1})
    with pytest.raises(CheckpointError, match="step-000000002"):
        read_checkpoint(last)
    store.paths()[0].write_bytes(b"")
    with pytest.raises(CheckpointError, match="none readable"):
        store.load_latest()


def test_any_state_survives(tmp_path):
    optimizer = {
        "state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.randn(2, 3)}},
        "param_groups": [{"lr": 1e-3, "params": [0]}],
    }
    shared = torch.randn(4)
    state = {"a": [1, 2.5, None, "text", True], "optimizer": optimizer, "views": [shared, shared[:2]], "empty": {}}
    CheckpointStore(tmp_path).save(7, state)
    step, loaded = CheckpointStore(tmp_path).load_latest()
    assert step == 7 and loaded["a"] == state["a"] and loaded["empty"] == {}
    assert loaded["optimizer"]["param_groups"] == optimizer["param_groups"]
    assert torch.equal(loaded["optimizer"]["state"][0]["exp_avg"], optimizer["state"][0]["exp_avg"])
    assert torch.equal(loaded["views"][1], shared[:2])


def test_weights_that_are_not_finite_are_refused(tmp_path):
    store = CheckpointStore(tmp_path)
    store.save(1, {"weight": torch.tensor([1.0, float("nan")])})
    with pytest.raises(CheckpointError, match="weight has values that are not finite"):
        read_checkpoint(store.paths()[0])


def test_short_memory_does_not_make_a_checkpoint_damaged(tmp_path, monkeypatch):
    CheckpointStore(tmp_path).save(1, {"a": 1})
    error = RuntimeError("unable to mmap 9 bytes: Cannot allocate memory (12)")
    monkeypatch.setattr(checkpoints, "safe_open", mock.Mock(side_effect=error))
    with pytest.raises(RuntimeError, match="memory"):
        CheckpointStore(tmp_path).load_latest()
