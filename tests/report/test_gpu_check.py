"""The GPU check: steps that pass, fail or run out of time are told apart; no GPU is an error with a remedy."""

from __future__ import annotations

import sys
import time

import pytest
import torch

from spin.errors import ConfigError
from spin.report import gpu_check
from spin.report.gpu_check import FAILED, OUT_OF_TIME, PASSED, Check, counts


def test_outcomes_of_steps(tmp_path):
    work = Check(tmp_path, time.monotonic() + 60)
    assert work.run("good", [sys.executable, "-c", "import os; print(os.environ['WORD'])"], WORD="hello").strip() == "hello"
    assert work.run("bad", [sys.executable, "-c", "import sys; print('half'); sys.exit('why not')"]) is None
    work.until = time.monotonic() + 0.5
    assert work.run("slow", [sys.executable, "-c", "import time; time.sleep(60)"]) is None
    work.until = time.monotonic() - 1
    assert work.run("late", [sys.executable, "-c", "print(1)"]) is None
    assert [step["status"] for step in work.steps.values()] == [PASSED, FAILED, OUT_OF_TIME, OUT_OF_TIME]
    assert "why not" in work.steps["bad"]["output"] and "half" in work.steps["bad"]["output"]
    assert "output" not in work.steps["good"]


def test_counts_of_the_last_line():
    assert counts("...\n1 failed, 6 passed, 5 skipped, 2 warnings in 30.74s\n") == {"failed": 1, "passed": 6, "skipped": 5}
    assert counts("") == {}


def test_a_failed_step_is_not_ok_and_the_others_are_made(tmp_path, monkeypatch):
    answers = {"benchmark spin": '{"ratio": 2.0}', "benchmark units": None, "tests": "3 passed in 1s"}

    def run(self, name, command, **environment):
        self.steps[name] = {"status": FAILED if answers.get(name, "") is None else PASSED, "seconds": 0.0}
        return answers.get(name, "")

    monkeypatch.setattr(Check, "run", run)
    monkeypatch.setattr(gpu_check, "train", lambda work, device: {"units": {}})
    found = gpu_check.check("cpu", None, tmp_path / "new", 1.0)
    assert found["ok"] is False and found["device"] == "cpu"
    assert found["benchmark_spin"] == {"ratio": 2.0} and found["benchmark_units"] is None and found["tests"] == {"passed": 3}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_an_error_with_a_remedy(tmp_path):
    with pytest.raises(ConfigError, match="--device cpu"):
        gpu_check.check("cuda", None, tmp_path, 1.0)
