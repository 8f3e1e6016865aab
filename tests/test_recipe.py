"""The whole recipe in the very small setting: killed in every stage, run twice, single stages again (pytest -m slow)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spin import artifacts
from spin.runtime.files import read_json
from spin.runtime.seeding import generator

pytestmark = pytest.mark.slow
RECIPE = Path(__file__).resolve().parents[1] / "egs" / "librispeech"


def command(exp: Path, data: Path, first: int = 0, last: int = 5, *more: str) -> list[str]:
    stages = ["--stage", str(first), "--stop-stage", str(last)]
    return ["./run.sh", *stages, "--conf", "conf/tiny.yaml", "--exp-dir", str(exp), "--set", f"corpus.data_dir={data}", *more]


def run(*arguments, code: int = 0) -> str:
    done = subprocess.run(command(*arguments), cwd=RECIPE, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == code, done.stdout[-5000:] + done.stderr[-5000:]
    return done.stdout + done.stderr


def killed(exp: Path, data: Path, stage: int, after_s: float) -> bool:
    """Starts one stage and kills everything it started after so many seconds; False when it was done before that."""
    with subprocess.Popen(
        command(exp, data, stage, stage), cwd=RECIPE, start_new_session=True, stdout=subprocess.DEVNULL
    ) as process:
        try:
            process.wait(after_s)
            return False
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
    return True


def assert_same(one: Path, two: Path) -> None:
    files = [str(artifacts.report(exp, "json")) for exp in (one, two)]
    done = subprocess.run(
        [sys.executable, "-m", "spin.report.validate", "--same", *files], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    run(folder / "exp", folder / "data")
    return folder


def test_the_same_report_twice_on_shared_data(whole, tmp_path):
    out = run(tmp_path / "exp", whole / "data", 0, 5, "--nj", "1")
    assert "stage 0 (prepare_data) is done" in out and "stage 1 (analyse_pitch) is done" in out
    assert_same(whole / "exp", tmp_path / "exp")


def test_killed_in_every_stage_the_report_is_the_same(whole, tmp_path):
    random, counted = generator("moments of death", 0), 0
    for stage in artifacts.STAGES:
        seconds = read_json(artifacts.done_mark(whole / ("exp" if stage >= 2 else "data/tiny"), stage))["seconds"]
        for share in random.uniform(0.1, 0.6, 2):
            counted += killed(tmp_path / "exp", tmp_path / "data", stage, 2.0 + share * seconds)
            time.sleep(0.5)
        run(tmp_path / "exp", tmp_path / "data", stage, stage)
    assert counted >= 4  # the others ended first: the times are those of a run on a busier machine
    assert_same(whole / "exp", tmp_path / "exp")


def test_single_stages_again(whole):
    for stage in artifacts.STAGES:
        begun = time.monotonic()
        assert "skipped" in run(whole / "exp", whole / "data", stage, stage)
        assert time.monotonic() - begun < 20  # under two seconds on an idle machine
    before = artifacts.report(whole / "exp", "json").read_text()
    assert "--force" in run(whole / "exp", whole / "data", 3, 3, "--force")
    out = run(whole / "exp", whole / "data", 3, 5)
    assert "stage 3 (extract_units) is done" in out
    assert out.count("the stage before it was done again") >= 1 and "report.html" in out
    assert len(before.splitlines()) == len(artifacts.report(whole / "exp", "json").read_text().splitlines())
