"""SIGKILL, SIGTERM and SIGINT at random moments of every stage: the same command ends in the files of an undisturbed run.

python -m pytest -m slow -s tests/faults/test_kills.py prints each stop; SPIN_SEED=7 in front of it draws other moments.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from spin import artifacts
from spin.runtime.files import read_json
from spin.runtime.seeding import generator
from tests.faults import stage_server
from tests.faults.points import points
from tests.faults.stage_server import ROOT

CONF = ROOT / "egs" / "librispeech" / "conf" / "tiny.yaml"
STOPPED = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 128 + signal.SIGTERM, signal.SIGINT: 128 + signal.SIGINT}
LONGEST_STOP_S = 20.0  # far below the 120 s that utils/slurm.sh asks for
START_S = 1.0  # of Python: earlier there is nothing to disturb
TRIES, EARLIER = 6, 0.6  # of a stage that ends before its signal: each time earlier by this factor
# Files that hold neither paths nor times: equal to the byte. Reports are compared separately.
SAME = (
    "data/tiny/lexicon.txt", "data/tiny/lm_text.txt", "data/tiny/speaker_pitch.json", "exp/spin/model.safetensors",
    "exp/spin/history.jsonl", "exp/units/*/*/units.jsonl", "exp/units/*/kmeans.safetensors", "exp/metrics/*/metrics.json",
    "exp/lang/*.txt", "exp/asr/*/*/seed*/history.jsonl", "exp/decode/**/*.txt", "exp/scores.json",
)  # fmt: skip


def start(folder: Path, stage: int) -> subprocess.Popen:
    places = ["--exp-dir", folder / "exp", "--set", f"corpus.data_dir={folder / 'data'}"]
    return stage_server.start(stage, folder, "--conf", CONF, "--nj", "2", *places)


def finish(folder: Path, stage: int) -> float:
    """Runs a stage to its end; returns the seconds it took."""
    begun, process = time.monotonic(), start(folder, stage)
    output = process.communicate()[0]
    assert process.returncode == 0, output[-2000:]
    return time.monotonic() - begun


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


def was_stopped(folder: Path, stage: int, number: signal.Signals, after_s: float) -> bool:
    """Starts a stage and sends it a signal: SIGINT to all its processes, as a terminal does; the others to it alone.

    False where the stage finished before its signal arrived.
    """
    process = start(folder, stage)
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    begun = time.monotonic()
    output = process.communicate()[0]
    while left := members(process.pid):
        if time.monotonic() - begun > LONGEST_STOP_S:
            os.killpg(process.pid, signal.SIGKILL)
            pytest.fail(f"stage {stage}, {number.name}: processes left: {left}")
        time.sleep(0.05)
    # Where its work was done, the signal met Python leaving.
    if process.returncode == 0 or f"stage {stage} ({artifacts.STAGES[stage]}) done in" in output:
        return False
    assert process.returncode == STOPPED[number], output[-2000:]
    assert number == signal.SIGKILL or "Traceback" not in output, output[-2000:]
    took = time.monotonic() - begun
    print(f"stage {stage} {number.name} after {after_s:.1f} s: all its processes gone after {took:.1f} s", flush=True)
    assert took < LONGEST_STOP_S
    return True


def contents(folder: Path) -> dict[str, str]:
    """Name -> checksum of what must be equal to the byte."""
    paths = sorted(path for pattern in SAME for path in folder.glob(pattern))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.mark.slow
def test_stops_at_random_moments_change_nothing(tmp_path):
    whole, broken, random = tmp_path / "whole", tmp_path / "broken", generator("moments", os.environ.get("SPIN_SEED", "0"))
    whole.mkdir()
    broken.mkdir()
    for stage in artifacts.STAGES:
        seconds = finish(whole, stage)
        kept = shutil.copytree(broken, tmp_path / f"before{stage}", symlinks=True)
        for number in STOPPED:
            after = random.uniform(0.1, 0.9) * max(seconds - START_S, 0.5)
            for _ in range(TRIES):
                if was_stopped(broken, stage, number, START_S + after):
                    break
                shutil.rmtree(broken)
                shutil.copytree(kept, broken, symlinks=True)  # where it was, as manifests name files by their folder
                after *= EARLIER
            else:
                pytest.fail(f"stage {stage}, {number.name}: no moment found before its end")
        shutil.rmtree(kept)
        finish(broken, stage)
        first, second = (points(artifacts.tensorboard(folder / "exp", stage)) for folder in (whole, broken))
        assert first == second  # nothing lost, nothing twice
    assert contents(whole) == contents(broken) and len(contents(whole)) > 20
    other = {"seconds": None, "commit": None}
    first, second = (read_json(artifacts.report(folder / "exp", "json")) | other for folder in (whole, broken))
    assert first == second and repr(first) == repr(second)  # 1 is not 1.0
