"""Several ranks train as one does, also when their number changes on resume; a lost rank ends all in time."""

import multiprocessing
import os
import re
import signal

import pytest
import torch
from torch.distributed.elastic.utils.distributed import get_free_port

from spin.errors import TrainingError
from spin.runtime import distributed
from spin.runtime.files import read_jsonl
from tests.training.tiny_training import after_each_step, make_training, weights

NEAR = {"rtol": 1e-5, "atol": 1e-5}


def _join(function, port: int, rank: int, size: int, patience: float, arguments) -> None:
    os.environ.update(WORLD_SIZE=str(size), RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    os.environ["TORCHELASTIC_RUN_ID"] = "test"  # as torchrun does
    distributed.start(torch.device("cpu"), patience)
    function(rank, *arguments)
    distributed.finish()


def run_on_ranks(size: int, function, *arguments, patience: float = 60.0) -> list[int]:
    """Runs function(rank, *arguments) on every rank; returns their exit codes. Like torchrun, it ends all once one has failed."""
    fork, port = multiprocessing.get_context("fork"), get_free_port()
    processes = [fork.Process(target=_join, args=(function, port, rank, size, patience, arguments)) for rank in range(size)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        if process.exitcode in (None, 1):
            for each in processes:
                each.kill()
                each.join()
    return [process.exitcode for process in processes]


def _train(rank, corpus, folder, stop_at=None):
    def note_and_stop(step, batch):
        with (folder / f"batches{rank}").open("a") as out:
            print(batch.epoch, batch.index, *batch.ids, file=out)
        if step + 1 == stop_at and training.is_rank_zero:
            os.kill(os.getpid(), signal.SIGTERM)

    training = make_training(corpus, folder)
    after_each_step(training, note_and_stop)
    training.run()
    torch.save(weights(training), folder / f"rank{rank}.pt")


def _batches(folder) -> list[tuple]:
    """(epoch, index, ids) of every batch, whichever ranks had them."""
    found = {}
    for path in folder.glob("batches*"):
        for epoch, index, *ids in map(str.split, path.read_text().splitlines()):
            found.setdefault((int(epoch), int(index)), set()).update(ids)
    return sorted((*key, *sorted(ids)) for key, ids in found.items())


@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2)])
def test_a_training_resumes_with_another_number_of_ranks(corpus, unbroken, tmp_path, first, then):
    assert run_on_ranks(first, _train, corpus, tmp_path, 7) == [143] * first  # one gets the signal, all stop after the same step
    assert (tmp_path / "checkpoints" / "step-000000007.safetensors").exists()
    assert run_on_ranks(then, _train, corpus, tmp_path) == [0] * then
    for rank in range(then):
        found = torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)
        torch.testing.assert_close(found, unbroken[1], **NEAR)
    assert [record["step"] for record in read_jsonl(tmp_path / "history.jsonl")] == [6, 12]
    whole = tmp_path / "whole"
    whole.mkdir()
    _train(0, corpus, whole)
    assert _batches(tmp_path) == _batches(whole)


def _lose(rank, corpus, folder, number):
    training = make_training(corpus, folder)
    after_each_step(training, lambda step, _: os.kill(os.getpid(), number) if (step, rank) == (7, 1) else None)
    try:
        training.run()
    except TrainingError as error:
        (folder / f"reason{rank}").write_text(str(error))
        os._exit(1)


@pytest.mark.parametrize(("number", "patience"), [(signal.SIGKILL, 600.0), (signal.SIGSTOP, 8.0)])
def test_a_lost_rank_ends_the_others_with_a_reason(corpus, unbroken, tmp_path, number, patience):
    """Killed: the connection closes, and nobody waits for `patience`. Hanging: nobody waits longer."""
    assert run_on_ranks(2, _lose, corpus, tmp_path, number, patience=patience) == [1, -signal.SIGKILL]
    assert re.search("(?s)rank 0 of 2.*remedy: ", (tmp_path / "reason0").read_text())
    training = make_training(corpus, tmp_path)
    assert training.step == 6  # the last regular checkpoint
    training.run()
    torch.testing.assert_close(weights(training), unbroken[1], **NEAR)


def _name_utterances(rank, corpus, folder):
    monitor = make_training(corpus, folder).monitor
    assert distributed.gather_all(rank) == [0, 1] and distributed.broadcast(rank) == 0
    monitor.unreadable = {f"file{rank}": "empty"}
    monitor.state()
    assert set(monitor.unreadable) == {"file0", "file1"}


def test_utterances_named_by_any_rank_are_known_to_all(corpus, tmp_path):
    assert run_on_ranks(2, _name_utterances, corpus, tmp_path) == [0, 0]


def test_ranks_that_do_not_arrive_are_an_error(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert distributed.start(torch.device("cpu"), patience=1.0) == (0, 1)  # something else left WORLD_SIZE there
    rendezvous = {"RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(get_free_port()), "TORCHELASTIC_RUN_ID": "test"}
    for name, value in rendezvous.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainingError, match=r"(?s)rank 0 of 2\n.*remedy"):
        distributed.start(torch.device("cpu"), patience=1.0)
