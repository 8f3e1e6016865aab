"""Fetching LibriSpeech's parts through lhotse.

A part is fetched and unpacked in a folder of its own and moved to its place when it is whole, so that what a killed or cut-off
download leaves is never taken for a part; the archive stays until then, and the next run goes on with it.
"""

from __future__ import annotations

import gzip
import http.client
import logging
import os
import shutil
import tarfile
import zlib
from pathlib import Path

from lhotse.recipes.librispeech import LIBRISPEECH, MINI_LIBRISPEECH, download_librispeech

from spin.corpus.librispeech import parts_in
from spin.errors import DataError

BASE_URL = "http://www.openslr.org/resources"
KNOWN_PARTS = (*LIBRISPEECH, *MINI_LIBRISPEECH)
_STAGING = ".download"


def download_root(corpus_dir: str | None, data_dir: str) -> Path:
    """Where parts go: `corpus_dir` if called LibriSpeech or with parts in it, else LibriSpeech/ in it or in `data_dir`."""
    folder = Path(corpus_dir or data_dir).absolute()
    return folder if folder.name == "LibriSpeech" or parts_in(folder) else folder / "LibriSpeech"


def download_missing(root: Path, parts: tuple[str, ...], log: logging.Logger, base_url: str = BASE_URL) -> None:
    """Fetches each of `parts` that `root` lacks.

    Raises:
        DataError: a name that OpenSLR does not have, no network, no space, or a damaged archive.
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
    for part in missing:
        if (root / part).exists() and any((root / part).iterdir()):
            raise _failure(part, f"{root / part} without transcripts", "an unpacking that was cut off", "move that folder away")
        log.info("fetching %s from %s", part, base_url)
        _download(root, part, base_url)


def _download(root: Path, part: str, base_url: str) -> None:
    staging = root / _STAGING / part
    archive = staging / f"{part}.tar.gz"
    try:
        staging.mkdir(parents=True, exist_ok=True)
        download_librispeech(staging, dataset_parts=[part], base_url=base_url)
        _check_whole(archive)
        os.replace(staging / "LibriSpeech" / part, root / part)
    except (EOFError, tarfile.ReadError) as error:
        shutil.rmtree(staging / "LibriSpeech", ignore_errors=True)  # the archive stays
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


def _check_whole(archive: Path) -> None:
    """Reads to the end, where gzip's checksum is: unpacking alone stops at the last file."""
    with gzip.open(archive, "rb") as stream:
        while stream.read(1 << 20):
            pass


def _failure(part: str, found: str, cause: str, remedy: str) -> DataError:
    return DataError(f"download of {part}", found=found, expected="its archive from OpenSLR, whole", cause=cause, remedy=remedy)
