"""Downloads from a server in this process: complete, resumed, damaged, refused, absent."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from spin.errors import DataError
from spin.runtime.download import fetch

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def url(server) -> str:
    server.files["/file.bin"] = CONTENT
    return f"{server.url}/file.bin"


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_an_interrupted_download_resumes(server, url, tmp_path, knows_ranges):
    server.breaks_after, server.knows_ranges = 1000, knows_ranges
    with pytest.raises(DataError, match="1000 bytes") as caught:
        fetch(url, tmp_path / "file.bin")
    assert "again" in caught.value.remedy and not (tmp_path / "file.bin").exists()
    server.breaks_after = None
    assert fetch(url, tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000-"]


def test_a_kill_before_the_rename_costs_nothing_and_another_version_starts_again(url, tmp_path):
    (tmp_path / "killed.bin.part").write_bytes(CONTENT)
    assert fetch(url, tmp_path / "killed.bin").read_bytes() == CONTENT
    (tmp_path / "file.bin.part").write_bytes(CONTENT + b"more")
    with pytest.raises(DataError, match=f"{len(CONTENT) + 4} bytes"):
        fetch(url, tmp_path / "file.bin")
    assert fetch(url, tmp_path / "file.bin").read_bytes() == CONTENT


def test_without_a_network_the_error_says_where_to_put_the_file(server, tmp_path):
    with pytest.raises(DataError, match="404") as caught:
        fetch(f"{server.url}/other.bin", tmp_path / "file.bin")
    assert "moved" in str(caught.value)
    with pytest.raises(DataError, match="no network") as caught:
        fetch("http://127.0.0.1:1/file.bin", tmp_path / "file.bin")
    assert str(tmp_path / "file.bin") in caught.value.remedy


def test_a_file_is_downloaded_once_also_by_processes_that_want_it_at_the_same_time(server, url, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: fetch(url, tmp_path / "file.bin"), range(8)))
    assert paths[0].read_bytes() == CONTENT and server.ranges == [None]
