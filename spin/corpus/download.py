"""Fetching LibriSpeech's parts from OpenSLR.

A part is fetched, compared with the checksum that OpenSLR publishes, unpacked in a folder of its own, and moved to its place when
it is whole, so that what a killed or cut-off download leaves is never taken for a part. The archive stays until then, and the
next run goes on with it. One process at a time fetches into a folder of parts, as all use the same place for what is on its way.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import logging
import os
import shutil
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from lhotse.recipes.librispeech import LIBRISPEECH, MINI_LIBRISPEECH
from lhotse.utils import resumable_download

from spin.corpus.librispeech import parts_in
from spin.errors import DataError, LockedError
from spin.runtime.locks import folder_lock

BASE_URL = "http://www.openslr.org/resources"
KNOWN_PARTS = (*LIBRISPEECH, *MINI_LIBRISPEECH)
_STAGING = ".download"
_TOP = "LibriSpeech"  # the folder that every archive unpacks to
# Of <part>.tar.gz, from www.openslr.org/resources/12/md5sum.txt and .../31/md5sum.txt.
MD5 = {
    "dev-clean": "42e2234ba48799c1f50f24a7926300a1",
    "dev-other": "c8d0bcc9cca99d4f8b62fcc847357931",
    "test-clean": "32fa31d27d2e1cad72775fee3f4849a9",
    "test-other": "fb5a50374b501bb3bac4815ee91d3135",
    "train-clean-100": "2a93770f6d5c6c964bc36631d331a522",
    "train-clean-360": "c0e676e450a7ff2f54aeade5171606fa",
    "train-other-500": "d1a0fd59409feb2c614ce4d30c387708",
    "train-clean-5": "5df7d4e78065366204ca6845bb08f490",
    "dev-clean-2": "6d7ab67ac6a1d2c993d050e16d61080d",
}


def download_root(corpus_dir: str | None, data_dir: str) -> Path:
    """Where parts go: `corpus_dir` if called LibriSpeech or with parts in it, else LibriSpeech/ in it or in `data_dir`."""
    folder = Path(corpus_dir or data_dir).absolute()
    return folder if folder.name == "LibriSpeech" or parts_in(folder) else folder / "LibriSpeech"


def download_missing(
    root: Path, parts: tuple[str, ...], log: logging.Logger, base_url: str = BASE_URL, checksums: Mapping[str, str] = MD5
) -> None:
    """Fetches each of `parts` that `root` lacks.

    Args:
        checksums: part -> MD5 of its archive; a part without one is checked by gzip's own checksum alone.

    Raises:
        DataError: a name that OpenSLR does not have, no network, no space, or an archive that is damaged or unsafe.
        LockedError: another process fetches into `root`; names host, process and since when.
    """
    missing = [part for part in parts if part not in parts_in(root)]
    unknown = [part for part in missing if part not in KNOWN_PARTS]
    if unknown:
        raise DataError(
            f"download of {', '.join(unknown)}",
            found="no part of LibriSpeech or mini_librispeech",
            expected=f"one of {', '.join(KNOWN_PARTS)}",
            remedy="mend corpus.spin_train, asr_train, valid and test",
        )
    if not missing:
        return
    try:
        with folder_lock(root / _STAGING):
            _fetch(root, missing, log, base_url, checksums)
    except LockedError as error:
        raise LockedError(
            f"download of {', '.join(missing)} into {root}",
            found=error.found,
            expected="one download at a time into a folder of parts",
            remedy="wait for it to end, then give the same command; or stop it, or choose another --corpus-dir",
        ) from error
    except OSError as error:  # of the lock: the download has its own
        raise _failure(missing[0], str(error), "a folder that may not be written", "choose another --corpus-dir") from error


def _fetch(root: Path, parts: list[str], log: logging.Logger, base_url: str, checksums: Mapping[str, str]) -> None:
    """Fetches `parts`, under the lock, but for those that another process has fetched since they were found missing."""
    there = parts_in(root)
    for part in parts:
        if part in there:
            log.info("part %s: another process has fetched it meanwhile", part)
            continue
        if (root / part).exists() and any((root / part).iterdir()):
            raise _failure(part, f"{root / part} without transcripts", "an unpacking that was cut off", "move that folder away")
        log.info("fetching %s from %s", part, base_url)
        _download(root, part, base_url, checksums.get(part))


def _download(root: Path, part: str, base_url: str, checksum: str | None) -> None:
    staging = root / _STAGING / part
    archive = staging / f"{part}.tar.gz"
    try:
        staging.mkdir(parents=True, exist_ok=True)
        resumable_download(f"{base_url}/{12 if part in LIBRISPEECH else 31}/{archive.name}", filename=archive)
        _check_whole(archive, checksum)
        shutil.rmtree(staging / _TOP, ignore_errors=True)
        _unpack(archive, staging)
        os.replace(staging / _TOP / part, root / part)
    except (EOFError, tarfile.ReadError) as error:
        shutil.rmtree(staging / _TOP, ignore_errors=True)  # the archive stays
        found = f"the archive ends too early ({error})"
        raise _failure(part, found, "the connection was cut", "the same command goes on from there") from error
    except (gzip.BadGzipFile, zlib.error, tarfile.TarError) as error:
        shutil.rmtree(staging)
        found = f"a damaged archive ({error})"
        raise _failure(part, found, "an error on the way", "the same command fetches it anew") from error
    except (OSError, http.client.HTTPException) as error:  # urllib's own errors are OSErrors
        raise _failure(
            part,
            str(error) or type(error).__name__,
            "no network, the server is down, or the disk is full",
            f"fetch {part}.tar.gz from openslr.org by other means, unpack it, and give its folder with --corpus-dir",
        ) from error
    shutil.rmtree(staging)


def _check_whole(archive: Path, checksum: str | None) -> None:
    """Reads to the end, where gzip's checksum is, then compares the published one.

    Raises:
        EOFError: it was cut off.
        gzip.BadGzipFile, zlib.error: it is damaged.
    """
    with gzip.open(archive, "rb") as stream:
        while stream.read(1 << 20):
            pass
    if checksum is None:
        return
    found = hashlib.md5(usedforsecurity=False)
    with open(archive, "rb") as stream:
        while block := stream.read(1 << 20):
            found.update(block)
    if found.hexdigest() != checksum:
        raise gzip.BadGzipFile(f"MD5 {found.hexdigest()}, published is {checksum}")


def _unpack(archive: Path, folder: Path) -> None:
    """Files and folders below <folder>/LibriSpeech, with our own modes and owner, and nothing else.

    Raises:
        tarfile.TarError: a member that would land elsewhere, a link or a device; LibriSpeech's archives have none.
    """
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            unsafe = path.is_absolute() or ".." in path.parts or path.parts[:1] != (_TOP,)
            if unsafe or not (member.isfile() or member.isdir()):
                raise tarfile.TarError(f"it is unsafe: member {member.name!r}")
            if member.isdir():
                (folder / path).mkdir(parents=True, exist_ok=True)
                continue
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            with tar.extractfile(member) as source, open(folder / path, "wb") as target:
                shutil.copyfileobj(source, target)


def _failure(part: str, found: str, cause: str, remedy: str) -> DataError:
    return DataError(f"download of {part}", found=found, expected="its archive from OpenSLR, whole", cause=cause, remedy=remedy)
