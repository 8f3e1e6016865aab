"""The GPU check: steps that pass, fail, are stopped or run out of time; no GPU is an error with a remedy."""

import time

import numpy as np
import pytest
import soundfile
import torch

from spin.__main__ import main
from spin.errors import ConfigError
from spin.tools import gpu_check, gpu_pack
from spin.tools.gpu_check import FAILED, OUT_OF_TIME, PARTS, PASSED, Check
from tests.corpus.layout import read_tsv

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


def test_a_pack_is_small_and_reads_back_as_librispeech(librispeech_dir, tmp_path, capsys):
    """Training speech nearly as it was, below 30 kbit/s and spread over speakers; the rest to the bit; no lines without audio."""
    parts, pack, unpacked = ["train-clean-5", "dev-clean", "test-clean"], tmp_path / "pack", tmp_path / "unpacked"
    root, sizes = librispeech_dir, {}
    limit = sum(file.stat().st_size for part in parts[1:] for file in (root / part).rglob("*.flac")) / 2**20 + 0.1
    size = gpu_pack.pack(str(root), pack, parts, limit)
    assert size < (limit + 0.5) * 2**20 and sum(file.stat().st_size for file in pack.rglob("*") if file.is_file()) == size
    gpu_pack.unpack(pack, unpacked)
    for file in unpacked.rglob("*.flac"):
        before, now = (soundfile.read(path)[0] for path in (root / file.relative_to(unpacked), file))
        if file.is_relative_to(unpacked / "train-clean-5"):
            sizes[file.stem] = (pack / file.relative_to(unpacked)).with_suffix(".opus").stat().st_size * 8 / len(now) * 16_000
            assert len(now) == len(before) and np.corrcoef(before, now)[0, 1] > 0.9
        else:
            np.testing.assert_array_equal(now, before)
    assert 2 <= len(sizes) == len({name.split("-")[0] for name in sizes}) and max(sizes.values()) < 30_000
    lines = [line.split()[0] for path in unpacked.rglob("*.trans.txt") for line in path.read_text().splitlines()]
    assert sorted(lines) == sorted(file.stem for file in unpacked.rglob("*.flac"))
    aligned = dict(read_tsv(unpacked / "alignments" / "dev-clean.tsv"))
    assert aligned and set(aligned) <= {file.stem for file in (root / "dev-clean").rglob("*.flac")}
    words = ["gpu-check", "--pack", str(pack), "--corpus-dir", str(root), "--parts", *parts]
    assert main(words) == 1 and "a new or empty folder" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_an_error_with_a_remedy(tmp_path):
    with pytest.raises(ConfigError, match="--device cpu"):
        gpu_check.check(Check(tmp_path, 0.0), "cuda", None, PARTS)
