"""How soon stages 1, 2 and 3 begin to work on a large corpus, and in how much memory: python -m tests.faults.load [CUTS]

Makes manifests of CUTS generated cuts (1,000,000), then runs each stage's work in a process of its own until the first utterance,
batch or shard is handed to the code that reads audio. Prints a Markdown table; seconds count from the call of the stage's work;
the start of Python with its imports is given apart.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from spin import artifacts
from spin.config import Config, CorpusConfig, RuntimeConfig, SpinConfig
from spin.runtime.manifests import write_manifest
from spin.runtime.stages import Context

ROOT = Path(__file__).resolve().parents[2]
GOAL_S, GOAL_BYTES = 5.0, 1e9
PER_SPEAKER = 200
# stage -> module and function of its work, and the first thing done with audio
STAGES = {
    1: ("spin.perturbation.stage", "analyse_pitch", "spin.perturbation.speakers", "_estimate"),
    2: ("spin.training.spin_stage", "train_spin", "spin.data.pairs", "PairDataset.__getitem__"),
    3: ("spin.units.stage", "extract_units", "spin.units.extraction", "extract_shard"),
}


class Begun(Exception):
    """The work has begun."""


def cut(number: int, analysed: bool) -> dict:
    """A cut like those of stage 0, or of stage 1, 4 to 16 s long."""
    speaker = f"{number // PER_SPEAKER:06d}"
    name = f"{speaker}-1-{number % PER_SPEAKER:04d}"
    samples = 64_000 + number * 7919 % 192_000
    seconds = samples / artifacts.SAMPLE_RATE
    phones = [["AH", round(0.3 * place, 2), 0.3] for place in range(12)]
    said = {"id": name, "recording_id": name, "start": 0.0, "duration": seconds, "channel": 0, "text": "HELLO WORLD AND MORE",
            "language": "English", "speaker": speaker, "alignment": {artifacts.PHONE_TIER: phones}}  # fmt: skip
    source = {"type": "file", "channels": [0], "source": f"/audio/{speaker}/{name}.flac"}
    recording = {"id": name, "sources": [source], "sampling_rate": artifacts.SAMPLE_RATE, "num_samples": samples,
                 "duration": seconds, "channel_ids": [0]}  # fmt: skip
    record = {"id": name, "start": 0.0, "duration": seconds, "channel": 0, "supervisions": [said], "recording": recording}
    if analysed:
        array = {
            "storage_type": "spin_packed",
            "storage_path": "/pitch/00000.bin",
            "storage_key": f"{number},400",
            "shape": [400],
        }
        pitch = {"array": array, "temporal_dim": 0, "frame_shift": 0.01, "start": 0.02}
        record["custom"] = {artifacts.PITCH_FIELD: pitch, artifacts.PULSES_FIELD: array, artifacts.PITCH_STEP_FIELD: 0.01}
    return {**record, "type": "MonoCut"}


def make(folder: Path, count: int) -> None:
    """The manifests that stages 1 to 3 read, and the Spin model that stage 3 looks at before its work."""
    from spin.models.importers import load_encoder
    from spin.models.spin_model import SpinModel, save_model

    path = artifacts.spin_model(folder / "exp")
    path.parent.mkdir(parents=True)
    save_model(path, SpinModel.create(load_encoder("mini"), 4, 8, 8, seed=0))
    corpus = artifacts.corpus_folder(folder, "load")
    for part, number in (("train", count), ("few", 20)):
        for path, analysed in ((artifacts.cuts(corpus, part), False), (artifacts.pitch_cuts(corpus, part), True)):
            write_manifest(path, (cut(index, analysed) for index in range(number)))


def measure(stage: int, folder: Path) -> dict:
    """Runs a stage's work in this process until it begins."""
    module, function, place, first = STAGES[stage]
    work = getattr(importlib.import_module(module), function)
    owner = importlib.import_module(place)
    *outer, name = first.split(".")
    for attribute in outer:
        owner = getattr(owner, attribute)
    roles = {"spin_train": ("train",), "asr_train": ("few",), "valid": ("few",), "test": ("few",)}
    corpus = CorpusConfig(name="load", kind="librispeech", data_dir=str(folder), **roles)
    config = Config(corpus=corpus, runtime=RuntimeConfig(nj=1, device="cpu"), spin=SpinConfig(workers=0))
    exp = folder / "exp"
    context = Context(config, exp, artifacts.corpus_folder(folder, "load"), exp / "board", False, logging.getLogger("load"), "")

    def begin(*_):
        raise Begun

    setattr(owner, name, begin)
    if stage == 3:
        setattr(sys.modules[module], name, begin)
    begun = time.monotonic()
    try:
        work(context)
    except Begun:
        return {"seconds": time.monotonic() - begun, "bytes": _peak(), "imports": begun - _started()}
    raise RuntimeError(f"stage {stage} ended without reading audio")


def _peak() -> int:
    """Bytes; not getrusage's figure, which begins with that of the parent."""
    found = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(found.split()[1]) * 1024


def _started() -> float:
    """When this process began, on the clock of time.monotonic."""
    ticks = float(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    boot = ticks / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - (time.clock_gettime(time.CLOCK_BOOTTIME) - boot)


def lines(count: int) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as name:
        make(Path(name), count)
        yield f"| stage, {count:,} cuts | work begins after | start of Python and imports | peak memory |\n|---|---:|---:|---:|"
        for stage in STAGES:
            command = [sys.executable, "-m", "tests.faults.load", str(stage), name]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            kept = found["seconds"] <= GOAL_S and found["bytes"] <= GOAL_BYTES
            figures = f"{found['seconds']:.1f} s | {found['imports']:.1f} s | {found['bytes'] / 1e6:.0f} MB"
            yield f"| {stage} ({artifacts.STAGES[stage]}){'' if kept else ' (beyond the goal)'} | {figures} |"


def main(words: list[str]) -> None:
    if len(words) == 2:
        print(json.dumps(measure(int(words[0]), Path(words[1]))))
        return
    for line in lines(int(words[0]) if words else 1_000_000):
        print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
