"""Kills and stops every stage of the tiny recipe at random moments: python -m tests.faults.harness [--moments N] [--seed S]

An undisturbed run comes first. Then each stage is started in another folder, ended by SIGKILL, SIGTERM and SIGINT at moments
drawn from the seed, and at last left to finish. If a stage finished before its signal arrived, it is restarted and the signal
sent earlier. Prints a Markdown table. Status 1 where a stop took too long or left a process, or where products, report or
TensorBoard points differ.

It runs the stage scripts with SPIN_PYTHON and SPIN_K2_PYTHON, or with the environments of the project.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from spin import artifacts
from spin.report.validate import differences
from spin.runtime.files import read_json
from spin.runtime.seeding import generator
from tests.faults.points import different_points
from tests.faults.stage_server import ROOT, script_of

CONF = ROOT / "egs" / "librispeech" / "conf" / "tiny.yaml"
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
LONGEST_STOP_S = 20.0  # far below the 120 s that utils/slurm.sh asks for
START_S = 1.0  # of Python: earlier there is nothing to disturb
NEEDS_K2 = 4  # and later stages
TRIES = 6  # of a stage that ends before its signal, each time earlier by this factor: the undisturbed run may have been slower
EARLIER = 0.6
STOPPED = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 128 + signal.SIGTERM, signal.SIGINT: 128 + signal.SIGINT}
# Files that hold neither paths nor times: equal to the byte. Reports are compared separately.
SAME = (
    "lexicon.txt",
    "lm_text.txt",
    "speaker_pitch.json",
    "spin/model.safetensors",
    "spin/history.jsonl",
    "units/*/*/units.jsonl",
    "units/*/kmeans.safetensors",
    "metrics/*/metrics.json",
    "lang/*.txt",
    "asr/*/*/seed*/history.jsonl",
    "decode/**/*.txt",
    "scores.json",
)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a run writes."""

    folder: Path

    @property
    def exp(self) -> Path:
        return self.folder / "exp"

    @property
    def corpus(self) -> Path:
        return self.folder / "data" / "tiny"


def command(place: Place, stage: int) -> list[str]:
    return [python_of(stage), str(script_of(stage)), "--conf", str(CONF), "--exp-dir", str(place.exp), "--nj", "2",
            "--set", f"corpus.data_dir={place.folder / 'data'}"]  # fmt: skip


def python_of(stage: int) -> str:
    name, home = ("SPIN_K2_PYTHON", ".venv-k2") if stage >= NEEDS_K2 else ("SPIN_PYTHON", ".venv")
    own = ROOT / home / "bin" / "python"
    return os.environ.get(name) or (str(own) if own.exists() else sys.executable)


def start(place: Place, stage: int) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE", "MPLBACKEND": "Agg"}
    return subprocess.Popen(
        command(place, stage), cwd=place.folder, env=environment, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finish(place: Place, stage: int) -> str:
    """Runs a stage to its end; "" or what went wrong."""
    process = start(place, stage)
    output = process.communicate()[0]
    return "" if process.returncode == 0 else f"status {process.returncode}: {output[-2000:]}"


@dataclasses.dataclass(frozen=True)
class Stop:
    """The outcome of one signal."""

    stage: int
    number: signal.Signals
    after_s: float
    took_s: float
    status: int
    wrong: str
    saved: bool  # with a checkpoint

    def row(self) -> str:
        ending = f"status {self.status}, all its processes gone after {self.took_s:.1f} s" + self.saved * ", with a checkpoint"
        name = f"{self.stage} {artifacts.STAGES[self.stage]}"
        return f"| {name} | {self.number.name} | {self.after_s:.1f} s | {self.wrong or ending} |"


def disturb(place: Place, stage: int, number: signal.Signals, after_s: float) -> Stop:
    """Starts a stage and sends it a signal: SIGINT to all its processes, as a terminal does; the others to it alone."""
    process = start(place, stage)
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            os.kill(process.pid, number)
    begun = time.monotonic()
    output = process.communicate()[0]
    while left := members(process.pid):
        if time.monotonic() - begun > 2 * LONGEST_STOP_S:
            break
        time.sleep(0.05)
    took, wrong, status = time.monotonic() - begun, [], process.returncode
    if status == -number and f"stage {stage} ({artifacts.STAGES[stage]}) done in" in output:
        status = 0  # its work was done: the signal met Python leaving, where it has its first meaning again
    if left:
        wrong.append(f"processes left: {left}")
        os.killpg(process.pid, signal.SIGKILL)
    if took > LONGEST_STOP_S:
        wrong.append(f"ended only after {took:.1f} s")
    if status not in (0, STOPPED[number]):
        wrong.append(f"status {status}: {output[-800:]}")
    if number != signal.SIGKILL and "Traceback" in output:
        wrong.append(f"a traceback: {output[-800:]}")
    return Stop(stage, number, after_s, took, status, "; ".join(wrong), "a checkpoint is written" in output)


def disturb_in_time(place: Place, stage: int, number: signal.Signals, after_s: float, kept: Path) -> Stop:
    """Like disturb; if the stage finished before its signal arrived, it is restarted and the signal sent earlier."""
    for _ in range(TRIES):
        stop = disturb(place, stage, number, after_s)
        if stop.status != 0:
            return stop
        shutil.rmtree(place.folder)
        shutil.copytree(kept, place.folder, symlinks=True)  # where it was, as manifests name files by their folder
        if stop.wrong:
            return stop
        after_s = START_S + EARLIER * (after_s - START_S)
    return dataclasses.replace(stop, wrong="no moment found before its end")


def members(session: int) -> list[int]:
    """Living processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, own = path.read_text().rsplit(")", 1)[1].split()[:4]
        except OSError:
            continue
        if own == str(session) and state != "Z":
            found.append(int(path.parent.name))
    return found


def products(place: Place) -> dict[str, str]:
    """Name -> checksum of what must be equal to the byte."""
    found = {}
    for base in (place.corpus, place.exp):
        for path in sorted(path for pattern in SAME for path in base.glob(pattern) if path.is_file()):
            found[str(path.relative_to(place.folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def compare(whole: Place, broken: Place, last: int) -> Iterator[str]:
    """What differs in the end; nothing where all is well."""
    one, two = products(whole), products(broken)
    yield from (f"{name} differs" for name in sorted(one.keys() | two.keys()) if one.get(name) != two.get(name))
    for stage in range(last + 1):
        yield from different_points(artifacts.tensorboard(whole.exp, stage), artifacts.tensorboard(broken.exp, stage))
    if last == artifacts.LAST_STAGE:
        reports = (read_json(artifacts.report(place.exp, "json")) for place in (whole, broken))
        yield from (line for line in differences(*reports) if not line.startswith("commit:"))


def run(folder: Path, moments: int, seed: int, last: int) -> int:
    """The whole harness; prints as it goes; the number of things that went wrong."""
    whole, broken, random, wrong, starts = Place(folder / "whole"), Place(folder / "broken"), generator("moments", seed), 0, 0
    for place in (whole, broken):
        place.folder.mkdir(parents=True)
    times = {}
    for stage in range(last + 1):
        begun = time.monotonic()
        problem = finish(whole, stage)
        times[stage] = time.monotonic() - begun
        if problem:
            print(f"stage {stage} of the undisturbed run: {problem}")
            return 1
    print("| stage | signal | after | outcome |\n|---|---|---:|---|")
    for stage in range(last + 1):
        seconds = times[stage]
        kept = folder / f"before{stage}"
        shutil.copytree(broken.folder, kept, symlinks=True)
        for number in SIGNALS * moments:
            stop = disturb_in_time(broken, stage, number, START_S + random.uniform(0.1, 0.9) * max(seconds - START_S, 0.5), kept)
            wrong += bool(stop.wrong)
            starts += 1
            print(stop.row(), flush=True)
        shutil.rmtree(kept)
        problem = finish(broken, stage)
        wrong += bool(problem)
        print(f"| {stage} {artifacts.STAGES[stage]} | | | {problem or 'resumed and finished'} |", flush=True)
    problems, count = list(compare(whole, broken, last)), len(products(whole))
    print(f"\nSeed {seed}: {starts} stops, {wrong} with another outcome than required; {count} files compared.")
    print("\n".join(problems) or "Products, report and TensorBoard points are those of the undisturbed run.")
    return wrong + len(problems)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.harness", description=__doc__.split("\n")[0])
    parser.add_argument("--moments", type=int, default=1, help="times each signal is sent to each stage (1)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (0)")
    parser.add_argument("--last", type=int, default=artifacts.LAST_STAGE, choices=artifacts.STAGES, help="the last stage (5)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return int(run(Path(folder), arguments.moments, arguments.seed, arguments.last) > 0)


if __name__ == "__main__":
    sys.exit(main())
