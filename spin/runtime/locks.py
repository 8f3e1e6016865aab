"""One writer at a time in a folder, and none while others read it; who must wait is told for whom.

The kernel drops these locks when their holder dies, so that a killed run never leaves one behind.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from spin.errors import LockedError
from spin.runtime.logs import get_logger

LOCK_NAME = ".lock"
READERS = ".readers"  # a file for each run that reads: for messages alone


@contextlib.contextmanager
def folder_lock(folder: str | Path) -> Iterator[None]:
    """Holds the folder for this process alone.

    Raises:
        LockedError: another process works in it or reads it; names host, process and since when.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK_NAME, "a+", encoding="utf-8") as stream:
        if not _locked(stream, fcntl.LOCK_EX):
            read = _locked(stream, fcntl.LOCK_SH)  # then those who hold it only read
            raise LockedError(
                f"folder {folder}",
                found=f"other runs that read it: {_readers(folder)}" if read else f"another run at work in it: {_holder(stream)}",
                expected="no other run, as this one changes it" if read else "one run at a time",
                remedy="wait for it to end, stop it, or choose another "
                + ("corpus.name or corpus.data_dir" if read else "--exp-dir"),
            )
        stream.seek(0)
        stream.truncate()
        json.dump(_myself(), stream)
        stream.flush()
        yield


@contextlib.contextmanager
def reading_lock(folder: str | Path) -> Iterator[None]:
    """Keeps the folder from being changed by other runs; any number may read it.

    Who may not write there holds the lock through the file that a run that may has left; where there is none, a line of the log
    says that no lock is held.

    Raises:
        LockedError: another process works in it.
    """
    folder = Path(folder)
    with contextlib.ExitStack() as stack:
        stream = _opened_to_read(folder / LOCK_NAME, stack)
        if stream is not None and not _locked(stream, fcntl.LOCK_SH):
            raise LockedError(
                f"folder {folder}",
                found=f"another run at work in it: {_holder(stream)}",
                expected="data that nobody changes while they are read",
                remedy="wait for it to end, or stop it",
            )
        if stream is not None:
            _leave_note(folder / READERS / f"{socket.gethostname()}-{os.getpid()}.json", stack)
        yield


def _opened_to_read(path: Path, stack: contextlib.ExitStack) -> IO | None:
    """The lock file, made where it is missing and may be made; None where it can be neither made nor opened."""
    try:
        return stack.enter_context(open(path, "a+", encoding="utf-8"))
    except OSError:  # no right to write, or a disk mounted for reading: a shared lock needs no more than a descriptor
        pass
    try:
        return stack.enter_context(open(path, encoding="utf-8"))
    except OSError as error:
        get_logger("locks").warning("%s is read without a lock (%s): let nobody change it meanwhile", path.parent, error)
        return None


def _leave_note(note: Path, stack: contextlib.ExitStack) -> None:
    """Says who reads, until the stack is left; where it cannot be written the lock holds all the same."""
    stack.callback(_removed, note)
    with contextlib.suppress(OSError):
        note.parent.mkdir(exist_ok=True)
        note.write_text(json.dumps(_myself()), encoding="utf-8")


def _removed(note: Path) -> None:
    with contextlib.suppress(OSError):  # a disk mounted for reading refuses even where there is nothing to remove
        note.unlink()


def _locked(stream: IO, kind: int) -> bool:
    try:
        fcntl.flock(stream, kind | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _myself() -> dict:
    return {"host": socket.gethostname(), "pid": os.getpid(), "since": datetime.datetime.now().isoformat(timespec="seconds")}


def _readers(folder: Path) -> str:
    """Names of those who read; notes of the dead, on this host, are passed over and removed."""
    names = []
    for note in sorted((folder / READERS).glob("*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            holder = json.loads(note.read_text(encoding="utf-8"))
            if holder["host"] == socket.gethostname() and not Path(f"/proc/{int(holder['pid'])}").exists():
                note.unlink(missing_ok=True)
                continue
            names.append(_name(holder))
    return "; ".join(names) or "their names are not readable"


def _holder(stream: IO) -> str:
    stream.seek(0)
    try:
        return _name(json.load(stream))
    except (ValueError, KeyError, TypeError):
        return "its name is not readable"


def _name(holder: dict) -> str:
    return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
