"""A stage's start and end: options, exit status, locks, --force, messages."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from spin.config_io import load_config
from spin.errors import DataError
from spin.runtime.files import read_json
from spin.runtime.product import KEY
from spin.runtime.stage import canonical_command, configure, explain, parse_arguments

SCRIPT = """
import sys, time
from pathlib import Path
from spin.errors import DataError
from spin.runtime.product import Product
from spin.runtime.stage import run_stage
from spin.runtime.process import StopRequest

def work(context):
    errors = {"error": DataError("corpus", found="nothing", remedy="see there"), "bug": KeyError("oops")}
    key = {"config": {"seed": context.config.seed}, "files": {}}
    product = Product(context, "units", context.exp / "units", stage=3, own_key=key)
    if not product.needs_build():
        return
    with product.building() as partial:
        if context.config.name in errors:
            raise errors[context.config.name]
        if context.config.name == "slow":
            with StopRequest() as stop:
                (partial / "half").touch()
                Path("running").touch()
                while stop.signal is None:
                    time.sleep(0.01)
                raise SystemExit(stop.status())

if __name__ == "__main__":
    run_stage(3, sys.argv[1:], work, "Test stage.")
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    (tmp_path / "stage.py").write_text(SCRIPT)
    (tmp_path / "conf.yaml").write_text("name: good\n")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)

    def start(*options: str, **more) -> subprocess.Popen:
        command = [sys.executable, "stage.py", "--conf", "conf.yaml", "--exp-dir", "exp", *options]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, cwd=tmp_path, env={**os.environ, **more}, **pipes)

    def run(*options: str, status: int = 0, **more) -> str:
        with start(*options, **more) as process:
            output = process.communicate(timeout=60)[0]
        assert process.returncode == status, output
        return output

    run.start, run.folder = start, tmp_path
    return run


def stop(run, number, *options, **more) -> str:
    with run.start("--set", "name=slow", *options, **more) as process:
        while not (run.folder / "running").exists():  # it works
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(number)
        output = process.communicate(timeout=60)[0]
    (run.folder / "running").unlink()
    assert process.returncode == 128 + number, output
    return output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_forced_rebuild_that_is_stopped_and_requeued_resumes(run, number):
    run()
    job = {"SLURM_JOB_ID": "77"}
    assert "rerun the same command to resume" in stop(run, number, "--force", **job)
    assert "resuming an interrupted build" in run("--force", **job)
    assert (run.folder / "exp" / "units" / "half").exists()
    assert "up to date" in run("--force", **job)  # a later stage of the same job was stopped: this one is not rebuilt
    assert "building it" in run("--force", SLURM_JOB_ID="78")
    assert read_json(run.folder / "exp" / "units" / KEY)["forced"] == "slurm-78"
    assert "rerun the same command without --force to resume" in stop(run, number, "--force")
    assert "resuming an interrupted build" in run()


def test_errors_cost_nothing_and_only_a_bug_shows_its_traceback(run):
    run()
    left = run.folder / "exp" / ".tmp-77-left-by-a-kill"
    left.touch()
    before = (run.folder / "exp" / "units" / KEY).read_bytes()
    cases = {"sed=1": "did you mean 'seed'", "name=error": "found: nothing", "name=bug": "this is a bug", "runtime.nj=0": "nj"}
    for setting, words in cases.items():
        output = run("--set", "seed=2", "--set", setting, status=1)
        assert words in output and ("Traceback" in output) == (setting == "name=bug"), output
    assert (run.folder / "exp" / "units" / KEY).read_bytes() == before
    assert "up to date" in run() and not left.exists()


def test_the_command_of_a_report_leaves_out_what_changes_no_result(tmp_path):
    options = ["--conf", "c.yaml", "--nj", "4", "--set", "runtime.threads=1", "--set", "asr.seeds=[0, 1]", "--corpus-dir", "/a b"]
    command = canonical_command(parse_arguments(options, ""))
    assert command == "./run.sh --conf c.yaml --corpus-dir '/a b' --set 'asr.seeds=[0, 1]' --stage 0 --stop-stage 5"


def test_the_folder_of_the_recordings_is_no_place_for_manifests(tmp_path):
    (tmp_path / "c.yaml").write_text(f"corpus: {{data_dir: {tmp_path}, name: LibriSpeech}}\n")
    arguments = parse_arguments(["--conf", str(tmp_path / "c.yaml"), "--corpus-dir", str(tmp_path / "LibriSpeech")], "")
    with pytest.raises(Exception, match="the folder of the recordings"):
        configure(arguments)


FULL_DISK = "x.bin\n  found: No space left on device\n  remedy: free disk"
FULL_GPU = RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
SETTINGS = ["spin.accumulation=4", "runtime.nj=6", *(f"{section}.batch_seconds=50" for section in ("units", "asr", "decoding"))]


@pytest.mark.parametrize(
    ("stage", "error", "words"),
    [
        (2, DataError("a", found="b"), "found: b"),
        (2, OSError(errno.ENOSPC, "No space left on device", "x.bin"), FULL_DISK),
        (2, RuntimeError("I/O error: File too large (os error 27)"), "ulimit -f"),
        (2, PermissionError(errno.EACCES, "Permission denied", "x.bin"), "permissions"),
        (2, FULL_GPU, "--set spin.accumulation=8"),
        (3, FULL_GPU, "--set units.batch_seconds=25"),  # half
        (4, FULL_GPU, "--set asr.batch_seconds=25"),
        (5, FULL_GPU, "--set decoding.batch_seconds=25"),
        (2, RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error"), "--shm-size"),
        (2, MemoryError(), "--nj 3"),
        (2, FileNotFoundError(errno.ENOENT, "No such file or directory", "typo_in_code.txt"), None),
        (2, KeyError("x"), None),
    ],
)
def test_errors_with_a_remedy_and_bugs(stage, error, words):
    known = explain(error, stage, load_config(None, SETTINGS))
    assert (known is None) if words is None else words in str(known)
