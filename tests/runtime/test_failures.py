"""What the system refuses, as errors with a remedy; logs that survive it; stops that end in any case."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from spin.errors import DataError, ResourceError, WorkerError
from spin.runtime.failures import explain_threads, explained
from spin.runtime.logs import get_logger, keep_log

ROOT = Path(__file__).resolve().parents[2]
REFUSED = {
    "no space": (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "exp/a"), "make room"),
    "quota": (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), "exp/a"), "make room"),
    "file too large": (OSError(errno.EFBIG, os.strerror(errno.EFBIG)), "make room"),
    "read-only": (OSError(errno.EROFS, os.strerror(errno.EROFS), "exp"), "permissions"),
    "forbidden": (PermissionError(errno.EACCES, "Permission denied", "exp"), "permissions"),
    "in the way": (NotADirectoryError(errno.ENOTDIR, "Not a directory", "exp"), "move it away"),
    "disk fails": (OSError(errno.EIO, "Input/output error", "exp/a"), "mend that"),
    "removed": (FileNotFoundError(errno.ENOENT, "No such file", "exp/a"), "--force"),
    "open files": (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
    "processes": (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "--nj"),
    "memory": (MemoryError(), "--nj"),
    "memory of torch": (RuntimeError("[enforce fail at alloc_cpu.cpp:75] . DefaultCPUAllocator: can't allocate memory"), "--nj"),
    "memory of a GPU": (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), "batch_seconds"),
    "torch.save": (RuntimeError("[enforce fail at inline_container.cc:424] . unexpected pos 64 vs 0"), "make room"),
    "cut-off gzip": (EOFError("Compressed file ended before the end-of-stream marker was reached"), "--force"),
}


@pytest.mark.parametrize(("error", "remedy"), REFUSED.values(), ids=REFUSED)
def test_what_the_system_refuses_has_a_remedy(error, remedy):
    known = explained(error)
    assert isinstance(known, ResourceError) and remedy in known.remedy
    if getattr(error, "filename", None):
        assert known.subject == error.filename


def test_the_cause_of_an_error_counts_and_defects_are_none():
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device", "x")
        except OSError as error:
            raise RuntimeError("writing failed") from error
    except RuntimeError as error:
        assert "make room" in explained(error).remedy
    own = DataError("u1", found="nothing")
    assert explained(own) is own
    assert explained(RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")).remedy.count("spin.workers") == 1
    assert isinstance(explained(RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly")), WorkerError)
    for defect in (ZeroDivisionError("division by zero"), KeyError("x"), ValueError("views of unequal length")):
        assert explained(defect) is None


def test_an_error_that_is_its_own_cause():
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert explained(one) is None


def test_threads_that_are_refused_something_say_so_in_a_line(monkeypatch, caplog):
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    log = logging.getLogger("test of threads")
    explain_threads(log)

    def refused():
        raise OSError(errno.ENOSPC, "No space left on device", "events")

    with caplog.at_level(logging.WARNING):
        thread = threading.Thread(target=refused)
        thread.start()
        thread.join()
    assert [record.getMessage() for record in caplog.records] == ["a thread ended: events: No space left on device"]


@pytest.fixture
def spin_log():
    log = get_logger("spin")
    before = list(log.handlers)
    yield log
    for handler in [one for one in log.handlers if one not in before]:
        handler.close()
        log.removeHandler(handler)


def test_every_run_has_a_log_of_its_own(tmp_path, spin_log):
    for number in range(3):
        keep_log(tmp_path, "stage2")
        spin_log.info("run %d, \udcff", number)
        spin_log.removeHandler(spin_log.handlers[-1])
    texts = [
        path.read_text(encoding="utf-8") for path in sorted(tmp_path.iterdir(), key=lambda path: (len(path.name), path.name))
    ]
    assert [text.split("] ")[1] for text in texts] == [f"run {number}, \\udcff\n" for number in range(3)]


def test_a_log_that_cannot_be_written_is_given_up_with_a_line(tmp_path, spin_log, capsys):
    keep_log(tmp_path, "stage2")
    handler = spin_log.handlers[-1]
    handler.stream.close()
    handler.stream = open("/dev/full", "w")  # noqa: SIM115 - every write to it finds a full disk
    spin_log.info("one")
    spin_log.info("two")
    assert handler not in spin_log.handlers
    handler.stream = None


SCRIPT = """
import sys, time
from spin.runtime import signals
signals.GRACE_SECONDS = 0.5
signals.stop_in_time()
if sys.argv[1] == "request":
    with signals.StopRequest():
        print("ready", flush=True)
        time.sleep(60)
else:
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["request", "unwinding"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_what_does_not_end_in_time_is_ended(kind, number, status):
    command = [sys.executable, "-c", SCRIPT, kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait(30) == status


DROPPED = """
import sys, time, weakref
from spin.runtime import signals
signals.GRACE_SECONDS, signals.KILLED_AFTER = 60.0, 0.0
signals.stop_in_time()

class Thing:
    pass

def busy(_):
    if sys.argv[1] == "weak":
        print("ready", flush=True)
        time.sleep(60)

class Final:
    def __del__(self):
        if sys.argv[1] == "final":
            print("ready", flush=True)
            time.sleep(60)

thing, final = Thing(), Final()
reference = weakref.ref(thing, busy)
del thing
del final
time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["weak", "final"])
def test_a_stop_that_python_dropped_is_told_again(kind):
    with subprocess.Popen(
        [sys.executable, "-c", DROPPED, kind],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
        assert process.stderr.read() == ""


TURNED = """
import sys, time
from pathlib import Path
from spin.runtime import stages

def work(context):
    try:
        print("ready", flush=True)
        time.sleep(60)
    except BaseException as error:
        raise RuntimeError("an import failed") from error

sys.modules["work"] = sys.modules["__main__"]
stages._run_alone = lambda stage, context, name: work(context)
stages.run_stage(0, ["--conf", sys.argv[1]], "work:work", "")
"""


def test_a_stop_that_compiled_code_turned_into_an_error_is_a_stop(tmp_path):
    (tmp_path / "conf.yaml").write_text("name: t\n")
    with subprocess.Popen(
        [sys.executable, "-c", TURNED, "conf.yaml"], cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        told = process.stdout.read()
        assert process.wait(30) == 143 and "stopped by SIGTERM" in told and "Traceback" not in told


HELD = """
import sys, time
from spin.runtime import signals
signals.stop_in_time()
with signals.uninterrupted():
    print("ready", flush=True)
    until = time.monotonic() + 60
    while signals._Held.number is None and time.monotonic() < until:
        time.sleep(0.01)
    print("whole", flush=True)
print("beyond", flush=True)
"""


def test_a_stop_waits_where_it_must_not_interrupt():
    with subprocess.Popen(
        [sys.executable, "-c", HELD], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "whole\n"
        assert process.wait(30) == 143


LOCKED = """
import ctypes, sys
from spin.runtime import signals
signals.GRACE_SECONDS, signals.KILLED_AFTER = 0.3, 0.4
signals.stop_in_time()
mutex = ctypes.create_string_buffer(64)
libc = ctypes.PyDLL(None)  # its calls keep Python's lock, as k2's do
libc.pthread_mutex_lock(mutex)
print("ready", flush=True)
libc.pthread_mutex_lock(mutex)
"""


def wait_until_asleep(pid: int) -> None:
    """Returns when a process has slept for ten looks in a row, and used no time meanwhile."""
    looks, until = [], time.monotonic() + 60
    while len(looks) < 10 or len(set(looks[-10:])) > 1 or looks[-1][0] != "S":
        assert time.monotonic() < until
        time.sleep(0.05)
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        looks.append((fields[0], fields[11], fields[12]))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_compiled_code_that_keeps_python_from_running_is_ended_from_outside(number):
    with subprocess.Popen(
        [sys.executable, "-c", LOCKED], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as process:
        assert process.stdout.readline() == "ready\n"
        wait_until_asleep(process.pid)  # in the lock: before, Python would still hear the signal
        process.send_signal(number)
        assert process.wait(30) == -signal.SIGKILL


WATCHED = """
import os, signal, subprocess, sys, time
from spin.runtime import signals
signals.GRACE_SECONDS, signals.KILLED_AFTER = 0.3, 0.2
signals.stop_in_time()
print(signals._watched.process.pid, flush=True)
if sys.argv[1] == "forked":
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        time.sleep(60)
    time.sleep(0.5)
    os.kill(child, signal.SIGTERM)
    os.waitpid(child, 0)
if sys.argv[1] == "called off":
    with signals.StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        while stop.signal is None:
            time.sleep(0.01)
time.sleep(1.5)
"""


@pytest.mark.parametrize("kind", ["nothing", "forked", "called off"])
def test_the_watchdog_leaves_in_peace_what_was_sent_no_signal_and_ends_with_it(kind):
    command = [sys.executable, "-c", WATCHED, kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
        watchdog = int(process.stdout.readline())
        assert process.wait(30) == 0
    until = time.monotonic() + 20
    while Path(f"/proc/{watchdog}").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
