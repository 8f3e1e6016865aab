"""What the system does to a run: full disks, forbidden folders, too little memory, dead workers, wrong clocks, a second run.

Each time: an error with a remedy, and the same command afterwards ends in the same files as a run that nothing disturbed.
"""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from spin import artifacts
from spin.runtime.files import write_text
from spin.runtime.process import folder_lock
from tests.faults.layouts import DATA, EXP, OPTIONS, restore_modes
from tests.faults.stage_server import PATIENCE_IN_S, Ended, start
from tests.rights import without_privilege

HELD = f"process {os.getpid()} on "


@pytest.fixture
def untrained(experiment):
    """Stages 0 and 1 done."""
    shutil.rmtree(experiment.folder / "exp")
    return experiment


def resumes(experiment) -> None:
    """Stage 2 ends in the model of an undisturbed run."""
    experiment.run(2).check()
    models = [artifacts.spin_model(folder / EXP).read_bytes() for folder in (experiment.folder, experiment.whole)]
    assert models[0] == models[1]


@pytest.mark.parametrize("size", [300_000, *(pytest.param(size, marks=pytest.mark.slow) for size in (2_000, 4_000_000))])
def test_stage_2_on_a_full_disk(untrained, size):
    untrained.run(2, file_bytes=size).check("remedy")
    resumes(untrained)


@pytest.mark.slow
@pytest.mark.parametrize("size", [100, 1_200])
def test_stages_0_and_1_on_a_full_disk(untrained, size):
    shutil.rmtree(untrained.folder / "data")
    for stage in (0, 1):
        untrained.run(stage, file_bytes=size).check("remedy")
        untrained.run(stage).check()
    paths = [path for path in (untrained.whole / DATA).glob("[!.]*.*") if path.is_file() and not path.name.startswith("cuts")]
    assert paths
    for path in paths:
        assert (untrained.folder / DATA / path.name).read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_a_small_file_system_of_its_own(untrained):
    exp = str(untrained.folder / "exp")
    os.mkdir(exp)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", exp], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("no right to mount a file system; the limit on file sizes stands for it")
    try:
        untrained.run(2).check("remedy")
    finally:
        subprocess.run(["umount", exp], check=True)
    resumes(untrained)


def test_little_memory(untrained):
    # One allocation of 17 GB, so that it fails before the limit meets numba's compiler, which aborts the process.
    large = ("--set", "spin.codebook_size=65536", "--set", "spin.codebook_dim=65536")
    untrained.run(2, *large, more_bytes=2_000_000_000).check("memory of this machine")
    resumes(untrained)


def test_a_folder_that_cannot_be_written(untrained):
    without_privilege()
    (untrained.folder / EXP).mkdir(parents=True)
    (untrained.folder / EXP).chmod(0o500)
    try:
        untrained.run(2).check("exp/t[\\s\\S]*Permission denied")
    finally:
        restore_modes(untrained.folder / "exp")


@pytest.mark.parametrize("year", [1990, 2090])
def test_a_clock_that_jumps(experiment, year):
    moment = time.mktime((year, 1, 1, 0, 0, 0, 0, 0, 0))
    for path in experiment.folder.rglob("*"):
        os.utime(path, (moment, moment))
    experiment.run(0).check()  # recordings of another time are read again
    for stage in (1, 2):
        ended = experiment.run(stage)
        assert "skipped" in ended.output and "building" not in ended.output, ended.output


@pytest.mark.slow
def test_a_loader_worker_is_killed(untrained):
    more = ("--set", "spin.workers=2", "--set", "spin.max_steps=60", "--set", "spin.valid_every_steps=60")
    folder, until = untrained.folder, time.monotonic() + PATIENCE_IN_S
    with start(2, folder, *OPTIONS, *more) as process:
        try:
            while not list((folder / EXP / "spin.partial" / "checkpoints").glob("step-*.safetensors")):
                assert process.poll() is None and time.monotonic() < until
                time.sleep(0.05)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(int(children[-1]), signal.SIGKILL)
            output = process.communicate(timeout=PATIENCE_IN_S)[0]
        finally:
            process.kill()
    Ended(process.returncode, output).check("data loader")
    models = []
    for expected in (True, False):
        ended = untrained.run(2, *more)
        assert ended.status == 0 and ("resuming" in ended.output) == expected, ended.output
        models.append(artifacts.spin_model(folder / EXP).read_bytes())
        shutil.rmtree(folder / "exp")
    assert models[0] == models[1]


def test_a_second_run_in_the_same_folders_is_refused_by_name(untrained):
    with folder_lock(untrained.folder / EXP):
        untrained.run(2).check(HELD)
    corpus = untrained.folder / DATA
    with folder_lock(corpus):  # data are not read while another run changes them
        untrained.run(0, "--force").check(HELD)
        untrained.run(2).check(HELD)
    with folder_lock(corpus, shared=True), folder_lock(corpus, shared=True):  # nor changed while read
        untrained.run(1, "--force").check("another run works in it")
        write_text(untrained.folder / EXP / ".lock", "process 1 on gone\n")  # left by the dead
        untrained.run(2).check()  # many may read
    untrained.run(1, "--force").check()
