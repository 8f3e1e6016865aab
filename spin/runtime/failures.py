"""What the system refuses (a full disk, a folder that cannot be written, memory that is short) as errors with a remedy.

Such failures come from many depths and libraries; they are told apart here, once, by error number or by a library's words.
"""

from __future__ import annotations

import errno
import logging
import re
import threading
from collections.abc import Iterator

from spin.errors import ResourceError, SpinError, WorkerError

_AGAIN = "the same command goes on from what is done"
_DISK_FULL = ("no space is left, or a quota or a limit on file sizes is reached", f"make room, then {_AGAIN}")
_FORBIDDEN = ("the owner, the mode, or a file system that is mounted read-only", "mend the permissions, or choose other folders")
_IN_THE_WAY = (
    "something else lies where a file or a folder is needed",
    "move it away, or choose another --exp-dir or data folder",
)
_DISK_FAILS = ("a disk or a network file system that fails", f"mend that, then {_AGAIN}")
_DAMAGED = ("a copy that was cut off, or a failing disk", "the stage that wrote it, with --force")
_MEMORY = (
    "the memory of this machine, or the limit of this job, is too small",
    f"a smaller --nj, a smaller batch_seconds of this stage, or more memory; {_AGAIN}",
)
_BY_NUMBER = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _DISK_FULL),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _FORBIDDEN),
    **dict.fromkeys((errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP), _IN_THE_WAY),
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.ENODEV, errno.EREMOTEIO), _DISK_FAILS),
    errno.ENOENT: ("it was removed meanwhile, or never made", "run the stage again, or the one before with --force"),
    errno.ENOLCK: ("a file system without locks", "data and experiments on another one, or mount it with locks"),
    errno.ENOMEM: _MEMORY,
    errno.EAGAIN: ("the limit on processes or threads is reached", f"a smaller --nj, or a higher limit (ulimit -u); {_AGAIN}"),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), ("the limit on open files is reached", "ulimit -n 4096, or a smaller --nj")),
}  # fmt: skip
_BY_WORDS = (
    (re.compile(r"No space left|StorageFull|PytorchStreamWriter failed|inline_container\.cc.*(unexpected pos|fail)"), _DISK_FULL),
    (re.compile(r"Compressed file ended|Not a gzipped file|while decompressing data|CRC check failed"), _DAMAGED),
    (re.compile(r"[Oo]ut of memory|can't allocate memory|Cannot allocate memory|bad_alloc|insufficient shared memory"), _MEMORY),
)
_LOADER = re.compile(r"DataLoader worker \(pid")


def explained(error: BaseException) -> SpinError | None:
    """The error as a user should read it, or None for what is no refusal of the system.

    Args:
        error: looked at together with what caused it.
    """
    for cause in _chain(error):
        if isinstance(cause, SpinError):
            return cause
        if isinstance(cause, RuntimeError) and _LOADER.search(str(cause)):
            return WorkerError(
                "a worker of the data loader",
                found=_line(cause),
                cause="killed, most often by the system for want of memory (dmesg tells), or by a person",
                remedy=f"{_AGAIN}; where memory is short, fewer workers: --set spin.workers=1",
            )
        if isinstance(cause, MemoryError):
            return _refused("memory", _line(cause) or "no memory is left", _MEMORY)
        if isinstance(cause, OSError) and cause.errno in _BY_NUMBER:
            subject = str(cause.filename) if cause.filename is not None else "a file"
            return _refused(subject, cause.strerror or _line(cause), _BY_NUMBER[cause.errno])
        found = next((known for words, known in _BY_WORDS if words.search(str(cause))), None)
        if found is not None and isinstance(cause, Exception):
            return _refused("memory" if found is _MEMORY else "a file", _line(cause), found)
    return None


def explain_threads(log: logging.Logger) -> None:
    """From now on a thread that the system refuses something ends with a line in the log; any other shows its traceback."""

    def told(ended: threading.ExceptHookArgs) -> None:
        known = explained(ended.exc_value) if ended.exc_value is not None else None
        if known is None:
            threading.__excepthook__(ended)
        else:
            log.warning("a thread ended: %s: %s", known.subject, known.found)

    threading.excepthook = told


def _refused(subject: str, found: str, known: tuple[str, str]) -> ResourceError:
    return ResourceError(subject, found=found, cause=known[0], remedy=known[1])


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
