"""What a CUDA GPU makes of this project, in one JSON: tests, benchmarks, a short real training (utils/gpu_check.sh).

Steps run one after the other as processes of their own, each with what is left of the time; what fails or runs out of time is
said in the answer and does not stop the others.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from spin import artifacts
from spin.errors import ConfigError
from spin.runtime.files import read_json, read_jsonl, write_json
from spin.runtime.logs import get_logger
from spin.runtime.provenance import commit

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "egs" / "librispeech"
PASSED, FAILED, OUT_OF_TIME = "passed", "failed", "out of time"
COUNT = re.compile(r"(\d+) (passed|failed|skipped|error)")
TAIL = 2000  # characters of a failed step's output that are kept


@dataclass
class Check:
    """The steps made so far.

    Attributes:
        folder: for data, experiments and logs; what is there already is gone on with.
        until: time.monotonic() at which everything must have ended.
        steps: name -> status, seconds and, where it failed, the end of its output.
    """

    folder: Path
    until: float
    steps: dict[str, dict] = field(default_factory=dict)

    def run(self, name: str, command: list[str], **environment: str) -> str | None:
        """Runs a command in the recipe's folder; returns its output, None unless it passed."""
        log = get_logger("gpu_check")
        log.info("%s: %s", name, " ".join(command))
        begun = time.monotonic()
        left = self.until - begun
        path = self.folder / f"{name.replace(' ', '_')}.log"
        status, output = OUT_OF_TIME, ""
        if left > 0:
            with open(path, "w", encoding="utf-8") as errors:
                try:
                    done = subprocess.run(
                        command, cwd=RECIPE, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=errors, text=True,
                        timeout=left, check=False,
                    )  # fmt: skip
                    status, output = (PASSED if done.returncode == 0 else FAILED), done.stdout
                except subprocess.TimeoutExpired as expired:
                    output = (expired.stdout or b"").decode(errors="replace")
                errors.write(output)
        self.steps[name] = {"status": status, "seconds": round(time.monotonic() - begun, 1)}
        if status != PASSED:
            self.steps[name]["output"] = path.read_text(encoding="utf-8")[-TAIL:] if path.exists() else ""
        log.info("%s: %s in %.1f s", name, status, self.steps[name]["seconds"])
        return output if status == PASSED else None


def main(argv: list[str] | None = None) -> int:
    """Returns 0 when every step passed."""
    parser = argparse.ArgumentParser(prog="utils/gpu_check.sh", description=__doc__.split(":")[0], allow_abbrev=False)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="cpu: a dry run with the smallest settings")
    parser.add_argument(
        "--corpus-dir", help="holds LibriSpeech's train-clean-5, train-clean-100, test-other; else embedded corpus"
    )
    parser.add_argument("--folder", type=Path, default=RECIPE / "exp" / "gpu_check", help="for all that is written")
    parser.add_argument("--output", type=Path, help="the JSON; default: gpu_check.json in --folder")
    parser.add_argument("--minutes", type=float, default=9.0, help="time for everything")
    arguments = parser.parse_args(argv)
    found = check(arguments.device, arguments.corpus_dir, arguments.folder.resolve(), arguments.minutes)
    output = arguments.output or arguments.folder / "gpu_check.json"
    write_json(output, found)
    print(json.dumps(found))
    get_logger("gpu_check").info("written: %s", output)
    return 0 if found["ok"] else 1


def check(device: str, corpus_dir: str | None, folder: Path, minutes: float) -> dict:
    """The content of the JSON; see main.

    Raises:
        ConfigError: device is cuda and there is none.
    """
    description = describe(device)
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    work = Check(folder, begun + 60 * minutes)
    on_gpu = device == "cuda"
    spin = benchmark(work, "spin", device, [] if on_gpu else "--shape mini --batch-seconds 16 --updates 2".split())
    units = benchmark(work, "units", device, ["--seconds", "600" if on_gpu else "20"])
    training = train_on_libri(work, device, corpus_dir) if corpus_dir and on_gpu else train(work, device)
    tests = run_tests(work, on_gpu)
    return {
        **description,
        "ok": all(step["status"] == PASSED for step in work.steps.values()),
        "seconds": round(time.monotonic() - begun, 1),
        "steps": work.steps,
        "tests": tests,
        "benchmark_spin": spin,
        "benchmark_units": units,
        "training": training,
    }


def describe(device: str) -> dict:
    """Names of the device and the versions."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "the GPU check",
            found=f"no CUDA GPU that torch {torch.__version__} can use",
            expected="at least one",
            cause="no GPU, a driver too old for this torch, or a build of torch for the CPU",
            remedy="run it on a machine with a GPU; --device cpu makes a dry run",
        )
    name = torch.cuda.get_device_name(0) if device == "cuda" else "cpu"
    return {"device": name, "torch": torch.__version__, "python": sys.version.split()[0], "commit": commit()}


def run_tests(work: Check, on_gpu: bool) -> dict[str, int]:
    """Counts of the tests marked gpu."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--no-header",
        "-p",
        "no:cacheprovider",
        "-m",
        "gpu",
        str(ROOT / "tests" / "gpu"),
    ]
    output = work.run("tests", command, **({} if on_gpu else {"SPIN_GPU_TESTS_ON": "cpu"}))
    return counts(output or work.steps["tests"].get("output", ""))


def counts(output: str) -> dict[str, int]:
    """pytest's last line as numbers."""
    lines = output.strip().splitlines()
    return {word: int(number) for number, word in COUNT.findall(lines[-1])} if lines else {}


def benchmark(work: Check, name: str, device: str, options: list[str]) -> dict | None:
    """The JSON of python -m spin benchmark NAME."""
    command = [sys.executable, "-m", "spin", "benchmark", name, "--json", "--device", device, *options]
    output = work.run(f"benchmark {name}", command)
    return None if output is None else json.loads(output.strip().splitlines()[-1])


def train(work: Check, device: str) -> dict | None:
    """Stages 0 to 3 of the embedded corpus: the default setting on a GPU, the very small one on a CPU."""
    conf = "conf/mini.yaml" if device == "cuda" else "conf/tiny.yaml"
    return _stages(work, conf, device, [])


def train_on_libri(work: Check, device: str, corpus_dir: str) -> dict | None:
    """Pre-trains the small encoder on train-clean-5, then Spin on it; units of other speakers before and after."""
    options = ["--corpus-dir", corpus_dir, "--set", "pretrain.steps=[1500, 3000]", "--set", "pretrain.workers=4"]
    exp = work.folder / "pretrain"
    common = _common(work, "conf/pretrain_librispeech.yaml", device, exp)
    for name, script in (("stage 0 of pre-training", "0_prepare_data"), ("pre-training", "pretrain_encoder")):
        if work.run(name, [sys.executable, f"local/{script}.py", *common, *options]) is None:
            return None
    encoder = exp / "pretrain" / "encoder.safetensors"
    found = _stages(
        work, "conf/mini_librispeech.yaml", device, ["--corpus-dir", corpus_dir, "--set", f"encoder.source={encoder}"]
    )
    return found and {**found, "pretrained": "train-clean-5, 1,500 and 3,000 steps"}


def _common(work: Check, conf: str, device: str, exp: Path) -> list[str]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    data = ["--set", f"corpus.data_dir={work.folder / 'data'}"]
    return ["--conf", conf, "--device", device, "--exp-dir", str(exp), "--nj", str(cores), *data]


def _stages(work: Check, conf: str, device: str, options: list[str]) -> dict | None:
    exp = work.folder / Path(conf).stem
    scripts = sorted((RECIPE / "local").glob("[0-3]_*.py"))
    for script in scripts:
        command = [sys.executable, f"local/{script.name}", *_common(work, conf, device, exp), *options]
        if work.run(f"stage {script.name[0]}", command) is None:
            return None
    history = list(read_jsonl(artifacts.spin_history(exp)))
    return {"conf": conf, **read_json(artifacts.unit_quality(exp)), "validation": history}


if __name__ == "__main__":
    sys.exit(main())
