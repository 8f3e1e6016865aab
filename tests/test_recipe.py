"""The whole recipe in the very small setting, through run.sh: run twice, single stages again, forced (pytest -m slow).

Kills in every stage: python -m tests.faults.harness.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from spin import artifacts

pytestmark = pytest.mark.slow
RECIPE = Path(__file__).resolve().parents[1] / "egs" / "librispeech"


def command(exp: Path, data: Path, first: int = 0, last: int = 5, *more: str) -> list[str]:
    stages = ["--stage", str(first), "--stop-stage", str(last)]
    return ["./run.sh", *stages, "--conf", "conf/tiny.yaml", "--exp-dir", str(exp), "--set", f"corpus.data_dir={data}", *more]


def run(*arguments, code: int = 0) -> str:
    done = subprocess.run(command(*arguments), cwd=RECIPE, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == code, done.stdout[-5000:] + done.stderr[-5000:]
    return done.stdout + done.stderr


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
    assert "manifest of test: up to date, skipped" in out and "Spin model: not built yet" in out
    assert_same(whole / "exp", tmp_path / "exp")


def test_single_stages_again(whole):
    before = artifacts.report(whole / "exp", "json").read_bytes()
    for stage in artifacts.STAGES:
        out = run(whole / "exp", whole / "data", stage, stage)
        assert "skipped" in out and "building" not in out
    assert "--force; building it" in run(whole / "exp", whole / "data", 3, 3, "--force")
    out = run(whole / "exp", whole / "data", 0, 5)
    assert "recogniser of spin, features, seed 0: up to date" in out  # equal features disturb nobody
    assert artifacts.report(whole / "exp", "json").read_bytes() == before or "report: " in out


def test_wrong_options_end_before_the_work(tmp_path):
    for words in (["stray"], ["--nj", "x"], ["--set", "spin.max_stepz=1"]):
        done = subprocess.run(
            command(tmp_path / "exp", tmp_path / "data", 0, 5, *words), cwd=RECIPE, capture_output=True, text=True, check=False
        )
        assert done.returncode in (1, 2) and not (tmp_path / "data").exists(), done.stdout + done.stderr
