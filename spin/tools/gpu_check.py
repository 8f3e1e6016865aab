"""python -m spin gpu-check: what a CUDA GPU makes of this project, as one JSON file, in under ten minutes (utils/gpu_check.sh).

Updates at realistic lengths with peak memory, WavLM, accumulation, compilation and two processes on one GPU; tests marked gpu;
k2; benchmarks; a real training that is stopped and resumed, with PNMI before and after. Each step runs as its own process with
the time that is left. A step that fails or runs out of time is reported and does not stop the others.

A machine without a network needs the repository (17 MB), the packages of requirements/main.txt that it lacks, and speech:
  utils/gpu_check.sh --corpus-dir /data/LibriSpeech --pack pack      # where LibriSpeech is: a part of it, 40 MiB
  SPIN_PYTHON=python3 utils/gpu_check.sh --corpus-dir pack           # there; a pack needs neither pocketsphinx nor gruut_lang_en
"""

import argparse
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import soundfile
import torch

from spin import artifacts
from spin.corpus.alignment import write_tsv
from spin.corpus.librispeech import TRANSCRIPTS_SUFFIX, require_folder, require_parts
from spin.corpus.text import normalise
from spin.errors import DataError
from spin.runtime.devices import device_name, resolve_device
from spin.runtime.digest import commit
from spin.runtime.files import read_json, read_jsonl, write_json
from spin.runtime.logs import get_logger
from spin.units.phones import frame_labels

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "egs" / "librispeech"
PASSED, FAILED, OUT_OF_TIME = "passed", "failed", "out of time"
TAIL = 2000  # characters of a failed step's output that are kept
GRACE_IN_S = 60  # for a stopped training to save its checkpoint
STOPPED = 128 + signal.SIGTERM
PARTS = ("train-clean-5", "train-clean-100", "test-other")  # to train, validate and test on
ALIGNMENTS = "alignments"  # folder of <part>.tsv in a pack
MEBIBYTE = 2**20
HELD_OUT = 40  # utterances in a pack of each part that is not trained on


class Check:
    """Steps that share one folder and one time limit.

    Attributes:
        folder: data, experiments and logs; what is there from an earlier check is resumed.
        until: time.monotonic() at which everything must have ended.
        steps: name -> status, seconds and, after a failure, the end of its output.
    """

    def __init__(self, folder: Path, until: float):
        self.folder, self.until, self.steps = folder, until, {}

    def run(self, name: str, words: list[str], stop_after: float | None = None, python: str = sys.executable) -> bool:
        """Runs `python WORDS` in the recipe's folder; returns whether it passed.

        After `stop_after` seconds SIGTERM is sent; then the status of a stopped stage passes, too.
        """
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
    """Spin on real speech, on a CPU a few steps; see run_stages."""
    options = ["--device", device, "--set=corpus.asr_train=[]"]  # without recognisers no pronunciations are needed
    options += [f"--set=corpus.{role}=[{part}]" for role, part in zip(("spin_train", "valid", "test"), parts, strict=True)]
    if (speech / ALIGNMENTS).is_dir():
        options += ["--set=corpus.alignment=tsv", f"--set=corpus.alignment_tsv={speech / ALIGNMENTS}"]
    if device == "cpu":
        options += ["--set=spin.max_steps=4", "--set=spin.batch_seconds=24"]
    return run_stages(work, "mini_librispeech", [*options, "--corpus-dir", str(speech)])


def run_stages(work: Check, conf: str, options: list[str]) -> dict | None:
    """Runs stages 0 to 3 of a shipped configuration; returns the metrics of every system and the validations.

    All files are in the folder of the check. Stage 2 is stopped once and resumed. None after a failure.
    """
    exp = work.folder / conf
    options = ["--conf", f"conf/{conf}.yaml", "--exp-dir", str(exp), f"--set=corpus.data_dir={work.folder / 'data'}", *options]
    stages = [(f"stage {stage}", [f"local/{stage}_{artifacts.STAGES[stage]}.py", *options], None) for stage in range(4)]
    stages.insert(2, ("stage 2 stopped", stages[2][1], 25.0))
    if not all(work.run(*step) for step in stages):
        return None
    systems = {path.name: read_json(artifacts.metrics_in(path)) for path in sorted((exp / "metrics").iterdir())}
    history = list(read_jsonl(artifacts.history_in(artifacts.spin_folder(exp))))
    return {"conf": conf, "metrics": systems, "validation": history}


def pack(corpus_dir: str | None, output: Path, parts: Sequence[str] = PARTS, limit: float = 40.0) -> int:
    """Writes a small LibriSpeech of at most `limit` MiB into a new folder; returns its number of bytes.

    It has some utterances of the parts to validate and test on with phone alignments, and of the part to train on as many as fit,
    evenly over the speakers. Raises DataError for a missing part, or an output folder that is not empty.
    """
    root = require_folder(corpus_dir)
    require_parts(root, parts)
    if output.exists() and any(output.iterdir()):
        raise DataError(f"folder {output}", found="files", expected="a new or empty folder", remedy="choose another --pack")
    train, *held_out = parts
    chosen = {part: in_turn(root / part)[:HELD_OUT] for part in held_out}
    for part, files in chosen.items():
        write_tsv(output / ALIGNMENTS / f"{part}.tsv", align(files))
    size = sum(path.stat().st_size for path in (output / ALIGNMENTS).iterdir())
    for file in itertools.chain(*chosen.values(), in_turn(root / train)):
        line, target = f"{file.stem} {text_of(file)}\n", output / file.relative_to(root)
        if size + file.stat().st_size + len(line) > limit * MEBIBYTE:
            break
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        with open(transcripts(target), "a", encoding="utf-8") as stream:
            stream.write(line)
        size += file.stat().st_size + len(line)
    return size


def in_turn(part: Path) -> list[Path]:
    """The FLAC files of a part, one of each speaker, then the second of each, and so on."""
    speakers = [sorted(folder.rglob("*.flac")) for folder in sorted(part.iterdir())]
    return [file for turn in itertools.zip_longest(*speakers) for file in turn if file is not None]


def transcripts(file: Path) -> Path:
    """The transcripts of the chapter of a FLAC file."""
    return file.with_name(file.stem.rpartition("-")[0] + TRANSCRIPTS_SUFFIX)


def text_of(file: Path) -> str:
    """The transcript of a FLAC file; '' where it has none, which stage 0 then rejects."""
    lines = (line.partition(" ") for line in transcripts(file).read_text(encoding="utf-8").splitlines())
    return next((text for name, _, text in lines if name == file.stem), "")


def align(files: Iterable[Path]) -> Iterator[tuple[str, list[str]]]:
    """(id, phones every 10 ms) of the utterances that can be aligned."""
    from spin.corpus.align import Unalignable, process_aligner

    for file in files:
        samples, rate = soundfile.read(file, dtype="int16")
        with contextlib.suppress(Unalignable):  # the metrics then leave it out, as in any corpus
            phones, _ = process_aligner().align(samples, normalise(text_of(file)))
            yield file.stem, frame_labels(phones, round(100 * len(samples) / rate))
