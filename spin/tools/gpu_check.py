"""python -m spin gpu-check: what a CUDA GPU makes of this project, as one JSON file, in under ten minutes (utils/gpu_check.sh).

Updates at realistic lengths with peak memory, WavLM, accumulation, compilation and two processes on one GPU; tests marked gpu;
k2; benchmarks; a real training that is stopped and resumed, with PNMI before and after. Each step runs as its own process with
the time that is left. A step that fails or runs out of time is reported and does not stop the others.

A machine without a network needs the repository (17 MB), the packages of requirements/main.txt that it lacks, and speech:
  utils/gpu_check.sh --corpus-dir /data/LibriSpeech --pack pack      # where LibriSpeech is: 40 MiB, train-clean-5 as Opus
  SPIN_PYTHON=python3 utils/gpu_check.sh --corpus-dir pack           # there; a pack needs neither pocketsphinx nor gruut_lang_en
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from spin import artifacts
from spin.runtime.devices import device_name, resolve_device
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


class Check:
    """Steps that share a folder, where the work of an earlier check is resumed, and a time.monotonic() at which all must end."""

    def __init__(self, folder: Path, until: float):
        self.folder, self.until = folder, until
        self.steps = {}  # name -> status, seconds and, after a failure, the end of its output

    def run(self, name: str, words: list[str], stop_after: float | None = None, python: str = sys.executable) -> bool:
        """Runs `python WORDS` in the recipe's folder; True: it passed, or stopped well by the SIGTERM after `stop_after` s."""
        log, begun = get_logger("gpu_check"), time.monotonic()
        log.info("%s: python %s", name, " ".join(words))
        left = max(0.0, self.until - begun)
        environment = {**os.environ, "SPIN_GPU_TESTS_ON": "cpu"}  # in the tests marked gpu a GPU goes first
        with open(self._log(name), "w", encoding="utf-8") as output:
            process = subprocess.Popen([python, *words], cwd=RECIPE, env=environment, stdout=output, stderr=subprocess.STDOUT)
            try:
                process.wait(left if stop_after is None else min(left, stop_after))
            except subprocess.TimeoutExpired:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE_IN_S)
                process.kill()  # does nothing to a process that has ended
        code, ended = process.wait(), time.monotonic()
        if code == 0 or (stop_after is not None and code == STOPPED):
            status = PASSED
        else:
            status = FAILED if ended < self.until else OUT_OF_TIME
        self.steps[name] = {"status": status, "seconds": round(ended - begun, 1)}
        if status != PASSED:
            self.steps[name]["output"] = self.output(name)[-TAIL:]
        log.info("%s: %s in %.1f s", name, status, ended - begun)
        return status == PASSED

    def output(self, name: str) -> str:
        """Everything that a step printed."""
        return self._log(name).read_text(encoding="utf-8", errors="replace")

    def results(self, name: str) -> list[dict]:
        """Lines of JSON that a step printed, also those before a failure."""
        lines = self.output(name).splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def _log(self, name: str) -> Path:
        return self.folder / f"{name.replace(' ', '_')}.log"


def main(argv: list[str] | None = None) -> int:
    """Runs the check, or with --pack writes a pack; returns 0 when every step passed."""
    raw, name = argparse.RawDescriptionHelpFormatter, "utils/gpu_check.sh"
    parser = argparse.ArgumentParser(prog=name, description=__doc__.split(": ", 1)[1], formatter_class=raw, allow_abbrev=False)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="cpu: a dry run with the smallest settings")
    parser.add_argument("--corpus-dir", help="folder with the parts of LibriSpeech, or a pack of them; default: generated speech")
    parser.add_argument("--parts", nargs=3, default=PARTS, metavar=("TRAIN", "VALID", "TEST"), help="default: %(default)s")
    parser.add_argument("--pack", type=Path, metavar="DIR", help="only write a part of --corpus-dir, 40 MiB, to a new folder")
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
    """The content of the JSON file; see main. What matters most runs first. Raises ConfigError where `device` cannot be used."""
    begun, description, on_gpu = time.monotonic(), describe(resolve_device(device)), device == "cuda"
    work.folder.mkdir(parents=True, exist_ok=True)
    work.run("updates", ["-m", "spin", "benchmark", "memory", "--device", device])
    interpreter = os.environ.get("SPIN_K2_PYTHON", sys.executable)
    if subprocess.run([interpreter, "-c", "import k2"], capture_output=True, check=False).returncode == 0:
        work.run("k2", ["-m", "spin.tools.check_device", device], python=interpreter)
    work.run("tests", ["-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", "-m", "gpu", str(ROOT / "tests" / "gpu")])
    if corpus_dir:
        training = train_real(work, device, Path(corpus_dir).resolve(), parts)
    else:
        training = run_stages(work, "mini" if on_gpu else "tiny", ["--device", device])
    spin_options = [] if on_gpu else ["--shape", "mini", "--batch-seconds", "20", "--updates", "1"]
    for name, options in {"spin": spin_options, "units": ["--seconds", "600" if on_gpu else "20"]}.items():
        work.run(f"benchmark {name}", ["-m", "spin", "benchmark", name, "--json", "--device", device, *options])
    return {
        **description,
        "ok": all(step["status"] == PASSED for step in work.steps.values()),
        "seconds": round(time.monotonic() - begun, 1),
        "steps": work.steps,
        "updates": work.results("updates"),
        "k2": work.steps["k2"]["status"] if "k2" in work.steps else None,  # not installed, as on a machine that was only lent
        "tests": work.output("tests").strip().rpartition("\n")[2],
        "training": training,
        "benchmark_spin": next(iter(work.results("benchmark spin")), None),
        "benchmark_units": next(iter(work.results("benchmark units")), None),
    }


def describe(device: torch.device) -> dict:
    """Device, versions, and the architectures that torch was built for."""
    described = {"device": device_name(device), "torch": torch.__version__, "python": sys.version.split()[0], "commit": commit()}
    if device.type == "cuda":
        described |= {"properties": str(torch.cuda.get_device_properties(device)), "gpus": torch.cuda.device_count()}
        described["built_for"] = torch.cuda.get_arch_list()
    return described


def train_real(work: Check, device: str, speech: Path, parts: Sequence[str]) -> dict | None:
    """Pre-training, and Spin from its encoder, on real speech; on a CPU a few steps of each. None after a failure."""
    if packed := (speech / ALIGNMENTS).is_dir():
        source, speech = speech, work.folder / "LibriSpeech"
        if not work.run("unpack", ["-m", "spin.tools.gpu_pack", str(source), str(speech)]):
            return None
    steps, (training, valid, test) = PRETRAIN_STEPS[device], (f"[{part}]" for part in parts)
    options = ["--device", device, "--corpus-dir", str(speech), f"--set=corpus.spin_train={training}"]
    pretrain = [*options, f"--set=pretrain.parts={training}", f"--set=pretrain.steps={list(steps)}"]
    for name, script in (("stage 0 of pre-training", "0_prepare_data"), ("pre-training", "pretrain_encoder")):
        if not run_script(work, name, script, "pretrain_librispeech", pretrain):
            return None
    # Stages 0 to 3 train no recogniser, and so need no pronunciations.
    options += [f"--set=corpus.valid={valid}", f"--set=corpus.test={test}", "--set=corpus.asr_train=[]"]
    options.append(f"--set=encoder.source={work.folder / 'pretrain_librispeech' / 'pretrain' / 'encoder.safetensors'}")
    if packed:
        options += ["--set=corpus.alignment=tsv", f"--set=corpus.alignment_tsv={speech / ALIGNMENTS}"]
    if device == "cpu":
        options += ["--set=spin.max_steps=4", "--set=spin.batch_seconds=24"]
    result = run_stages(work, "mini_librispeech", options)
    return result and {**result, "pretrained": f"{parts[0]}, {' and '.join(map(str, steps))} steps"}


def run_stages(work: Check, conf: str, options: list[str]) -> dict | None:
    """Runs stages 0 to 3; returns the metrics of every system and the validations, None after a failure."""
    stages = [(f"stage {stage}", f"{stage}_{artifacts.STAGES[stage]}", None) for stage in range(4)]
    stages.insert(2, ("stage 2 stopped", stages[2][1], 25.0))
    if not all(run_script(work, step, script, conf, options, stop_after) for step, script, stop_after in stages):
        return None
    exp = work.folder / conf
    systems = {path.name: read_json(artifacts.metrics_in(path)) for path in sorted((exp / "metrics").iterdir())}
    history = list(read_jsonl(artifacts.history_in(artifacts.spin_folder(exp))))
    return {"conf": conf, "metrics": systems, "validation": history}


def run_script(work: Check, step: str, script: str, conf: str, options: list[str], stop_after: float | None = None) -> bool:
    """Runs a script of local/ with a shipped configuration and all files in the folder of the check; see Check.run."""
    folders = ["--exp-dir", str(work.folder / conf), f"--set=corpus.data_dir={work.folder / 'data'}"]
    return work.run(step, [f"local/{script}.py", "--conf", f"conf/{conf}.yaml", *folders, *options], stop_after)
