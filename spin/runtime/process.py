"""What a process needs without torch: its rank, whether there is a GPU driver, folder locks, and the signals that stop it.

On SIGTERM and SIGINT a training saves a checkpoint after its step (on several GPUs: one of the next three); everything else ends
at once and resumes from its products.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from spin.errors import LockedError
from spin.runtime.logs import get_logger

DRIVER = Path("/proc/driver/nvidia/version")


def rank() -> int:
    """Rank among the processes that torchrun started; 0 outside torchrun, whatever else left a RANK in the environment."""
    return _number("RANK")


def local_rank() -> int:
    """Rank among those of this machine."""
    return _number("LOCAL_RANK")


def _number(name: str) -> int:
    text = os.environ.get(name, "")
    return int(text) if "TORCHELASTIC_RUN_ID" in os.environ and text.isdigit() else 0


class StopRequest:
    """While entered, SIGINT and SIGTERM only set `signal` to their number, which a training reads between steps."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._handlers: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(number) is not signal.SIG_IGN:  # a worker leaves SIGINT to its parent
                self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame) -> None:
        self.signal = number

    def status(self) -> int:
        """Exit status of a process ended by the signal: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + (self.signal or signal.SIGTERM)


def exit_on_signals() -> None:
    """SIGTERM and SIGINT raise SystemExit(143 or 130) in the main thread, so that locks and temporary files are released."""

    def stop(number: int, frame) -> None:
        signal.signal(number, signal.SIG_IGN)  # run.sh and a terminal both pass on one Ctrl-C
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


@contextlib.contextmanager
def folder_lock(folder: str | Path, shared: bool = False) -> Iterator[None]:
    """Holds a folder until the context ends: alone, or `shared`, for reading, next to other readers.

    The kernel releases the lock when the process ends, however it ends. LockedError names the process that holds the folder.
    """
    path = Path(folder) / ".lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            # A reader may have no write permission: it opens the file that a writer left.
            stream = stack.enter_context(open(path, "r" if shared and path.exists() else "a+", encoding="utf-8"))
            _lock(stream, path.parent, shared)
        except OSError as error:
            if not shared:
                raise
            get_logger("locks").warning("reading %s without a lock (%s); do not modify it during this run", folder, error)
        yield


def _lock(stream: IO, folder: Path, shared: bool) -> None:
    try:
        fcntl.flock(stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        stream.seek(0)
        raise LockedError(
            f"folder {folder}",
            found=f"another run works in it: {stream.read().strip() or 'one that only reads it'}",
            expected="one run at a time",
            remedy="wait for it to end, stop it, or choose another --exp-dir, --corpus-dir, corpus.name or corpus.data_dir",
        ) from error
    if not shared:
        stream.seek(0)
        stream.truncate()
        stream.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        stream.flush()
