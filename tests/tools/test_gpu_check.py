"""The GPU check: steps that pass, fail, are stopped or run out of time; no GPU is an error with a remedy."""

import time

import pytest
import torch

from spin.__main__ import main
from spin.corpus.alignment import read_tsv
from spin.errors import ConfigError
from spin.tools import gpu_check
from spin.tools.gpu_check import FAILED, OUT_OF_TIME, PARTS, PASSED, Check

STOPPABLE = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
print("on", flush=True)
time.sleep(60)
"""


def test_outcomes_of_steps(tmp_path):
    work = Check(tmp_path, time.monotonic() + 60)
    assert work.run("good", ["-c", "print('hello')"]) and work.output("good") == "hello\n"
    assert not work.run("bad", ["-c", "import sys; print('half'); sys.exit('why not')"])
    assert work.run("stopped", ["-c", STOPPABLE], stop_after=2.0) and work.output("stopped") == "on\n"
    assert not work.run("killed", ["-c", "import time; time.sleep(60)"], stop_after=0.5)
    work.until = time.monotonic() + 0.5
    assert not work.run("slow", ["-c", "import time; time.sleep(60)"])
    work.until = time.monotonic() - 1
    assert not work.run("late", ["-c", "import time; time.sleep(60)"])
    statuses = [step["status"] for step in work.steps.values()]
    assert statuses == [PASSED, FAILED, PASSED, FAILED, OUT_OF_TIME, OUT_OF_TIME]
    assert "why not" in work.steps["bad"]["output"] and "half" in work.steps["bad"]["output"]
    assert "output" not in work.steps["good"]


def test_a_failed_step_is_not_ok_and_the_others_run(tmp_path, monkeypatch):
    """Stage 2 is stopped, resumed and fails: no stage 3, but the benchmarks."""
    ran = []

    def run(self, name, *_, **__):
        ran.append(name)
        self.steps[name] = {"status": FAILED if name == "stage 2" else PASSED, "seconds": 0.0}
        self._log(name).write_text('warning\n{"name": "tiny"}\n')
        return name != "stage 2"

    monkeypatch.setattr(Check, "run", run)
    result = gpu_check.check(Check(tmp_path, time.monotonic() + 60), "cpu", None, PARTS)
    assert result["ok"] is False and result["training"] is None
    assert result["updates"] == [{"name": "tiny"}] and result["benchmark_units"] == {"name": "tiny"}
    assert [name for name in ran if name.startswith("stage")] == ["stage 0", "stage 1", "stage 2 stopped", "stage 2"]


def test_a_pack_is_a_small_librispeech(librispeech_dir, tmp_path, capsys):
    """Speech to the bit, spread over speakers; no lines without audio."""
    parts, pack = ["train-clean-5", "dev-clean", "test-clean"], tmp_path / "pack"
    limit = 1 + sum(path.stat().st_size for part in parts[1:] for path in gpu_check.in_turn(librispeech_dir / part)[:40]) / 2**20
    size = gpu_check.pack(str(librispeech_dir), pack, parts, limit)
    assert size <= limit * 2**20 and sum(path.stat().st_size for path in pack.rglob("*") if path.is_file()) == size
    files = sorted(pack.rglob("*.flac"))
    assert all(path.read_bytes() == (librispeech_dir / path.relative_to(pack)).read_bytes() for path in files)
    trained = [path.stem.split("-")[0] for path in files if path.is_relative_to(pack / "train-clean-5")]
    assert 2 <= len(trained) == len(set(trained))
    lines = [line for path in pack.rglob("*.trans.txt") for line in path.read_text().splitlines()]
    assert sorted(line.split()[0] for line in lines) == sorted(path.stem for path in files)
    assert all(len(line.split()) > 1 for line in lines)
    for part in parts[1:]:
        aligned = dict(read_tsv(pack / "alignments" / f"{part}.tsv"))
        assert aligned and set(aligned) <= {path.stem for path in (pack / part).rglob("*.flac")}
    words = ["gpu-check", "--pack", str(pack), "--corpus-dir", str(librispeech_dir), "--parts", *parts]
    assert main(words) == 1 and "a new or empty folder" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_an_error_with_a_remedy(tmp_path):
    with pytest.raises(ConfigError, match="--device cpu"):
        gpu_check.check(Check(tmp_path, 0.0), "cuda", None, PARTS)
