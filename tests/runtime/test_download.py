"""Downloads from a server in this process: complete, resumed, damaged, refused, absent."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from spin.errors import DataError
from spin.runtime import download
from spin.runtime.download import cache_folder, fetch

CONTENT = bytes(range(256)) * 40


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT with ranges; the server's attributes say how it misbehaves."""

    def do_GET(self):
        requested = self.headers.get("Range")
        self.server.ranges.append(requested)
        first = int(requested[len("bytes=") :].rstrip("-")) if requested and self.server.knows_ranges else 0
        if self.path != "/file.bin":
            self.send_error(404)
        elif first >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.end_headers()
        else:
            self.send_response(206 if first else 200)
            if first:
                self.send_header("Content-Range", f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}")
            self.send_header("Content-Length", str(len(CONTENT) - first))
            self.end_headers()
            self.wfile.write(CONTENT[first:][: self.server.breaks_after])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.ranges, server.knows_ranges, server.breaks_after = [], True, None
    server.url = f"http://127.0.0.1:{server.server_port}/file.bin"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_file_is_downloaded_once(server, tmp_path):
    path = tmp_path / "folder" / "file.bin"
    for _ in range(2):
        assert fetch(server.url, path).read_bytes() == CONTENT
    assert server.ranges == [None]
    assert [item.name for item in path.parent.iterdir()] == ["file.bin"]


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_an_interrupted_download_resumes(server, tmp_path, knows_ranges):
    server.breaks_after, server.knows_ranges = 1000, knows_ranges
    with pytest.raises(DataError, match="1000 bytes") as caught:
        fetch(server.url, tmp_path / "file.bin")
    assert "again" in caught.value.remedy and not (tmp_path / "file.bin").exists()
    server.breaks_after = None
    assert fetch(server.url, tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000-"]


def test_a_kill_before_the_rename_costs_nothing(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    assert fetch(server.url, tmp_path / "file.bin").read_bytes() == CONTENT


def test_another_version_of_the_file_starts_again(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT + b"more")
    with pytest.raises(DataError, match=f"{len(CONTENT) + 4} bytes"):
        fetch(server.url, tmp_path / "file.bin")
    assert fetch(server.url, tmp_path / "file.bin").read_bytes() == CONTENT


def test_without_a_network_the_error_says_where_to_put_the_file(server, tmp_path, monkeypatch):
    with pytest.raises(DataError, match="404") as caught:
        fetch(server.url.replace("file", "other"), tmp_path / "file.bin")
    assert "moved" in str(caught.value)
    with pytest.raises(DataError, match="no network") as caught:
        fetch("http://127.0.0.1:1/file.bin", tmp_path / "file.bin")
    assert str(tmp_path / "file.bin") in caught.value.remedy
    monkeypatch.setattr(download, "TIMEOUT_IN_S", 0.01)
    with pytest.raises(DataError, match="download failed"):
        fetch("file:///nothing/here", tmp_path / "file.bin")


def test_processes_that_want_the_same_file_wait_for_one_another(server, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: fetch(server.url, tmp_path / "file.bin"), range(8)))
    assert paths[0].read_bytes() == CONTENT and server.ranges == [None]


def test_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("SPIN_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("SPIN_CACHE")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert str(cache_folder()) == "/home/somebody/.cache/spin"
