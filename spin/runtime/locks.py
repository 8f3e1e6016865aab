"""One writer at a time in a folder; the second is told who the first is."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from spin.errors import LockedError

LOCK_NAME = ".lock"


@contextlib.contextmanager
def folder_lock(folder: str | Path) -> Iterator[None]:
    """Holds the folder for this process.

    The kernel drops the lock when its holder dies, so that a killed run never leaves one behind.

    Raises:
        LockedError: another process holds it; names host, process and since when.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK_NAME, "a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise LockedError(
                f"folder {folder}",
                found=f"another run at work in it: {_holder(stream)}",
                expected="one run at a time",
                remedy="wait for it to end, stop it, or choose another --exp-dir",
            ) from error
        stream.seek(0)
        stream.truncate()
        since = datetime.datetime.now().isoformat(timespec="seconds")
        json.dump({"host": socket.gethostname(), "pid": os.getpid(), "since": since}, stream)
        stream.flush()
        yield


def _holder(stream) -> str:
    stream.seek(0)
    try:
        holder = json.load(stream)
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "its name is not readable"
