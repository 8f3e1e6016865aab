"""The GPU check: steps that pass, fail, are stopped or run out of time; no GPU is an error with a remedy."""

from __future__ import annotations

import time

import pytest
import torch

from spin.errors import ConfigError
from spin.tools import gpu_check, gpu_updates
from spin.tools.gpu_check import FAILED, OUT_OF_TIME, PASSED, Check, counts

STOPPABLE = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
print("on", flush=True)
time.sleep(60)
"""


def test_outcomes_of_steps(tmp_path):
    work = Check(tmp_path, time.monotonic() + 60)
    assert work.run("good", ["-c", "import os; print(os.environ['WORD'])"], WORD="hello").strip() == "hello"
    assert work.run("bad", ["-c", "import sys; print('half'); sys.exit('why not')"]) is None
    assert work.run("stopped", ["-c", STOPPABLE], stop_after=2.0).strip() == "on"
    assert work.run("killed", ["-c", "import time; time.sleep(60)"], stop_after=0.5) is None
    work.until = time.monotonic() + 0.5
    assert work.run("slow", ["-c", "import time; time.sleep(60)"]) is None
    work.until = time.monotonic() - 1
    assert work.run("late", ["-c", "print(1)"]) is None
    statuses = [step["status"] for step in work.steps.values()]
    assert statuses == [PASSED, FAILED, PASSED, FAILED, OUT_OF_TIME, OUT_OF_TIME]
    assert "why not" in work.steps["bad"]["output"] and "half" in work.steps["bad"]["output"]
    assert "output" not in work.steps["good"]


def test_counts_of_the_last_line():
    assert counts("...\n1 failed, 6 passed, 5 skipped, 2 warnings in 30.74s\n") == {"failed": 1, "passed": 6, "skipped": 5}
    assert counts("") == {}


def test_a_failed_step_is_not_ok_and_the_others_run(tmp_path, monkeypatch):
    answers = {
        "updates": '{"name": "tiny"}\n{"name": "other"}\n',
        "tests": "3 passed in 1s",
        "benchmark spin": '{"ratio": 2.0}',
        "benchmark units": None,
    }

    def run(self, name, words, *_, **__):
        self.steps[name] = {"status": FAILED if answers.get(name, "") is None else PASSED, "seconds": 0.0}
        return answers.get(name, "")

    monkeypatch.setattr(Check, "run", run)
    monkeypatch.setattr(gpu_check, "run_stages", lambda work, name, device, options: {"conf": name})
    result = gpu_check.check("cpu", None, tmp_path / "new", 1.0)
    assert result["ok"] is False and result["device"] == "cpu" and result["training"] == {"conf": "tiny"}
    assert [row["name"] for row in result["updates"]] == ["tiny", "other"]
    assert result["benchmark_spin"] == {"ratio": 2.0} and result["benchmark_units"] is None and result["tests"] == {"passed": 3}


def test_stage_2_is_stopped_and_resumed(tmp_path, monkeypatch):
    steps = []

    def run(self, name, words, stop_after=None):
        steps.append((name, words[0], stop_after is not None))
        return None if name == "stage 3" else ""

    monkeypatch.setattr(Check, "run", run)
    assert gpu_check.run_stages(Check(tmp_path, time.monotonic() + 60), "tiny", "cpu", []) is None
    assert [name for name, _, _ in steps] == ["stage 0", "stage 1", "stage 2 stopped", "stage 2", "stage 3"]
    assert steps[2][1:] == ("local/2_train_spin.py", True) and steps[3][1:] == ("local/2_train_spin.py", False)


def test_rows_of_updates_name_their_error_and_the_prediction(monkeypatch):
    row = gpu_updates.describe_row(("tiny", ("encoder.source=mini", "spin.batch_seconds=15"), False), torch.device("cpu"))
    assert row["ms_per_update"] > 0 and row["predicted_gigabytes"] > 0 and row["last_loss"] < row["first_loss"]

    def fail(*_):
        raise RuntimeError("CUDA out of\n memory")

    monkeypatch.setattr(gpu_updates, "measure", fail)
    assert gpu_updates.describe_row(("tiny", (), True), torch.device("cpu"))["error"] == "CUDA out of memory"
    monkeypatch.setattr(gpu_updates, "measure_together", lambda device: [1.0, None])
    assert gpu_updates.main(["cpu"]) == 1


def test_every_row_names_a_configuration_and_its_keys():
    for row in (*gpu_updates.GPU_ROWS, *gpu_updates.CPU_ROWS):
        assert gpu_updates.load_row(row).name == row[0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_an_error_with_a_remedy(tmp_path):
    with pytest.raises(ConfigError, match="--device cpu"):
        gpu_check.check("cuda", None, tmp_path, 1.0)
