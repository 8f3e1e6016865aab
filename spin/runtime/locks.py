"""Folder locks: one writer or many readers. The kernel releases them when their process ends, however it ends."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from spin.errors import LockedError
from spin.runtime.logs import get_logger

LOCK_NAME = ".lock"


@contextlib.contextmanager
def folder_lock(folder: str | Path, shared: bool = False) -> Iterator[None]:
    """Holds a folder until the context ends.

    Args:
        shared: for reading, next to other readers; otherwise alone.

    Raises:
        LockedError: another process holds the folder; names it.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        # A reader without write permission locks the file that a writer left, or none.
        for mode in ("a+", "r") if shared else ("a+",):
            try:
                _lock(stack.enter_context(open(folder / LOCK_NAME, mode, encoding="utf-8")), folder, shared)
                break
            except OSError as error:
                if not shared:
                    raise
                reason = error
        else:
            get_logger("locks").warning("reading %s without a lock (%s); do not modify it during this run", folder, reason)
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
