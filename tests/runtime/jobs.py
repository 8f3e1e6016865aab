"""Work for test_workers.py, in a module that a new process imports in no time."""

import os
import signal
import time
from pathlib import Path

from spin.errors import DataError
from spin.runtime.process import StopRequest


def own_pid(item: int) -> tuple[int, int]:
    return item, os.getpid()


def fail_on_three(item: int) -> int:
    if item == 3:
        raise DataError("item 3", found="three")
    return item


def die(item: int) -> int:
    if item == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def variable(item: int) -> str:
    time.sleep(0.1)
    return os.environ["TURN"]


def work(folder: str) -> None:
    """Notes its process, works until it is stopped, and saves."""
    with StopRequest() as stop:
        Path(folder, f"pid{os.getpid()}").touch()
        while stop.signal is None:
            time.sleep(0.01)
        Path(folder, f"saved{os.getpid()}").touch()
        raise SystemExit(stop.status())


def stubborn(folder: str) -> None:
    Path(folder, f"pid{os.getpid()}").touch()
    time.sleep(600)
