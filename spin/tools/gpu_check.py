"""python -m spin gpu-check: what a CUDA GPU makes of this project, as one JSON file, in under ten minutes (utils/gpu_check.sh).

Updates at realistic lengths with peak memory, WavLM, accumulation, compilation and two processes on one GPU; tests marked gpu;
k2; benchmarks; a real training that is stopped and resumed, with PNMI before and after. Each step runs as its own process with
the time that is left. A step that fails or runs out of time is reported and does not stop the others.

A machine without a network needs the repository (17 MB), the packages of requirements/main.txt that it lacks, and speech:
  utils/gpu_check.sh --corpus-dir /data/LibriSpeech --pack pack      # where LibriSpeech is: 40 MiB, train-clean-5 as Opus
  SPIN_PYTHON=python3 utils/gpu_check.sh --corpus-dir pack           # there; a pack needs neither pocketsphinx nor gruut_lang_en
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from spin import artifacts
from spin.runtime.devices import resolve_device
from spin.runtime.files import commit, read_json, read_jsonl, write_json
from spin.runtime.logs import get_logger
from spin.tools.gpu_pack import ALIGNMENTS, MEBIBYTE, PARTS, pack

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "egs" / "librispeech"
PASSED, FAILED, OUT_OF_TIME = "passed", "failed", "out of time"
TAIL = 2000  # characters of a failed step's output that are kept
GRACE_IN_S = 60  # for a stopped training to save its checkpoint
STOPPED = 128 + signal.SIGTERM
PRETRAIN_STEPS = {"cuda": (1500, 3000), "cpu": (2, 2)}


@dataclass
class Check:
    """The steps run so far.

    Attributes:
        folder: data, experiments and logs; what is there from an earlier check is resumed.
        until: time.monotonic() at which everything must have ended.
        steps: name -> status, seconds and, after a failure, the end of its output.
    """

    folder: Path
    until: float
    steps: dict[str, dict] = field(default_factory=dict)

    def run(self, name: str, words: list[str], stop_after: float | None = None, python: str = sys.executable) -> str | None:
        """Runs `python WORDS` in the recipe's folder; returns its output, None unless it passed.

        Args:
            name: step, for messages and the log file.
            words: arguments of the interpreter.
            stop_after: seconds after which SIGTERM is sent. The step then passes with the status of a stopped stage, too.
            python: interpreter.
        """
        log, begun = get_logger("gpu_check"), time.monotonic()
        log.info("%s: python %s", name, " ".join(words))
        path = self.folder / f"{name.replace(' ', '_')}.log"
        status, output = self._run([python, *words], path, stop_after)
        self.steps[name] = {"status": status, "seconds": round(time.monotonic() - begun, 1)}
        if status != PASSED:
            self.steps[name]["output"] = path.read_text(encoding="utf-8")[-TAIL:] if path.exists() else ""
        log.info("%s: %s in %.1f s", name, status, self.steps[name]["seconds"])
        return output if status == PASSED else None

    def _run(self, command: list[str], path: Path, stop_after: float | None) -> tuple[str, str]:
        left = self.until - time.monotonic()
        if left <= 0:
            return OUT_OF_TIME, ""
        stops = stop_after is not None and stop_after < left
        environment = {**os.environ, "SPIN_GPU_TESTS_ON": "cpu"}  # in the tests marked gpu a GPU goes first
        with open(path, "w", encoding="utf-8") as errors:
            process = subprocess.Popen(command, cwd=RECIPE, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)
            try:
                output, _ = process.communicate(timeout=stop_after if stops else left)
            except subprocess.TimeoutExpired:
                process.terminate()
                try:
                    output, _ = process.communicate(timeout=GRACE_IN_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    output, _ = process.communicate()
                if not stops:
                    return OUT_OF_TIME, output
            errors.write(output)
        passed = process.returncode == 0 or (stops and process.returncode == STOPPED)
        return PASSED if passed else FAILED, output


def main(argv: list[str] | None = None) -> int:
    """Runs the check, or with --pack writes a pack; returns 0 when every step passed."""
    raw, name = argparse.RawDescriptionHelpFormatter, "utils/gpu_check.sh"
    parser = argparse.ArgumentParser(prog=name, description=__doc__.split(": ", 1)[1], formatter_class=raw, allow_abbrev=False)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="cpu: a dry run with the smallest settings")
    parser.add_argument("--corpus-dir", help="folder with the parts of LibriSpeech, or a pack of them; default: generated speech")
    parts = "parts to train, validate and test on"
    parser.add_argument("--parts", nargs=3, default=PARTS, metavar=("TRAIN", "VALID", "TEST"), help=parts)
    parser.add_argument("--pack", type=Path, metavar="DIR", help="only write --corpus-dir in few megabytes to a new folder")
    parser.add_argument("--folder", type=Path, default=RECIPE / "exp" / "gpu_check", help="folder for all files")
    parser.add_argument("--output", type=Path, help="the JSON file; default: gpu_check.json in --folder")
    parser.add_argument("--minutes", type=float, default=9.0, help="time for everything")
    arguments = parser.parse_args(argv)
    log = get_logger("gpu_check")
    if arguments.pack:
        size = pack(arguments.corpus_dir, arguments.pack, arguments.parts)
        log.info("%s: %.1f MiB; carry it, and name it with --corpus-dir", arguments.pack, size / MEBIBYTE)
        return 0
    work = Check(arguments.folder.resolve(), time.monotonic() + 60 * arguments.minutes)
    result = check(work, arguments.device, arguments.corpus_dir, arguments.parts)
    output = arguments.output or work.folder / "gpu_check.json"
    write_json(output, result)
    print(json.dumps(result))
    log.info("written: %s", output)
    return 0 if result["ok"] else 1


def check(work: Check, device: str, corpus_dir: str | None, parts: Sequence[str]) -> dict:
    """The content of the JSON file; see main. What matters most runs first.

    Raises:
        ConfigError: device is cuda and there is none.
    """
    description = describe(device)
    work.folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    results = {"updates": run_updates(work, device), "k2": run_k2(work, device), "tests": run_tests(work)}
    results["training"] = train_real(work, device, corpus_dir, parts) if corpus_dir else train(work, device)
    quick = ["--shape", "mini", "--batch-seconds", "20", "--updates", "1"] if device == "cpu" else []
    results["benchmark_spin"] = benchmark(work, "spin", device, quick)
    results["benchmark_units"] = benchmark(work, "units", device, ["--seconds", "600" if device == "cuda" else "20"])
    return {
        **description,
        "ok": all(step["status"] == PASSED for step in work.steps.values()),
        "seconds": round(time.monotonic() - begun, 1),
        "steps": work.steps,
        **results,
    }


def describe(device: str) -> dict:
    """Device, versions, and the architectures that torch was built for.

    Raises:
        ConfigError: device is cuda and torch cannot use it.
    """
    versions = {"torch": torch.__version__, "python": sys.version.split()[0], "commit": commit()}
    if resolve_device(device).type == "cpu":
        return {"device": "cpu", **versions}
    properties = torch.cuda.get_device_properties(0)
    return {
        "device": properties.name,
        "gpus": torch.cuda.device_count(),
        "memory_gigabytes": round(properties.total_memory / 1e9, 1),
        "capability": f"{properties.major}.{properties.minor}",
        "built_for": torch.cuda.get_arch_list(),
        **versions,
    }


def run_updates(work: Check, device: str) -> list[dict]:
    """Rows of `benchmark memory --device`, also those before a failure."""
    output = work.run("updates", ["-m", "spin", "benchmark", "memory", "--device", device])
    text = output or work.steps["updates"].get("output", "")
    return [json.loads(line) for line in text.splitlines() if line.startswith("{") and line.endswith("}")]


def run_k2(work: Check, device: str) -> str | None:
    """CTC loss and search on the device; None where k2 is not installed, as on a machine that was only lent."""
    interpreter = os.environ.get("SPIN_K2_PYTHON", sys.executable)
    if subprocess.run([interpreter, "-c", "import k2"], capture_output=True, check=False).returncode:
        return None
    work.run("k2", ["-m", "spin.tools.check_device", device], python=interpreter)
    return work.steps["k2"]["status"]


def run_tests(work: Check) -> str:
    """pytest's last line about the tests marked gpu; without a GPU some of them run on the CPU."""
    words = ["-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", "-m", "gpu", str(ROOT / "tests" / "gpu")]
    output = work.run("tests", words) or work.steps["tests"].get("output", "")
    return output.strip().rpartition("\n")[2]


def benchmark(work: Check, name: str, device: str, options: list[str]) -> dict | None:
    """The JSON of python -m spin benchmark NAME."""
    output = work.run(f"benchmark {name}", ["-m", "spin", "benchmark", name, "--json", "--device", device, *options])
    return None if output is None else json.loads(output.strip().splitlines()[-1])


def train(work: Check, device: str) -> dict | None:
    """Spin on generated speech."""
    return run_stages(work, "mini" if device == "cuda" else "tiny", device, [])


def train_real(work: Check, device: str, corpus_dir: str, parts: Sequence[str]) -> dict | None:
    """Pre-training, and Spin from its encoder, on real speech; on a CPU a few steps of each."""
    steps, source, speech = PRETRAIN_STEPS[device], Path(corpus_dir).resolve(), work.folder / "LibriSpeech"
    if next(source.rglob("*.opus"), None) is None:
        speech = source
    elif work.run("unpack", ["-m", "spin.tools.gpu_pack", str(source), str(speech)]) is None:
        return None
    training, valid, test = (f"[{part}]" for part in parts)
    options = ["--corpus-dir", str(speech), "--set", f"corpus.spin_train={training}"]
    pretrain = [*options, "--set", f"pretrain.parts={training}", "--set", f"pretrain.steps={list(steps)}"]
    for name, script in (("stage 0 of pre-training", "0_prepare_data"), ("pre-training", "pretrain_encoder")):
        if work.run(name, [f"local/{script}.py", *common_options(work, "pretrain_librispeech", device), *pretrain]) is None:
            return None
    # Stages 0 to 3 train no recogniser, and so need no pronunciations.
    options += [f"--set=corpus.valid={valid}", f"--set=corpus.test={test}", "--set=corpus.asr_train=[]"]
    options.append(f"--set=encoder.source={work.folder / 'pretrain_librispeech' / 'pretrain' / 'encoder.safetensors'}")
    if (speech / ALIGNMENTS).is_dir():
        options += ["--set=corpus.alignment=tsv", f"--set=corpus.alignment_tsv={speech / ALIGNMENTS}"]
    if device == "cpu":
        options += ["--set=spin.max_steps=4", "--set=spin.batch_seconds=24"]
    result = run_stages(work, "mini_librispeech", device, options)
    return result and {**result, "pretrained": f"{parts[0]}, {' and '.join(map(str, steps))} steps"}


def common_options(work: Check, name: str, device: str) -> list[str]:
    """Options of a stage's script for a shipped configuration, with all files in the folder of the check."""
    data = ["--set", f"corpus.data_dir={work.folder / 'data'}"]
    return ["--conf", f"conf/{name}.yaml", "--device", device, "--exp-dir", str(work.folder / name), *data]


def run_stages(work: Check, name: str, device: str, options: list[str]) -> dict | None:
    """Runs stages 0 to 3; returns the metrics of every system and the validations, None after a failure."""
    common, exp = [*common_options(work, name, device), *options], work.folder / name
    stages = [(f"stage {stage}", f"local/{stage}_{artifacts.STAGES[stage]}.py", None) for stage in range(4)]
    stages.insert(2, ("stage 2 stopped", stages[2][1], 25.0))
    for step, script, stop_after in stages:
        if work.run(step, [script, *common], stop_after) is None:
            return None
    systems = {path.name: read_json(artifacts.metrics_in(path)) for path in sorted((exp / "metrics").iterdir())}
    history = list(read_jsonl(artifacts.history_in(artifacts.spin_folder(exp))))
    return {"conf": name, "metrics": systems, "validation": history}


if __name__ == "__main__":
    sys.exit(main())
