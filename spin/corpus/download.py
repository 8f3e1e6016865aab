"""Downloads from OpenSLR: parts of LibriSpeech, and the text of its language models.

An archive is compared with its published checksum, unpacked in a folder of its own and moved to its place when it is complete, so
an interrupted download is never taken for a part. The archive stays until then, and the next run resumes it. Only parts whose
folder is missing are touched. One process at a time downloads into a folder of parts.
"""

import logging
import os
import shlex
import shutil
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from spin.config import CorpusConfig
from spin.corpus.librispeech import ROOT, parts_in, root_in
from spin.errors import ConfigError, DataError
from spin.runtime.download import fetch
from spin.runtime.process import folder_lock

BASE_URL = "http://www.openslr.org/resources"
_STAGING = ".download"
# MD5 of <part>.tar.gz, from www.openslr.org/resources/12/md5sum.txt, and for MINI_PARTS from .../31/md5sum.txt.
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
MINI_PARTS = ("train-clean-5", "dev-clean-2")
LM_TEXT = "librispeech-lm-norm.txt.gz"  # 1.5 GB: 40 million normalised sentences of 14,500 books
LM_TEXT_MD5 = "c83c64c726a1aedfe65f80aa311de402"  # not published


def download_missing(
    root: Path, parts: Sequence[str], log: logging.Logger, base_url: str = BASE_URL, checksums: Mapping[str, str] = MD5
) -> None:
    """Downloads each of `parts` that `root` lacks; `checksums`: part -> MD5 of its archive.

    Raises DataError for a name that OpenSLR does not have, no network, no space, or an archive that is damaged or unsafe, and
    LockedError where another process downloads into `root`.
    """
    missing = [part for part in parts if part not in parts_in(root)]
    unknown = [part for part in missing if part not in MD5]
    if unknown:
        remedy = "correct corpus.spin_train, asr_train, valid and test"
        subject, expected = f"download of {', '.join(unknown)}", f"one of {', '.join(MD5)}"
        raise DataError(subject, found="an unknown part", expected=expected, remedy=remedy)
    if missing:
        with folder_lock(root / _STAGING):
            for part in missing:
                log.info("downloading %s into %s", part, root)
                _download_part(root, part, base_url, checksums[part])


def lm_text_file(corpus: CorpusConfig, base_url: str = BASE_URL, checksum: str = LM_TEXT_MD5) -> Path:
    """The text that LibriSpeech's own language models are trained on, in the folder of the parts; downloaded once.

    Raises ConfigError where it is not there and corpus.download is not set, and DataError where the download fails.
    """
    path = root_in(corpus.corpus_dir or corpus.data_dir) / LM_TEXT
    if not path.exists() and not corpus.download:
        raise ConfigError(
            "corpus.lm_text",
            found=f"{corpus.lm_text}, but no {path}",
            expected=f"the file {LM_TEXT} of openslr.org/11",
            remedy="--set corpus.download=true downloads it (1.5 GB); or --set corpus.lm_text=FILE",
        )
    return fetch(f"{base_url}/11/{LM_TEXT}", path, checksum)


def _download_part(root: Path, part: str, base_url: str, checksum: str) -> None:
    """Downloads one part under the lock, unless another process has done so before this one had the lock."""
    if part in parts_in(root):
        return
    if (root / part).exists() and any((root / part).iterdir()):
        folder = shlex.quote(str(root / part))
        raise _failure(part, f"{root / part} without transcripts", "an interrupted unpacking", f"mv {folder} {folder}.old")
    staging, name = root / _STAGING / part, f"{part}.tar.gz"
    archive = fetch(f"{base_url}/{31 if part in MINI_PARTS else 12}/{name}", staging / name, checksum)
    try:
        shutil.rmtree(staging / ROOT, ignore_errors=True)
        with tarfile.open(archive, "r:gz") as tar:
            tar.extractall(staging, filter="data")  # no links out of the folder, no devices
        os.replace(staging / ROOT / part, root / part)
    except (tarfile.TarError, FileNotFoundError, EOFError, zlib.error) as error:
        remedy = f"rm {shlex.quote(str(archive))}"
        raise _failure(part, f"an archive that cannot be unpacked ({error})", "not LibriSpeech's", remedy) from error
    shutil.rmtree(staging)


def _failure(part: str, found: str, cause: str, remedy: str) -> DataError:
    expected = "a complete archive of OpenSLR"
    return DataError(f"download of {part}", found=found, expected=expected, cause=cause, remedy=remedy)
