"""Resumable downloads into a cache folder."""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from spin.errors import DataError
from spin.runtime.progress import progress

CHUNK = 1 << 20
TIMEOUT_IN_S = 60
NOT_SATISFIABLE = 416  # the server has no bytes after those we have


def cache_folder() -> Path:
    """The folder of downloaded files: the environment variable SPIN_CACHE, or ~/.cache/spin."""
    return Path(os.environ.get("SPIN_CACHE") or Path.home() / ".cache" / "spin")


def fetch(url: str, path: str | Path, size: int | None = None, sha256: str | None = None) -> Path:
    """Downloads a file unless it exists; resumes an interrupted download.

    The bytes collect in `<path>.part`, which is renamed when it is complete. A second process that wants the same file waits.

    Args:
        url: address of the file (http, https or file).
        path: file to write; its folder is created.
        size: expected number of bytes; None: the number that the server announces.
        sha256: expected SHA-256 in hexadecimal digits; None: not checked.

    Returns:
        `path`.

    Raises:
        DataError: no network, a refused request, or a file of another size or checksum.
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
            announced = _append(url, stream, size)
            _check(url, partial, size or announced, sha256)
            partial.rename(path)
    except (OSError, http.client.HTTPException) as error:
        raise _failure(url, path, error) from error
    return path


def _append(url: str, stream: BinaryIO, size: int | None) -> int | None:
    """Writes the bytes that are missing after the stream's end; returns the announced size of the whole file."""
    done = stream.seek(0, os.SEEK_END)
    if size is not None and done == size:
        return size
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_IN_S)  # the caller gives the address
    except urllib.error.HTTPError as error:
        if error.code != NOT_SATISFIABLE:
            raise
        return _announced_total(error.headers)
    with response:
        if done and response.headers.get("Content-Range") is None:  # the server sends the whole file again
            stream.truncate(done := 0)
        length = response.headers.get("Content-Length")
        total = None if length is None else done + int(length)
        for chunk in progress(_chunks(response), f"download {Path(stream.name).stem}", total and -(-(total - done) // CHUNK)):
            stream.write(chunk)
    stream.flush()
    return total


def _chunks(response: BinaryIO) -> Iterator[bytes]:
    while chunk := response.read(CHUNK):
        yield chunk


def _announced_total(headers: http.client.HTTPMessage) -> int | None:
    total = headers.get("Content-Range", "").rpartition("/")[2]  # "bytes */1234"
    return int(total) if total.isdigit() else None


def _check(url: str, partial: Path, size: int | None, sha256: str | None) -> None:
    """Rejects a file of another size or checksum; one that cannot be completed is deleted, so that the next call starts again."""
    found = partial.stat().st_size
    if size is not None and found != size:
        if found > size:
            partial.unlink()
        cause = "another version of the file" if found > size else "the connection ended early"
        raise DataError(url, found=f"{found} bytes", expected=f"{size} bytes", cause=cause, remedy="run the same command again")
    if sha256 is None:
        return
    with open(partial, "rb") as stream:
        digest = hashlib.sha256()
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != sha256:
        partial.unlink()
        raise DataError(
            url,
            found=f"SHA-256 {digest.hexdigest()}",
            expected=sha256,
            cause="a damaged download, or another version of the file",
            remedy="run the same command again",
        )


def _failure(url: str, path: Path, error: Exception) -> DataError:
    refused = isinstance(error, urllib.error.HTTPError)
    return DataError(
        url,
        found=f"the download failed ({error})",
        expected=f"a file to store as {path}",
        cause="the address has moved, or needs a login" if refused else "no network, an interrupted connection, or a full disk",
        remedy=f"run the same command again to resume, or download the file elsewhere and copy it to {path}",
    )
