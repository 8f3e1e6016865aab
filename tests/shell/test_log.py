"""utils/log.sh: a stage's status is passed on, and a signal to the shell alone reaches the stage at once."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STAGE = """
trap 'echo saved >"$1/saved"; exit 143' TERM
echo $$ >"$1/pid"
while :; do sleep 0.05; done
"""


def shell(tmp_path, last: str, *words: str) -> subprocess.Popen:
    (tmp_path / "stage.sh").write_text(STAGE)
    script = f'set -euo pipefail; . "{ROOT}/utils/log.sh"; run_stage 3 "$@"; echo {last}'
    return subprocess.Popen(
        ["bash", "-c", script, "run.sh", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )


@pytest.mark.parametrize("status", [0, 1, 7, 130])
def test_status_of_the_stage_is_that_of_the_run(tmp_path, status):
    process = shell(tmp_path, "next", "bash", "-c", f"exit {status}")
    output, errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert ("next" in output) == (status == 0)
    assert ("stage 3" in errors) == (status != 0)


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_the_shell_ends_the_stage_too(tmp_path, number, status):
    process = shell(tmp_path, "next", "bash", "stage.sh", str(tmp_path))
    until = time.monotonic() + 60
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(number)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == status
    assert (tmp_path / "saved").exists() and "next" not in output
    assert "goes on from there" in errors
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
