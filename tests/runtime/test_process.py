"""Folder locks: one writer or many readers, also readers without write permission."""

import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from spin.errors import LockedError
from spin.runtime.logs import get_logger
from spin.runtime.process import folder_lock
from tests.rights import without_privilege

HOLDER = """
import sys
from spin.runtime.process import folder_lock
with folder_lock(sys.argv[1], shared=sys.argv[2] == "shared"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    """Data of a corpus with the lock file of the run that made them."""
    data = tmp_path / "data"
    with folder_lock(data):
        (data / "cuts").touch()
    return data


def protect(folder: Path, protected: bool) -> None:
    for path in folder.iterdir():
        path.chmod(0o444 if protected else 0o644)
    folder.chmod(0o555 if protected else 0o755)


@contextlib.contextmanager
def holder(folder: Path, how: str) -> Iterator[subprocess.Popen]:
    """A process that may do only what the modes of files allow, and holds the folder."""
    command = [*without_privilege(), sys.executable, "-c", HOLDER, str(folder), how]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout.readline().strip() == "held"  # and no warning before it
        yield process
        process.kill()


def is_free(folder: Path) -> bool:
    try:
        with folder_lock(folder):
            return True
    except LockedError as error:
        assert "another run works in it" in str(error)
        return False


def test_a_writer_is_named_and_a_dead_one_holds_nothing(folder):
    with holder(folder, "alone") as process:
        for shared in (True, False):
            with pytest.raises(LockedError, match=f"process {process.pid} on"), folder_lock(folder, shared):
                pass
    assert is_free(folder)


def test_a_reader_without_write_permission_keeps_the_owner_away(folder):
    protect(folder, True)
    with holder(folder, "shared"):
        protect(folder, False)
        assert not is_free(folder)
    assert is_free(folder)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EDQUOT])
def test_a_refusal_to_write_leaves_a_shared_lock_and_one_to_read_a_warning(folder, monkeypatch, caplog, number):
    refusal = OSError(number, os.strerror(number))

    def only_read(path, mode="r", **more):
        if mode != "r":
            raise refusal
        return open(path, mode, **more)

    with monkeypatch.context() as patch:
        patch.setattr("spin.runtime.process.open", only_read, raising=False)
        with folder_lock(folder, shared=True), folder_lock(folder, shared=True):
            patch.undo()
            assert not is_free(folder)
    assert is_free(folder)
    monkeypatch.setattr("spin.runtime.process.open", mock.Mock(side_effect=refusal), raising=False)
    monkeypatch.setattr(get_logger("spin"), "propagate", True)
    with folder_lock(folder, shared=True):
        assert f"reading {folder} without a lock" in caplog.text
