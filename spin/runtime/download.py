"""Resumable downloads into a cache folder."""

import fcntl
import functools
import hashlib
import http.client
import os
import shlex
import urllib.error
import urllib.request
from pathlib import Path
from typing import BinaryIO

from spin.errors import DataError
from spin.runtime.logs import progress

CHUNK = 1 << 20
TIMEOUT_IN_S = 60
NOT_SATISFIABLE = 416  # the server has no bytes after those we have


def cache_folder() -> Path:
    """The folder of downloaded files: the environment variable SPIN_CACHE, or ~/.cache/spin."""
    return Path(os.environ.get("SPIN_CACHE") or Path.home() / ".cache" / "spin")


def fetch(url: str, path: str | Path, md5: str | None = None) -> Path:
    """Downloads a file unless `path` exists, and returns `path`.

    The bytes collect in `<path>.part`, which is renamed when it has as many as the server announces, and the checksum `md5` if
    one is given. The next call resumes an interrupted download. A second process that wants the same file waits.
    (lhotse.utils.resumable_download takes a file that ended early for complete.) Without a network, and for a refused request or
    a file of another size or checksum, DataError is raised.
    """
    path = Path(path)
    if path.is_file():
        return path
    partial = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "ab") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            if path.is_file():  # another process finished it while this one waited
                partial.unlink(missing_ok=True)
                return path
            announced, found = _append(url, stream), partial.stat().st_size
            if announced not in (None, found):
                if found > announced:  # it can never be completed: the next call starts again
                    partial.unlink()
                raise _damaged(partial, url, f"{found} bytes", f"{announced} bytes")
            if md5 is not None and (digest := _md5(partial)) != md5:
                raise _damaged(partial, url, f"MD5 {digest} of {found} bytes", f"{md5}, as published")
            partial.rename(path)
    except (OSError, http.client.HTTPException) as error:
        refused = isinstance(error, urllib.error.HTTPError)
        cause = "the address has moved, or needs a login" if refused else "no network, an interrupted connection, or a full disk"
        remedy = f"run the same command again to resume, or download the file elsewhere and copy it to {path}"
        found, expected = f"the download failed ({error})", f"a file to store as {path}"
        raise DataError(url, found=found, expected=expected, cause=cause, remedy=remedy) from error
    return path


def _damaged(partial: Path, url: str, found: str, expected: str) -> DataError:
    cause = "the connection was interrupted, or the file is damaged"
    remedy = f"run the same command again to resume; if the error stays: rm {shlex.quote(str(partial))}"
    return DataError(url, found=found, expected=expected, cause=cause, remedy=remedy)


def _md5(path: Path) -> str:
    state = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as stream:
        for chunk in iter(functools.partial(stream.read, CHUNK), b""):
            state.update(chunk)
    return state.hexdigest()


def _append(url: str, stream: BinaryIO) -> int | None:
    """Writes the bytes that are missing after the stream's end; returns the announced size of the whole file."""
    done = stream.seek(0, os.SEEK_END)
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_IN_S)  # the caller gives the address
    except urllib.error.HTTPError as error:
        total = error.headers.get("Content-Range", "").rpartition("/")[2]  # "bytes */1234"
        if error.code != NOT_SATISFIABLE:
            raise
        return int(total) if total.isdigit() else None
    with response:
        if done and response.headers.get("Content-Range") is None:  # the server sends the whole file again
            stream.truncate(done := 0)
        length = response.headers.get("Content-Length")
        total = None if length is None else done + int(length)
        chunks = iter(functools.partial(response.read, CHUNK), b"")
        for chunk in progress(chunks, f"download {Path(stream.name).stem}", total and -(-(total - done) // CHUNK)):
            stream.write(chunk)
    stream.flush()
    return total
