"""Downloads from a server on this machine: whole, cut off, damaged, unknown, unreachable, by two at once."""

import dataclasses
import gzip
import hashlib
import io
import logging
import re
import tarfile
from pathlib import Path

import pytest
from lhotse.recipes.librispeech import LIBRISPEECH, MINI_LIBRISPEECH

from spin.config import CorpusConfig
from spin.corpus.download import LM_TEXT, LM_TEXT_MD5, MD5, MINI_PARTS, download_missing, lm_text_file
from spin.corpus.librispeech import parts_in
from spin.errors import ConfigError, DataError, LockedError
from spin.runtime.process import folder_lock
from tests.corpus.layout import write_chapter

LOG = logging.getLogger("spin.test")
PART = "train-clean-5"
NOWHERE = "http://127.0.0.1:9"
ARCHIVE = f"/31/{PART}.tar.gz"  # as OpenSLR has it


@pytest.fixture
def archive(tmp_path: Path) -> bytes:
    write_chapter(tmp_path / "source" / PART, "103", "1240", ["HELLO WORLD", "GOOD MORNING"])
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        tar.add(tmp_path / "source" / PART, arcname=f"LibriSpeech/{PART}")
    return stream.getvalue()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "LibriSpeech"


def get(root: Path, address: str, archive: bytes | None = None) -> None:
    """Downloads the part; its checksum is the one of `archive`, or the published one."""
    download_missing(root, (PART,), LOG, address, {PART: hashlib.md5(archive).hexdigest()} if archive else MD5)


def test_every_part_has_a_checksum_and_an_archive():
    assert set(MD5) == {*LIBRISPEECH, *MINI_LIBRISPEECH} and set(MINI_PARTS) == set(MINI_LIBRISPEECH)
    checksums = [*MD5.values(), LM_TEXT_MD5]
    assert all(re.fullmatch("[0-9a-f]{32}", checksum) for checksum in checksums) and len(set(checksums)) == len(checksums)


def test_missing_part_is_downloaded_and_others_are_left_alone(root: Path, server, archive: bytes):
    server.files[ARCHIVE] = archive
    write_chapter(root / "mine", "1", "1", ["A"])
    get(root, server.url, archive)
    assert parts_in(root) == ["mine", PART]
    assert [path.name for path in (root / ".download").iterdir()] == [".lock"]
    get(root, NOWHERE, archive)  # there already: no server is asked


def test_damaged_archive_is_not_unpacked_and_named(root: Path, server, archive: bytes):
    middle = len(archive) // 2
    server.files[ARCHIVE] = archive[:middle] + bytes(50) + archive[middle + 50 :]
    with pytest.raises(DataError, match=f"{MD5[PART]}, as published") as caught:
        get(root, server.url)
    assert parts_in(root) == []
    Path(str(caught.value).rsplit("rm ", 1)[1].strip()).unlink()  # as the remedy says
    server.files[ARCHIVE] = archive
    get(root, server.url, archive)
    assert parts_in(root) == [PART]


def test_one_download_at_a_time_into_a_folder(root: Path):
    with folder_lock(root / ".download"), pytest.raises(LockedError, match=r"\.download"):
        get(root, NOWHERE)


@pytest.mark.parametrize("name", ["LibriSpeech/../../evil", "evil"])
def test_archives_that_climb_out_or_lack_the_part_are_refused(tmp_path: Path, root: Path, server, name: str):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo(name))
    server.files[ARCHIVE] = stream.getvalue()
    with pytest.raises(DataError, match="cannot be unpacked"):
        get(root, server.url, stream.getvalue())
    assert parts_in(root) == []
    assert all(root / ".download" / PART in path.parents for path in tmp_path.rglob("*evil"))  # not outside


def test_what_is_in_the_way_is_named(root: Path):
    with pytest.raises(DataError, match="no network"):
        get(root, NOWHERE)
    with pytest.raises(DataError, match="dev-clean-2"):  # it lists the parts that there are
        download_missing(root, ("train-clean-7",), LOG, NOWHERE)
    (root / PART / "103").mkdir(parents=True)
    with pytest.raises(DataError, match="without transcripts"):
        get(root, NOWHERE)


def test_lm_text_is_fetched_once_resumed_checked_and_only_when_asked(tmp_path: Path, root: Path, server):
    address, content = f"/11/{LM_TEXT}", gzip.compress(b"A LINE\n" * 1000)
    checksum, corpus = hashlib.md5(content).hexdigest(), CorpusConfig(lm_text="librispeech", corpus_dir=str(tmp_path))
    with pytest.raises(ConfigError, match=r"--set corpus.download=true downloads it \(1.5 GB\)"):
        lm_text_file(corpus, server.url, checksum)
    corpus = dataclasses.replace(corpus, download=True)
    server.files[address] = content[:40]
    with pytest.raises(DataError, match="again to resume"):
        lm_text_file(corpus, server.url, checksum)
    server.files[address] = content
    path = lm_text_file(corpus, server.url, checksum)
    assert path == root / LM_TEXT and path.read_bytes() == content and server.ranges[-1] == "bytes=40-"
    assert [item.name for item in root.iterdir()] == [LM_TEXT]
    assert lm_text_file(dataclasses.replace(corpus, download=False), NOWHERE, "") == path
