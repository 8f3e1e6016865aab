"""Work over processes: order, bounded hand-out, errors, dead workers, and no worker left behind."""

import itertools
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spin.config import Config, RuntimeConfig
from spin.errors import DataError, ResourceError
from spin.runtime import devices, workers
from spin.runtime.workers import QUEUED, map_jobs, prefetch, run_jobs
from tests.runtime.jobs import die, fail_on_three, own_pid, variable


@pytest.mark.parametrize("nj", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(nj):
    for count in (0, 1, 7):
        results = list(map_jobs(own_pid, range(count), nj, "fork"))
        assert [item for item, _ in results] == list(range(count))
        processes = {pid for _, pid in results} - {os.getpid()}
        assert len(processes) <= nj


def test_environments_are_dealt_out_in_turn():
    found = list(map_jobs(variable, range(6), 2, "fork", environments=[{"TURN": "a"}, {"TURN": "b"}]))
    assert set(found) == {"a", "b"}


def test_items_are_taken_as_they_are_needed():
    taken = []
    results = map_jobs(fail_on_three, (taken.append(item) or item + 4 for item in range(1000)), 2, "fork")
    assert next(results) == 4
    assert len(taken) <= QUEUED * 2 + 2
    results.close()
    assert multiprocessing.active_children() == []


def test_errors_and_deaths_of_workers():
    results = map_jobs(fail_on_three, range(10), 2, "fork")
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataError, match="item 3"):
        next(results)
    with pytest.raises(ResourceError, match="memory"):
        list(map_jobs(die, range(10), 2, "fork"))
    assert multiprocessing.active_children() == []


SCRIPT = """
import sys
from spin.runtime.process import exit_on_signals
from spin.runtime.workers import map_jobs
from tests.runtime.jobs import stubborn, work

if __name__ == "__mp_main__":
    open(sys.argv[1] + "/imported", "w").close()
if __name__ == "__main__":
    exit_on_signals()
    kinds = {"save": (work, "fork"), "sleep": (stubborn, "fork"), "spawn": (stubborn, "spawn")}
    function, *more = kinds[sys.argv[2]]
    list(map_jobs(function, [sys.argv[1]] * 6, 2, *more))  # a worker that saved takes no other item
"""


def started(tmp_path, kind):
    """(process, pids of its two workers), once both are at work."""
    (tmp_path / "script.py").write_text(SCRIPT)
    process = subprocess.Popen([sys.executable, str(tmp_path / "script.py"), str(tmp_path), kind])
    until = time.monotonic() + 60
    while len(found := list(tmp_path.glob("pid*"))) < 2:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    return process, [int(path.name[3:]) for path in found]


def wait_gone(pids):
    def gone(pid: int) -> bool:
        try:
            return "Z" in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):  # it may end while it is looked at
            return True

    until = time.monotonic() + 20
    while not all(gone(pid) for pid in pids):
        assert time.monotonic() < until, f"still alive: {pids}"
        time.sleep(0.05)


ONLY_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="workers of a killed parent end through a call that Linux has")
STOPS = [("save", 15), ("save", 2), ("sleep", 15), ("spawn", 15)]


@pytest.mark.parametrize(("kind", "number"), STOPS + [pytest.param(kind, 9, marks=ONLY_LINUX) for kind in ("sleep", "spawn")])
def test_a_stop_lets_workers_save_and_ends_those_that_do_not_listen_and_a_kill_ends_all(tmp_path, kind, number):
    process, pids = started(tmp_path, kind)
    process.send_signal(number)
    assert process.wait(20) == (-9 if number == 9 else 128 + number)
    wait_gone(pids)
    assert len(list(tmp_path.glob("saved*"))) == (2 if kind == "save" else 0)
    assert not (tmp_path / "imported").exists()  # the script that starts workers may import much; they need not


@pytest.mark.parametrize(
    ("visible", "gpus", "memory", "per_gpu", "count", "processes", "named"),
    [
        (None, 1, 80e9, 2, 9, 2, ["0"]),  # a large GPU runs several jobs at a time
        (None, 2, 8e9, 2, 9, 2, ["0", "1"]),  # a small one only one
        (None, 8, 80e9, 1, 9, 3, ["0", "1", "2"]),  # no more GPUs than there are
        (None, 8, 80e9, 2, 4, 4, ["0", "1", "2"]),  # no more processes than jobs
        (None, 2, 80e9, 1, 1, 1, None),  # one job: in this process
        (None, 1, 80e9, 1, 9, 1, None),
        ("5, 7,GPU-a", 2, 80e9, 1, 9, 2, ["5", "7"]),  # as the scheduler names them
    ],
)
def test_jobs_share_the_gpus(monkeypatch, visible, gpus, memory, per_gpu, count, processes, named):
    """With stand-ins for three GPUs and for the processes: how many, and which GPU each gets."""
    config, seen = Config(runtime=RuntimeConfig(gpus=gpus)), []
    monkeypatch.setattr(devices, "resolve_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: type("", (), {"total_memory": memory}))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    def map_jobs(function, items, nj, environments):
        seen.append((nj, [one["CUDA_VISIBLE_DEVICES"] for one in environments] or None))
        return map(function, items)

    monkeypatch.setattr(workers, "map_jobs", map_jobs)
    assert list(run_jobs(config, str, range(count), per_gpu)) == list(map(str, range(count)))
    assert seen == [(processes, named)]


@given(st.lists(st.lists(st.integers(), max_size=4), max_size=8), st.integers(0, 3))
def test_the_same_as_a_loop(groups, threads):
    assert list(prefetch(groups, lambda piece: piece * 2, threads)) == [(group, [2 * x for x in group]) for group in groups]


@pytest.mark.parametrize("threads", [0, 2])
def test_errors_come_up_where_their_group_is_due(threads):
    found = prefetch([[4], [0], [2]], lambda piece: 8 // piece, threads)
    assert next(found) == ([4], [2])
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_one_group_is_read_while_another_is_worked_on():
    read, second = [], threading.Event()

    def reading(piece: int) -> int:
        read.append(piece)
        if piece == 1:
            second.set()
        return piece

    found = prefetch(([n] for n in itertools.count()), reading, 1)
    assert next(found) == ([0], [0])
    assert second.wait(10)  # nobody has asked for it yet
    assert next(found) == ([1], [1])
    found.close()
    assert max(read) <= 3  # an endless row is not read to its end
