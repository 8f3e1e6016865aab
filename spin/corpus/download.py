"""Downloads of LibriSpeech's parts from OpenSLR, with lhotse's resumable download.

A part is downloaded, compared with the published checksum, unpacked in a folder of its own and moved to its place when it is
complete, so an interrupted download is never taken for a part. The archive stays until then, and the next run resumes it. Only
parts whose folder is missing are touched. One process at a time downloads into a folder of parts.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import shutil
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from lhotse.recipes.librispeech import LIBRISPEECH, MINI_LIBRISPEECH
from lhotse.utils import resumable_download

from spin.corpus.librispeech import ROOT, parts_in
from spin.errors import DataError, LockedError
from spin.runtime.locks import folder_lock

BASE_URL = "http://www.openslr.org/resources"
_STAGING = ".download"
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
KNOWN_PARTS = (*LIBRISPEECH, *MINI_LIBRISPEECH)


def download_root(corpus_dir: str | None, data_dir: str) -> Path:
    """Folder of the parts: `corpus_dir` if called LibriSpeech or with parts in it, else LibriSpeech/ in it or in `data_dir`."""
    folder = Path(corpus_dir or data_dir).absolute()
    return folder if folder.name == ROOT or parts_in(folder) else folder / ROOT


def download_missing(
    root: Path, parts: Sequence[str], log: logging.Logger, base_url: str = BASE_URL, checksums: Mapping[str, str] = MD5
) -> None:
    """Downloads each of `parts` that `root` lacks.

    Args:
        checksums: part -> MD5 of its archive.

    Raises:
        DataError: a name that OpenSLR does not have, no network, no space, or an archive that is damaged or unsafe.
        LockedError: another process downloads into `root`; names host, process and since when.
    """
    missing = [part for part in parts if part not in parts_in(root)]
    unknown = [part for part in missing if part not in checksums]
    if unknown:
        raise DataError(
            f"download of {', '.join(unknown)}",
            found="no part of LibriSpeech or mini_librispeech",
            expected=f"one of {', '.join(checksums)}",
            remedy="correct corpus.spin_train, asr_train, valid and test",
        )
    if not missing:
        return
    try:
        with folder_lock(root / _STAGING):
            for part in missing:
                _download(root, part, base_url, checksums[part], log)
    except LockedError as error:
        raise LockedError(
            f"download of {', '.join(missing)} into {root}",
            found=error.found,
            expected="one download at a time into a folder of parts",
            remedy="wait until it ends, then rerun the same command; or stop it, or choose another --corpus-dir",
        ) from error
    except (OSError, http.client.HTTPException) as error:  # urllib's own errors are OSErrors
        raise _failure(
            ", ".join(missing),
            str(error) or type(error).__name__,
            "no network, the server is down, a full disk, or a folder that cannot be written",
            "rerun the same command to resume, choose another --corpus-dir, or unpack <part>.tar.gz of openslr.org there",
        ) from error


def _download(root: Path, part: str, base_url: str, checksum: str, log: logging.Logger) -> None:
    """Downloads one part under the lock, unless another process has done so while this one waited."""
    if part in parts_in(root):
        log.info("part %s: another process has downloaded it", part)
        return
    if (root / part).exists() and any((root / part).iterdir()):
        raise _failure(part, f"{root / part} without transcripts", "an interrupted unpacking", "move that folder away")
    log.info("downloading %s from %s", part, base_url)
    staging = root / _STAGING / part
    archive = staging / f"{part}.tar.gz"
    staging.mkdir(parents=True, exist_ok=True)
    resumable_download(f"{base_url}/{12 if part in LIBRISPEECH else 31}/{archive.name}", filename=archive)
    _check(archive, part, checksum)
    try:
        shutil.rmtree(staging / ROOT, ignore_errors=True)
        with tarfile.open(archive, "r:gz") as tar:
            tar.extractall(staging, filter="data")  # no links out of the folder, no devices
        os.replace(staging / ROOT / part, root / part)
    except (tarfile.TarError, FileNotFoundError, EOFError, zlib.error) as error:
        raise _failure(part, f"an archive that cannot be unpacked ({error})", "not LibriSpeech's", f"rm {archive}") from error
    shutil.rmtree(staging)


def _check(archive: Path, part: str, checksum: str) -> None:
    """Compares the MD5; the archive is kept, because the download may only have ended early."""
    found = hashlib.md5(usedforsecurity=False)
    with open(archive, "rb") as stream:
        while block := stream.read(1 << 20):
            found.update(block)
    if found.hexdigest() != checksum:
        raise _failure(
            part,
            f"MD5 {found.hexdigest()} of {archive.stat().st_size} bytes, published is {checksum}",
            "the connection was interrupted, or the archive is damaged",
            f"rerun the same command to resume; if the error stays, rm {archive}",
        )


def _failure(part: str, found: str, cause: str, remedy: str) -> DataError:
    return DataError(f"download of {part}", found=found, expected="a complete archive from OpenSLR", cause=cause, remedy=remedy)
