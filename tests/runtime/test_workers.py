"""Work over processes: order, bounded hand-out, errors, dead workers, and no worker left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spin.errors import DataError, ResourceError
from spin.runtime.workers import QUEUED, map_jobs

ROOT = Path(__file__).resolve().parents[2]


def double(item: int) -> int:
    return 2 * item


def fail_on_three(item: int) -> int:
    if item == 3:
        raise DataError("item 3", found="three")
    return item


def die(item: int) -> int:
    if item == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


@pytest.mark.parametrize("nj", [1, 2, 5])
@pytest.mark.parametrize("items", [[], [7], list(range(20))])
def test_results_come_in_the_order_of_the_items(items, nj):
    assert list(map_jobs(double, items, nj, "fork")) == [2 * item for item in items]


def test_items_are_taken_as_they_are_needed():
    taken = []

    def items():
        for item in range(1000):
            taken.append(item)
            yield item

    results = map_jobs(double, items(), 2, "fork")
    assert next(results) == 0
    assert len(taken) <= QUEUED * 2 + 2
    results.close()
    assert multiprocessing.active_children() == []


def test_an_error_of_a_worker_arrives_whole():
    results = map_jobs(fail_on_three, range(10), 2, "fork")
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataError, match="item 3"):
        next(results)


def test_a_dead_worker_is_an_error_with_a_remedy():
    with pytest.raises(ResourceError, match="memory"):
        list(map_jobs(die, range(10), 2, "fork"))


def own_pid(item: int) -> tuple[int, int]:
    return item, os.getpid()


@pytest.mark.parametrize("nj", [1, 3])
def test_fresh_processes_each_do_one_item(nj):
    results = list(map_jobs(own_pid, list(range(7)), nj, fresh="spin.runtime.workers"))
    assert [item for item, _ in results] == list(range(7))
    assert len({pid for _, pid in results} | {os.getpid()}) == 8


def test_errors_and_deaths_of_fresh_processes():
    with pytest.raises(DataError, match="item 3"):
        list(map_jobs(fail_on_three, list(range(10)), 2, fresh="spin.runtime.workers"))
    with pytest.raises(ResourceError, match="memory"):
        list(map_jobs(die, list(range(10)), 2, fresh="spin.runtime.workers"))
    assert multiprocessing.active_children() == []


WORK = """
import os, time
from spin.runtime.process import StopRequest

def work(folder):
    with StopRequest() as stop:
        open(os.path.join(folder, f"pid{os.getpid()}"), "w").close()
        while stop.signal is None:
            time.sleep(0.01)
        open(os.path.join(folder, f"saved{os.getpid()}"), "w").close()
        raise SystemExit(stop.status())

def stubborn(folder):
    open(os.path.join(folder, f"pid{os.getpid()}"), "w").close()
    time.sleep(600)
"""
SCRIPT = """
import sys
from spin.runtime.process import exit_on_signals
from spin.runtime.workers import map_jobs
from work_of_test import stubborn, work

if __name__ == "__mp_main__":
    open(sys.argv[1] + "/imported", "w").close()
if __name__ == "__main__":
    exit_on_signals()
    if sys.argv[2] == "fresh":
        list(map_jobs(stubborn, [sys.argv[1]] * 2, 2, fresh="spin.runtime.workers"))
    else:
        function, method = {"save": (work, "fork"), "sleep": (stubborn, "fork"), "spawn": (stubborn, "spawn")}[sys.argv[2]]
        list(map_jobs(function, [sys.argv[1]] * 2, 2, method))
"""


def started(tmp_path, kind):
    """(process, pids of its two workers), once both are at work."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    (tmp_path / "work_of_test.py").write_text(WORK)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path), kind], env=environment)
    until = time.monotonic() + 60
    while len(found := list(tmp_path.glob("pid*"))) < 2:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    return process, [int(path.name[3:]) for path in found]


def gone(pid: int) -> bool:
    try:
        return "Z" in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # it may end while it is looked at
        return True


def wait_gone(pids, seconds=20.0):
    until = time.monotonic() + seconds
    while not all(gone(pid) for pid in pids):
        assert time.monotonic() < until, f"still alive: {pids}"
        time.sleep(0.05)


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stop_lets_workers_save_and_ends_them(tmp_path, number, status):
    process, pids = started(tmp_path, "save")
    process.send_signal(number)
    assert process.wait(20) == status
    wait_gone(pids)
    assert len(list(tmp_path.glob("saved*"))) == 2


@pytest.mark.parametrize("kind", ["sleep", "spawn", "fresh"])
def test_a_stop_ends_workers_that_do_not_listen(tmp_path, kind):
    process, pids = started(tmp_path, kind)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143
    wait_gone(pids)
    assert not (tmp_path / "imported").exists()  # the script that starts workers may import much; they need not


@pytest.mark.skipif(sys.platform != "linux", reason="workers of a killed parent end through a call that Linux has")
@pytest.mark.parametrize("kind", ["sleep", "fresh"])
def test_workers_of_a_killed_parent_end_too(tmp_path, kind):
    process, pids = started(tmp_path, kind)
    process.kill()
    process.wait()
    wait_gone(pids)
