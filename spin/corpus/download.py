"""Downloads from OpenSLR by lhotse, which resumes them: parts of LibriSpeech, and the text of its language models.

An archive is compared with its published checksum, unpacked in a folder of its own and moved to its place when it is complete, so
an interrupted download is never taken for a part. The archive stays until then, and the next run resumes it. Only parts whose
folder is missing are touched. One process at a time downloads into a folder of parts.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import logging
import os
import shlex
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lhotse.recipes.librispeech import LIBRISPEECH, MINI_LIBRISPEECH
from lhotse.utils import resumable_download

from spin.config import CorpusConfig
from spin.corpus.librispeech import ROOT, parts_in
from spin.errors import ConfigError, DataError, LockedError
from spin.runtime.locks import folder_lock

BASE_URL = "http://www.openslr.org/resources"
_STAGING = ".download"
LM_TEXT = "librispeech-lm-norm.txt.gz"  # 1.5 GB: 40 million normalised sentences of 14,500 books
# Of <part>.tar.gz, from www.openslr.org/resources/12/md5sum.txt and .../31/md5sum.txt; .../11 has none for the LM text.
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
    LM_TEXT: "c83c64c726a1aedfe65f80aa311de402",
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
    unknown = [part for part in missing if part not in KNOWN_PARTS]
    if unknown:
        raise DataError(
            f"download of {', '.join(unknown)}",
            found="an unknown part",
            expected=f"one of {', '.join(KNOWN_PARTS)}",
            remedy="correct corpus.spin_train, asr_train, valid and test",
        )
    if missing:
        with _locked(root, ", ".join(missing)):
            for part in missing:
                _download_part(root, part, base_url, checksums[part], log)


def lm_text_file(corpus: CorpusConfig, log: logging.Logger, base_url: str = BASE_URL, checksum: str = MD5[LM_TEXT]) -> Path:
    """The text that LibriSpeech's own language models are trained on, in the folder of the parts; downloaded once.

    Raises:
        ConfigError: it is not there, and corpus.download is not set.
        DataError, LockedError: as download_missing.
    """
    root = download_root(corpus.corpus_dir, corpus.data_dir)
    path = root / LM_TEXT
    if not path.exists() and not corpus.download:
        raise ConfigError(
            "corpus.lm_text",
            found=f"{corpus.lm_text}, but no {path}",
            expected=f"the file {LM_TEXT} of openslr.org/11",
            remedy="--set corpus.download=true downloads it (1.5 GB); or --set corpus.lm_text=FILE",
        )
    if not path.exists():
        with _locked(root, LM_TEXT):
            if not path.exists():
                staging = root / _STAGING / "lm_text"
                os.replace(_fetch(staging, LM_TEXT, f"{base_url}/11/{LM_TEXT}", checksum, log), path)
                staging.rmdir()
    return path


@contextlib.contextmanager
def _locked(root: Path, names: str) -> Iterator[None]:
    """Holds the lock of downloads into `root`, and turns errors of system and network into DataErrors."""
    try:
        with folder_lock(root / _STAGING):
            yield
    except LockedError as error:
        raise LockedError(
            f"download of {names} into {root}",
            found=error.found,
            expected="one download at a time into a folder of parts",
            remedy="wait until it ends, then rerun the same command; or stop it, or choose another --corpus-dir",
        ) from error
    except (OSError, http.client.HTTPException) as error:  # urllib's own errors are OSErrors
        raise _failure(
            names,
            str(error) or type(error).__name__,
            "no network, the server is down, a full disk, or a folder that cannot be written",
            "rerun the same command to resume, choose another --corpus-dir, or put what openslr.org has there",
        ) from error


def _download_part(root: Path, part: str, base_url: str, checksum: str, log: logging.Logger) -> None:
    """Downloads one part under the lock, unless another process has done so while this one waited."""
    if part in parts_in(root):
        log.info("part %s: another process has downloaded it", part)
        return
    if (root / part).exists() and any((root / part).iterdir()):
        folder = shlex.quote(str(root / part))
        raise _failure(part, f"{root / part} without transcripts", "an interrupted unpacking", f"mv {folder} {folder}.old")
    staging, address = root / _STAGING / part, f"{base_url}/{12 if part in LIBRISPEECH else 31}/{part}.tar.gz"
    archive = _fetch(staging, part, address, checksum, log)
    try:
        shutil.rmtree(staging / ROOT, ignore_errors=True)
        with tarfile.open(archive, "r:gz") as tar:
            tar.extractall(staging, filter="data")  # no links out of the folder, no devices
        os.replace(staging / ROOT / part, root / part)
    except (tarfile.TarError, FileNotFoundError, EOFError, zlib.error) as error:
        raise _failure(part, f"an archive that cannot be unpacked ({error})", "not LibriSpeech's", f"rm {archive}") from error
    shutil.rmtree(staging)


def _fetch(folder: Path, name: str, address: str, checksum: str, log: logging.Logger) -> Path:
    """Downloads into a folder and compares the MD5; the file is kept, as the download may only have ended early."""
    log.info("downloading %s from %s", name, address)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / address.rsplit("/", 1)[1]
    resumable_download(address, filename=path)
    found = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            found.update(block)
    if found.hexdigest() != checksum:
        raise _failure(
            name,
            f"MD5 {found.hexdigest()} of {path.stat().st_size} bytes, published is {checksum}",
            "the connection was interrupted, or the file is damaged",
            f"rerun the same command to resume; if the error stays, rm {path}",
        )
    return path


def _failure(name: str, found: str, cause: str, remedy: str) -> DataError:
    return DataError(f"download of {name}", found=found, expected="a complete file from OpenSLR", cause=cause, remedy=remedy)
