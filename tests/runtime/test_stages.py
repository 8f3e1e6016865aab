"""Stages: done, skipped, done again with the reason, gone on with after a kill, never mixed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from spin import artifacts
from spin.runtime.files import read_json
from spin.runtime.stages import canonical_command, parse_arguments

ROOT = Path(__file__).resolve().parents[2]
WORK = """
import os, signal
from spin import artifacts
from spin.errors import DataError

def work(context):
    products = {"0": context.corpus / "audio", "1": context.corpus / "pitch", "2": context.exp / "spin"}
    product = products[context.tensorboard.name[0]]
    product.mkdir(parents=True, exist_ok=True)
    seen = sorted(path.name for path in product.iterdir())
    (product / f"file{len(seen)}").write_text("x")
    print("FOUND", seen)
    mode = os.environ.get("MODE")
    if mode == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "fail":
        raise DataError("utterance u1", found="nothing", remedy="look")
    if mode == "crash":
        raise ZeroDivisionError
"""


@pytest.fixture
def run(tmp_path):
    (tmp_path / "fake_work.py").write_text(WORK)
    (tmp_path / "conf.yaml").write_text("name: t\n")

    def run_one(stage: int, *options: str, mode: str = "", code: int = 0) -> str:
        script = (
            f"import sys; from spin.runtime.stages import run_stage; run_stage({stage}, sys.argv[1:], 'fake_work:work', 'help')"
        )
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}", "MODE": mode}
        done = subprocess.run(
            [sys.executable, "-c", script, "--conf", "conf.yaml", *options],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    return run_one


def mark(tmp_path, stage):
    folder = tmp_path / "data" / "mini" if stage < 2 else tmp_path / "exp" / "t"
    return artifacts.done_mark(folder, stage)


def test_done_stage_is_skipped_and_forced(run, tmp_path):
    assert "stage 0 (prepare_data) done in" in run(0)
    first = read_json(mark(tmp_path, 0))
    out = run(0)
    assert "skipped; --force does it again" in out and "FOUND" not in out
    assert "FOUND []" in run(0, "--force")  # products of the run before are gone
    assert read_json(mark(tmp_path, 0))["run"] != first["run"]
    assert (tmp_path / "exp" / "t" / "config.yaml").exists()


def test_changed_configuration_is_the_reason_and_what_has_no_effect_is_none(run):
    run(0)
    run(1)
    run(2)
    assert "skipped" in run(2, "--set", "spin.workers=7", "--nj", "1")
    out = run(2, "--set", "spin.max_steps=7")
    assert "spin.max_steps changed from 5000 to 7" in out and "FOUND []" in out


def test_a_stage_made_again_makes_the_next_ones_again(run):
    for stage in (0, 1, 2):
        run(stage)
    run(1, "--force")
    assert "the stage before it was done again" in run(2)


def test_a_missing_or_outdated_earlier_stage_stops_a_later_one(run):
    out = run(2, code=1)
    assert "stage 0 (prepare_data): not done yet" in out and "--stage 0" in out
    run(0)
    run(1)
    out = run(2, "--set", "perturbation.formant_ratio_max=1.2", code=1)
    assert "perturbation.formant_ratio_max changed" in out and "--stage 1" in out


def test_killed_stage_goes_on_and_a_changed_one_starts_afresh(run, tmp_path):
    for stage in (0, 1):
        run(stage)
    run(2, mode="kill", code=-signal.SIGKILL)
    assert not mark(tmp_path, 2).exists()
    out = run(2)
    assert "going on from what it left" in out and "FOUND ['file0']" in out
    run(2, "--force", mode="kill", code=-signal.SIGKILL)
    assert "FOUND []" in run(2, "--set", "seed=3")


def test_failure_has_status_1_its_remedy_and_no_traceback(run, tmp_path):
    out = run(0, mode="fail", code=1)
    assert "utterance u1" in out and "remedy: look" in out and "Traceback" not in out
    assert not mark(tmp_path, 0).exists()
    run(0, mode="crash", code=1)
    assert not mark(tmp_path, 0).exists()


def test_bad_configuration_has_status_1(run):
    assert "spin.max_step (from --set spin.max_step=1)" in run(0, "--set", "spin.max_step=1", code=1)


def test_command_of_the_report_is_the_same_for_all_folders():
    one = parse_arguments(["--conf", "c.yaml", "--set", "spin.max_steps=3", "--exp-dir", "a", "--nj", "3"], "")
    two = parse_arguments(["--conf", "c.yaml", "--set", "spin.max_steps=3", "--set", "corpus.data_dir=b", "--device", "cpu"], "")
    assert (
        canonical_command(one)
        == canonical_command(two)
        == "./run.sh --conf c.yaml --set spin.max_steps=3 --stage 0 --stop-stage 5"
    )
