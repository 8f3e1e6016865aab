"""What the system does to a run: full disks, forbidden folders, too little memory, dead workers, wrong clocks, a second run.

Each time: an error with a remedy, and the same command afterwards ends in the same files as a run that nothing disturbed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from spin import artifacts
from spin.runtime.files import write_text
from spin.runtime.locks import folder_lock
from tests.faults.bad_corpora import restore_modes
from tests.faults.layouts import small_corpus
from tests.faults.run_case import options
from tests.faults.stage_server import ROOT, Ended, StageServer, privileged, script_of

EXP = Path("exp/t")
PATIENCE_S = 900.0


@pytest.fixture(scope="module")
def server():
    with StageServer("training") as running:
        yield running


@pytest.fixture(scope="module")
def whole(server, tmp_path_factory) -> Path:
    """Stages 0 to 2 done, undisturbed."""
    folder = tmp_path_factory.mktemp("system") / "work"
    small_corpus(folder)
    for stage in (0, 1, 2):
        ended = server.run(stage, folder, *options())
        assert ended.status == 0, ended.output
    return folder.rename(folder.with_name("whole"))


@pytest.fixture
def finished(whole) -> Iterator[Path]:
    """A copy of `whole` at the place where it was made: manifests name recordings by their folder."""
    yield shutil.copytree(whole, whole.with_name("work"))
    shutil.rmtree(whole.with_name("work"))


@pytest.fixture
def copy(finished) -> Path:
    """Stages 0 and 1 done."""
    shutil.rmtree(finished / "exp")
    return finished


def refused(ended: Ended, *words: str) -> None:
    assert ended.status == 1, ended.output
    assert "Traceback" not in ended.output, ended.output
    for word in ("remedy: ", *words):
        assert word in ended.output, ended.output


def model(folder: Path) -> bytes:
    return artifacts.spin_model(folder / EXP).read_bytes()


@pytest.mark.parametrize("size", [300_000, *(pytest.param(size, marks=pytest.mark.slow) for size in (2_000, 4_000_000))])
def test_stage_2_on_a_full_disk(server, whole, copy, size):
    refused(server.run(2, copy, *options(), file_bytes=size), "remedy")
    assert server.run(2, copy, *options()).status == 0
    assert model(copy) == model(whole)


@pytest.mark.slow
@pytest.mark.parametrize("size", [100, 1_200])
def test_stages_0_and_1_on_a_full_disk(server, whole, tmp_path, size):
    small_corpus(tmp_path)
    for stage in (0, 1):
        refused(server.run(stage, tmp_path, *options(), file_bytes=size), "remedy")
        assert server.run(stage, tmp_path, *options()).status == 0
    names = [
        path.name for path in (whole / "data" / "c").glob("*.*") if path.is_file() and not path.name.startswith(("cuts", "."))
    ]
    assert {name: (tmp_path / "data" / "c" / name).read_bytes() for name in names} == {
        name: (whole / "data" / "c" / name).read_bytes() for name in names
    }


@pytest.mark.slow
def test_a_small_file_system_of_its_own(server, whole, copy):
    (copy / "exp").mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(copy / "exp")], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("no right to mount a file system; the limit on file sizes stands for it")
    try:
        refused(server.run(2, copy, *options()), "remedy")
    finally:
        subprocess.run(["umount", str(copy / "exp")], check=True)
    assert server.run(2, copy, *options()).status == 0
    assert model(copy) == model(whole)


def test_little_memory(server, whole, copy):
    refused(server.run(2, copy, *options(), more_bytes=20_000_000), "memory")
    assert server.run(2, copy, *options()).status == 0
    assert model(copy) == model(whole)


@pytest.mark.skipif(privileged(), reason="this user writes everywhere, whatever the modes")
def test_a_folder_that_cannot_be_written(server, copy):
    (copy / "exp" / "t").mkdir(parents=True)
    (copy / "exp" / "t").chmod(0o500)
    try:
        refused(server.run(2, copy, *options()), "Permission denied", "exp/t")
    finally:
        restore_modes(copy / "exp")


@pytest.mark.parametrize("year", [1990, 2090])
def test_a_clock_that_jumps(server, finished, year):
    moment = time.mktime((year, 1, 1, 0, 0, 0, 0, 0, 0))
    for path in finished.rglob("*"):
        os.utime(path, (moment, moment))
    assert server.run(0, finished, *options()).status == 0  # recordings of another time are read again
    for stage in (1, 2):
        ended = server.run(stage, finished, *options())
        assert "skipped" in ended.output and "building" not in ended.output, ended.output


@pytest.mark.slow
def test_a_loader_worker_is_killed(server, copy):
    more = ("--set", "spin.workers=2", "--set", "spin.max_steps=60", "--set", "spin.valid_every_steps=60")
    command = [sys.executable, str(script_of(2)), *options(), *more]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=copy, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            until = time.monotonic() + PATIENCE_S
            checkpoints = copy / EXP / "spin.partial" / "checkpoints"
            while not list(checkpoints.glob("step-*.safetensors")):
                assert process.poll() is None and time.monotonic() < until
                time.sleep(0.05)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(int(children[-1]), signal.SIGKILL)
            output = process.communicate(timeout=PATIENCE_S)[0]
        finally:
            process.kill()
    refused(Ended(process.returncode, output), "data loader")
    models = []
    for resumes in (True, False):
        ended = server.run(2, copy, *options(), *more)
        assert ended.status == 0 and ("resuming" in ended.output) == resumes, ended.output
        models.append(model(copy))
        shutil.rmtree(copy / "exp")
    assert models[0] == models[1]


def test_a_second_run_in_the_same_folders_is_refused_by_name(server, copy):
    with folder_lock(copy / "exp" / "t"):
        refused(server.run(2, copy, *options()), f"process {os.getpid()} on ")
    with folder_lock(copy / "data" / "c"):
        refused(server.run(0, copy, *options(), "--force"), f"process {os.getpid()} on ")
    write_text(copy / "exp" / "t" / ".lock", '{"host": "gone", "pid": 1, "since": "2020-01-01"}')  # left by the dead
    assert server.run(2, copy, *options()).status == 0


def test_data_are_not_read_while_another_run_changes_them_nor_changed_while_read(server, copy):
    corpus = copy / "data" / "c"
    with folder_lock(corpus):
        refused(server.run(2, copy, *options()), f"process {os.getpid()} on ")
    with folder_lock(corpus, shared=True), folder_lock(corpus, shared=True):
        refused(server.run(1, copy, *options(), "--force"), "another run works in it")
        assert server.run(2, copy, *options()).status == 0  # many may read
    assert server.run(1, copy, *options(), "--force").status == 0
