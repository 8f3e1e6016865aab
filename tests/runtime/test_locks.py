"""Folder locks of readers without write permission: they hold, and a writer is refused until they are released."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from spin.errors import LockedError
from spin.runtime import locks
from spin.runtime.locks import LOCK_NAME, folder_lock
from spin.runtime.logs import get_logger
from tests.rights import without_privilege

ROOT = Path(__file__).resolve().parents[2]
READER = """
import sys
from spin.runtime.locks import folder_lock
with folder_lock(sys.argv[1], shared=True):
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
def reader(folder: Path) -> Iterator[subprocess.Popen]:
    """A process that may not write in the folder and reads it."""
    command = [*without_privilege(), sys.executable, "-c", READER, str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, **pipes) as process:
        try:
            yield process
        finally:
            process.stdin.close()
            process.wait(timeout=60)


def test_a_reader_who_may_not_write_keeps_the_owner_away(folder):
    protect(folder, True)
    with reader(folder) as process:
        assert process.stdout.readline().strip() == "held"  # and no warning before it
        protect(folder, False)
        with pytest.raises(LockedError, match="another run works in it"), folder_lock(folder):
            pass
        protect(folder, True)
    protect(folder, False)
    with folder_lock(folder):
        pass


def test_a_reader_who_may_not_write_is_refused_while_the_owner_works(folder):
    with folder_lock(folder):
        protect(folder, True)
        with reader(folder) as process:
            output = process.communicate(timeout=60)[0]
        protect(folder, False)
    assert process.returncode and f"LockedError: folder {folder}" in output and f"process {os.getpid()} on" in output


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EDQUOT])
def test_any_refusal_to_write_leaves_a_shared_lock(folder, monkeypatch, number):
    def refusing(path, mode="r", **more):
        if mode != "r":
            raise OSError(number, os.strerror(number), str(path))
        return open(path, mode, **more)

    with monkeypatch.context() as patch:
        patch.setattr(locks, "open", refusing, raising=False)
        with folder_lock(folder, shared=True), folder_lock(folder, shared=True):
            patch.undo()
            with pytest.raises(LockedError, match="another run works in it"), folder_lock(folder):
                pass
    with folder_lock(folder):
        pass


@pytest.mark.parametrize("name", ["data", "absent"])
def test_without_a_lock_file_that_can_be_opened_data_are_read_with_a_warning(folder, monkeypatch, name):
    def refusing(path, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(locks, "open", refusing, raising=False)
    said = []
    monkeypatch.setattr(get_logger("locks"), "warning", lambda text, *values: said.append(text % values))
    with folder_lock(folder.with_name(name), shared=True):
        pass
    assert [line.partition(" (")[0] for line in said] == [f"reading {folder.with_name(name)} without a lock"]
    assert (folder / LOCK_NAME).exists()
