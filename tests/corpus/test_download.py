"""Downloads through lhotse from a server on this machine: whole, cut off, damaged, unknown, unreachable, by two at once."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gzip
import hashlib
import http.server
import io
import logging
import multiprocessing
import re
import tarfile
import threading
import time
from pathlib import Path

import pytest

from spin.config import CorpusConfig
from spin.corpus import download
from spin.corpus.download import KNOWN_PARTS, LM_TEXT, MD5, download_missing, download_root, lm_text_file
from spin.corpus.librispeech import parts_in
from spin.errors import ConfigError, DataError, LockedError
from tests.corpus.layout import write_chapter

LOG = logging.getLogger("spin.test")
PART = "train-clean-5"
SERVED: list[int] = []  # bytes of each answer of the server
PROCEED = threading.Event()
PATIENCE_IN_S = 60


@pytest.fixture
def server(tmp_path: Path):
    """(address, folder of the archive as OpenSLR has it)."""
    folder = tmp_path / "server" / "31"
    folder.mkdir(parents=True)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):  # noqa: N802 - its name there
            """With ranges, as OpenSLR has them."""
            content = Path(self.translate_path(self.path)).read_bytes()
            begin = int(re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[1])
            self.send_response(206 if begin < len(content) else 416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", str(len(content[begin:])))
            self.end_headers()
            half = len(content[begin:]) // 2
            self.wfile.write(content[begin : begin + half])
            if (folder / "slow").exists():  # the first to ask gets the second half when it is allowed
                (folder / "slow").rename(folder / "waits")
                PROCEED.wait(PATIENCE_IN_S)
            self.wfile.write(content[begin + half :])
            SERVED.append(len(content[begin:]))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder.parent))) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", folder
        running.shutdown()
        thread.join()


@pytest.fixture
def archive(tmp_path: Path) -> bytes:
    write_chapter(tmp_path / "source" / PART, "103", "1240", ["HELLO WORLD", "GOOD MORNING"])
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        tar.add(tmp_path / "source" / PART, arcname=f"LibriSpeech/{PART}")
    return stream.getvalue()


def known(archive: bytes) -> dict[str, str]:
    return {PART: hashlib.md5(archive).hexdigest()}


def test_missing_part_is_downloaded_and_others_are_left_alone(tmp_path: Path, server, archive: bytes):
    address, folder = server
    (folder / f"{PART}.tar.gz").write_bytes(archive)
    root = tmp_path / "LibriSpeech"
    write_chapter(root / "mine", "1", "1", ["A"])
    download_missing(root, ("mine", PART), LOG, address, known(archive))
    assert parts_in(root) == ["mine", PART]
    assert [path.name for path in (root / ".download").iterdir()] == [".lock"]
    (folder / f"{PART}.tar.gz").unlink()
    download_missing(root, ("mine", PART), LOG, address, known(archive))  # there already: the server is not asked


@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_cut_off_archive_is_never_taken_for_the_part(tmp_path: Path, server, archive: bytes, kept: float):
    address, folder = server
    (folder / f"{PART}.tar.gz").write_bytes(archive[: int(len(archive) * kept)])
    root = tmp_path / "LibriSpeech"
    with pytest.raises(DataError, match="published is"):
        download_missing(root, (PART,), LOG, address, known(archive))
    assert parts_in(root) == []


def test_damaged_archive_is_not_unpacked_and_named(tmp_path: Path, server, archive: bytes):
    address, folder = server
    damaged = bytearray(archive)
    damaged[len(damaged) // 2 : len(damaged) // 2 + 50] = bytes(50)
    (folder / f"{PART}.tar.gz").write_bytes(bytes(damaged))
    root = tmp_path / "LibriSpeech"
    with pytest.raises(DataError, match=f"published is {MD5[PART]}") as caught:
        download_missing(root, (PART,), LOG, address)
    assert parts_in(root) == []
    Path(str(caught.value).rsplit("rm ", 1)[1].strip()).unlink()  # as the remedy says
    (folder / f"{PART}.tar.gz").write_bytes(archive)
    download_missing(root, (PART,), LOG, address, known(archive))
    assert parts_in(root) == [PART]


def test_every_part_has_a_checksum():
    assert set(MD5) == {*KNOWN_PARTS, LM_TEXT}
    assert all(re.fullmatch("[0-9a-f]{32}", checksum) for checksum in MD5.values()) and len(set(MD5.values())) == len(MD5)


def test_a_cut_off_download_goes_on_from_there(tmp_path: Path, server, archive: bytes):
    address, folder = server
    (folder / f"{PART}.tar.gz").write_bytes(archive[: len(archive) // 3])
    root = tmp_path / "LibriSpeech"
    with pytest.raises(DataError, match="rerun the same command to resume"):
        download_missing(root, (PART,), LOG, address, known(archive))
    assert (root / ".download" / PART / f"{PART}.tar.gz").stat().st_size == len(archive) // 3
    (folder / f"{PART}.tar.gz").write_bytes(archive)
    download_missing(root, (PART,), LOG, address, known(archive))
    assert parts_in(root) == [PART] and SERVED[-1] == len(archive) - len(archive) // 3


def _download_there(root: Path, address: str, archive: bytes) -> None:
    download_missing(root, (PART,), LOG, address, known(archive))


def test_one_download_at_a_time_into_a_folder(tmp_path: Path, server, archive: bytes):
    address, folder = server
    (folder / f"{PART}.tar.gz").write_bytes(archive)
    (folder / "slow").touch()
    PROCEED.clear()
    root = tmp_path / "LibriSpeech"
    first = multiprocessing.get_context("spawn").Process(target=_download_there, args=(root, address, archive))
    first.start()
    try:
        deadline = time.monotonic() + PATIENCE_IN_S
        while not (folder / "waits").exists() and first.is_alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        with pytest.raises(LockedError, match=rf"another run works in it: process {first.pid} on "):
            download_missing(root, (PART,), LOG, address, known(archive))
    finally:
        PROCEED.set()
        first.join(PATIENCE_IN_S)
    assert first.exitcode == 0 and parts_in(root) == [PART]
    download_missing(root, (PART,), LOG, "http://127.0.0.1:9", MD5)


def test_a_part_that_came_while_the_lock_was_waited_for_is_kept(tmp_path: Path, monkeypatch):
    root = tmp_path / "LibriSpeech"

    @contextlib.contextmanager
    def the_other_ends(_):
        write_chapter(root / PART, "103", "1240", ["HELLO"])
        yield

    monkeypatch.setattr(download, "folder_lock", the_other_ends)
    download_missing(root, (PART,), LOG, "http://127.0.0.1:9", MD5)
    assert parts_in(root) == [PART]


def test_a_folder_that_cannot_hold_downloads(tmp_path: Path):
    (tmp_path / "LibriSpeech").write_text("a file")
    with pytest.raises(DataError, match="another --corpus-dir"):
        download_missing(tmp_path / "LibriSpeech", (PART,), LOG, "http://127.0.0.1:9", MD5)


def _member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, target, 1 if kind == tarfile.REGTYPE else 0
    return member


UNSAFE = {
    "climbs": _member("LibriSpeech/../../evil"),
    "absolute": _member("/tmp/spin-evil"),
    "elsewhere": _member("evil"),
    "link": _member(f"LibriSpeech/{PART}/evil", tarfile.SYMTYPE, "/etc"),
    "hard link": _member(f"LibriSpeech/{PART}/evil", tarfile.LNKTYPE, "/etc/passwd"),
    "device": _member(f"LibriSpeech/{PART}/evil", tarfile.CHRTYPE),
    "pipe": _member(f"LibriSpeech/{PART}/evil", tarfile.FIFOTYPE),
}


@pytest.mark.parametrize("member", UNSAFE.values(), ids=UNSAFE)
def test_unsafe_archives_are_refused(tmp_path: Path, server, member: tarfile.TarInfo):
    address, folder = server
    with tarfile.open(folder / f"{PART}.tar.gz", "w:gz") as tar:
        tar.addfile(member, io.BytesIO(b"x") if member.isfile() else None)
    root = tmp_path / "LibriSpeech"
    with pytest.raises(DataError, match="cannot be unpacked"):
        download_missing(root, (PART,), LOG, address, known((folder / f"{PART}.tar.gz").read_bytes()))
    assert parts_in(root) == []
    assert not Path("/tmp/spin-evil").exists()
    assert all(root / ".download" / PART in path.parents for path in tmp_path.rglob("*evil"))  # not outside


def test_no_network_unknown_part_and_a_folder_in_the_way(tmp_path: Path):
    root = tmp_path / "LibriSpeech"
    with pytest.raises(DataError, match="no network"):
        download_missing(root, (PART,), LOG, "http://127.0.0.1:9")
    with pytest.raises(DataError, match="dev-clean-2"):
        download_missing(root, ("train-clean-7",), LOG, "http://127.0.0.1:9")
    (root / PART / "103").mkdir(parents=True)
    with pytest.raises(DataError, match="without transcripts"):
        download_missing(root, (PART,), LOG, "http://127.0.0.1:9")


def test_lm_text_is_fetched_once_resumed_checked_and_only_when_asked(tmp_path: Path, server, caplog):
    address, folder = server
    (folder.parent / "11").mkdir()
    served, content = folder.parent / "11" / LM_TEXT, gzip.compress(b"A LINE\n" * 1000)
    checksum, corpus = hashlib.md5(content).hexdigest(), CorpusConfig(lm_text="librispeech", corpus_dir=str(tmp_path))
    with pytest.raises(ConfigError, match=r"--set corpus.download=true downloads it \(1.5 GB\)"):
        lm_text_file(corpus, LOG, address, checksum)
    corpus = dataclasses.replace(corpus, download=True)
    with pytest.raises(DataError, match="no network"):
        lm_text_file(corpus, LOG, "http://127.0.0.1:9", checksum)
    served.write_bytes(content[:40])
    with pytest.raises(DataError, match="rerun the same command to resume"):
        lm_text_file(corpus, LOG, address, checksum)
    served.write_bytes(content)
    path = lm_text_file(corpus, LOG, address, checksum)
    assert path == tmp_path / "LibriSpeech" / LM_TEXT and path.read_bytes() == content and SERVED[-1] == len(content) - 40
    assert [item.name for item in (path.parent / ".download").iterdir()] == [".lock"]
    assert lm_text_file(dataclasses.replace(corpus, download=False), LOG, "http://127.0.0.1:9", "") == path


def test_where_downloads_go(tmp_path: Path, small_corpus: Path):
    assert download_root(None, str(tmp_path)) == tmp_path / "LibriSpeech"
    assert download_root(str(tmp_path / "x"), "data") == tmp_path / "x" / "LibriSpeech"
    assert download_root(str(small_corpus), "data") == small_corpus
