"""The whole recipe in the very small setting, through run.sh, on other data, folders and numbers of processes: the same report.

What a second run skips: tests/faults/test_rebuilds.py. Kills in every stage: tests/faults/test_kills.py.
"""

import subprocess
from pathlib import Path

import pytest

from spin import artifacts
from spin.runtime.files import read_json

RECIPE = Path(__file__).resolve().parents[1] / "egs" / "librispeech"


def run(exp: Path, data: Path, *more: str) -> str:
    command = ["./run.sh", "--conf", "conf/tiny.yaml", "--exp-dir", str(exp), "--set", f"corpus.data_dir={data}", *more]
    done = subprocess.run(command, cwd=RECIPE, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return done.stdout


@pytest.mark.slow
def test_the_same_report_twice(tmp_path):
    run(tmp_path / "exp", tmp_path / "data")
    before = artifacts.report(tmp_path / "exp", "json").read_bytes()
    output = run(tmp_path / "other", tmp_path / "data", "--nj", "1")
    assert "manifest of test: up to date, skipped" in output and "Spin model: not built yet" in output
    first, second = (read_json(artifacts.report(tmp_path / name, "json")) | {"seconds": None} for name in ("exp", "other"))
    assert first == second and repr(first) == repr(second)  # 1 is not 1.0
    assert "building it" not in run(tmp_path / "exp", tmp_path / "data", "--stage", "3")
    assert artifacts.report(tmp_path / "exp", "json").read_bytes() == before
