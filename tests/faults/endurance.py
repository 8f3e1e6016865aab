"""Whether memory and open files stay flat over 2,000 steps: python -m tests.faults.endurance [STEPS]

Trains stage 2 and, where k2 is, stage 4 on a few seconds of humming, looks at the process and its workers in /proc all the while,
and prints a Markdown table of the four quarters of each training; status 1 where the last quarter has more than the second.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from spin import artifacts
from tests.faults.harness import python_of
from tests.faults.layouts import small_corpus
from tests.faults.stage_server import ROOT, script_of
from tests.faults.tried import options

EXP, OUTPUT = Path("exp/t"), "output.txt"
OWN = ("Pss_Anon:", "Pss_Shmem:")  # of smaps_rollup: what the processes themselves have filled
LOOK_EVERY_S = 0.5
GROWTH = 1.03  # of memory: what allocators do of themselves
CHECKPOINTS = {2: artifacts.spin_folder(EXP) / "checkpoints", 4: artifacts.asr_seed_folder(EXP, "baseline", 0)}


def settings(steps: int) -> list[str]:
    """Small steps, checkpoints and validations all along."""
    every = max(1, steps // 20)
    pairs = [f"{part}.{key}={value}" for part in ("spin", "asr") for key, value in
             (("max_steps", steps), ("valid_every_steps", every), ("checkpoint_every_steps", every))]  # fmt: skip
    pairs += [
        "spin.workers=1",
        "asr.seeds=[0]",
        "asr.tokens=characters",
        "asr.batch_seconds=4",
        "asr.hidden=16",
        "units.kmeans_starts=1",
    ]
    return [word for pair in pairs for word in ("--set", pair)]


def start(stage: int, folder: Path, steps: int) -> subprocess.Popen:
    """A stage; what it says goes to a file, as a pipe that nobody reads holds 64 kB and then stops it."""
    command = [python_of(stage), str(script_of(stage)), *options(), *settings(steps)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "MPLBACKEND": "Agg",
    }
    with open(folder / OUTPUT, "w") as output:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)


def look(pid: int) -> tuple[int, int]:
    """(bytes of memory, open files) of a process and its children; what they share is counted by proportion.

    Pages of files are left out: they are libraries, and how much of them is counted depends on who else on the machine uses them.
    """
    memory = files = 0
    for process in [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]:
        rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
        memory += 1024 * sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith(OWN))
        files += len(os.listdir(f"/proc/{process}/fd"))
    return memory, files


def watch(process: subprocess.Popen, begun: Path) -> list[tuple[int, int]]:
    """What look saw from the first checkpoint to the end."""
    seen = []
    while process.poll() is None:
        if any(begun.glob("step-*.pt")):
            try:
                seen.append(look(process.pid))
            except (OSError, StopIteration):
                pass  # it, or a worker, has just ended
        time.sleep(LOOK_EVERY_S)
    return seen


def main(words: list[str]) -> int:
    steps, wrong = int(words[0]) if words else 2000, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small_corpus(folder)
        print(f"| {steps:,} steps | figure | first quarter | second | third | last | flat |\n|---|---|---:|---:|---:|---:|---|")
        for stage in range(5):
            process = start(stage, folder, steps)
            seen = watch(process, folder / CHECKPOINTS.get(stage, EXP))
            output = (folder / OUTPUT).read_text()
            if process.returncode != 0:
                print(f"stage {stage} ended with status {process.returncode}:\n{output[-2000:]}")
                return 1
            if stage in CHECKPOINTS:
                wrong += report(stage, seen)
    return int(wrong > 0)


def report(stage: int, seen: list[tuple[int, int]]) -> int:
    """Prints the rows of a training; the number of figures that grow."""
    if len(seen) < 8:
        print(f"| {artifacts.STAGES[stage]} | too short to tell: {len(seen)} looks | | | | | |")
        return 1
    grown = 0
    for place, unit, size, allowed in ((0, "memory, MB", 1e6, GROWTH), (1, "open files", 1, 1.0)):
        column = [one[place] for one in seen]
        quarters = [statistics.median(column[len(column) * k // 4 : len(column) * (k + 1) // 4]) for k in range(4)]
        flat = quarters[3] <= allowed * quarters[1]
        grown += not flat
        shown = " | ".join(f"{value / size:.0f}" for value in quarters)
        print(f"| {artifacts.STAGES[stage]} | {unit} | {shown} | {'yes' if flat else 'NO'} |", flush=True)
    return grown


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
