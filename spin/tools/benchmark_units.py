"""python -m spin benchmark units: time and memory of stage 3's parts on generated data, each against a reference in the same run.

The ratio compares the extraction of an encoder and of a model trained from it with the plain way: one utterance at a time, each
system by itself, every layer. k-means and metrics run on two amounts of data; memory must not grow with it.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import logging
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from spin import artifacts
from spin.runtime.devices import device_name, prepare_cpu, resolve_device
from spin.runtime.logs import get_logger
from spin.runtime.seeding import generator, seed_torch

REFERENCE = "one utterance at a time, each system by itself, every layer"
REPEATS = 3
BATCH_SECONDS = 120.0
UTTERANCE_FRAMES = 750  # 15 s
DIM, CLUSTERS, BLOBS = 256, 128, 64
STATUS = Path("/proc/self/status")


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Options of the command."""
    parser = argparse.ArgumentParser(prog="python -m spin benchmark units", description=__doc__, allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of text")
    parser.add_argument("--encoder", default="mini", help="as encoder.source (default: mini)")
    parser.add_argument("--seconds", type=float, default=60.0, help="noise to extract features of (default: 60)")
    parser.add_argument("--hours", type=float, nargs=2, default=[0.5, 5.0], help="data of k-means and metrics (default: .5 5)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Prints the ratio reference time / own time (above 1: faster), and how k-means and metrics grow."""
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    result = time_extraction(arguments.encoder, arguments.seconds, resolve_device(arguments.device))
    for name, work in (("kmeans", run_kmeans), ("metrics", run_metrics)):
        small, large = (in_new_process(work, hours) for hours in sorted(arguments.hours))
        result |= {f"{name}_seconds": large["seconds"], f"{name}_memory_in_mib": large["memory_in_mib"]}
        result[f"{name}_memory_ratio"] = large["memory_in_mib"] / small["memory_in_mib"]
    print(json.dumps(result) if arguments.json else "\n".join(f"{key}: {value}" for key, value in result.items()))


def time_extraction(source: str, seconds: float, device: torch.device) -> dict:
    """Extraction of two systems that differ in the top layers, against the reference."""
    from spin.systems import System
    from spin.units.extractors import extract

    prepare_cpu(1)
    extractors = make_extractors(source, device)
    layers = {system: [None] for system in extractors}
    batches = make_audio(seconds)
    total = sum(len(waveform) for batch in batches for waveform in batch) / artifacts.SAMPLE_RATE
    own = best_time(lambda: [extract(extractors, layers, batch, device) for batch in batches], device)
    every: dict[System, list] = {system: list(range(1, own.encoder.shape.layers + 1)) for system, own in extractors.items()}

    def plain() -> None:
        for waveform in (waveform for batch in batches for waveform in batch):
            for system, extractor in extractors.items():
                lengths = torch.tensor([len(waveform)])
                extractor.run(torch.from_numpy(waveform)[None].to(device), lengths, every[system], None)

    reference = best_time(plain, device)
    return {
        "ratio": reference / own,
        "seconds": own,
        "reference_seconds": reference,
        "reference": REFERENCE,
        "times_real_time": total / own,
        "audio_seconds": total,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
    }


def make_extractors(source: str, device: torch.device) -> dict:
    """An encoder, and the same with other weights in its two top layers."""
    from spin.models.importers import load_encoder
    from spin.systems import System
    from spin.units.extractors import EncoderExtractor, count_shared_layers

    seed_torch(0, "benchmark units")
    layer = load_encoder(source).shape.layers
    systems = [System(name, "encoder", source, layer) for name in ("before", "after")]
    before, after = (EncoderExtractor(system, False, device) for system in systems)
    with torch.no_grad():
        for block in after.encoder.layers[max(0, layer - 2) :]:
            for parameter in block.parameters():
                parameter.mul_(1.01)
    after.shared = count_shared_layers(before.encoder, after.encoder)
    return dict(zip(systems, (before, after), strict=True))


def make_audio(seconds: float) -> list[list[np.ndarray]]:
    """Batches of noise of 2 to 15 s, of similar length, longest first."""
    random, lengths = generator(0, "benchmark units"), []
    while sum(lengths) < seconds:
        lengths.append(float(random.uniform(2, 15)))
    batches: list[list[np.ndarray]] = []
    for length in sorted(lengths, reverse=True):
        wave = random.normal(size=int(length * artifacts.SAMPLE_RATE)).astype(np.float32) * 0.1
        if batches and len(batches[-1][0]) * (len(batches[-1]) + 1) <= BATCH_SECONDS * artifacts.SAMPLE_RATE:
            batches[-1].append(wave)
        else:
            batches.append([wave])
    return batches


def best_time(work: Callable, device: torch.device) -> float:
    """Seconds of the fastest of REPEATS runs, after one that fills the caches."""
    times = []
    for _ in range(REPEATS + 1):
        begun = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begun)
    return min(times[1:])


def run_kmeans(hours: float) -> dict:
    """One epoch of k-means on generated features; the time includes generating them."""
    from spin.units.kmeans import Utterances, train_kmeans

    prepare_cpu(1)
    count = max(1, round(hours * 3600 / artifacts.FRAME_SHIFT_IN_S / UTTERANCE_FRAMES))
    centres = generator(0, "benchmark kmeans").standard_normal((BLOBS, DIM), dtype=np.float32)

    def load(name: str) -> np.ndarray:
        random = generator(0, "benchmark kmeans", name)
        noise = random.standard_normal((UTTERANCE_FRAMES, DIM), dtype=np.float32)
        return noise + centres[random.integers(0, BLOBS, UTTERANCE_FRAMES)]

    get_logger("kmeans").setLevel(logging.WARNING)  # standard output is for the result
    data = Utterances([f"{number:08d}" for number in range(count)], [UTTERANCE_FRAMES] * count, load)
    begun = time.perf_counter()
    train_kmeans(data, CLUSTERS, epochs=1)
    return {"seconds": time.perf_counter() - begun, "memory_in_mib": peak_memory_in_mib()}


def run_metrics(hours: float) -> dict:
    """The metrics that stream: purities, boundaries, usage and speaker NMI."""
    from spin.units.measure import measure
    from spin.units.metrics import METRICS
    from spin.units.sample import Sample

    prepare_cpu(1)
    families = ("usage:", "purity:", "boundaries:", "speakers:")
    metrics = [metric for metric in METRICS if any(name in metric.family for name in families)]
    begun = time.perf_counter()
    measure(Sample(CLUSTERS, read=lambda: make_utterances(hours)), metrics)
    return {"seconds": time.perf_counter() - begun, "memory_in_mib": peak_memory_in_mib()}


def make_utterances(hours: float) -> Iterator:
    """Utterances of 15 s whose phones last 40 to 160 ms and have a unit each."""
    from lhotse.supervision import AlignmentItem

    from spin.units.phones import PHONE_CLASSES
    from spin.units.sample import Utterance

    phones = [phone for group in PHONE_CLASSES.values() for phone in group]
    random = generator(0, "benchmark metrics")
    for number in range(max(1, round(hours * 3600 / artifacts.FRAME_SHIFT_IN_S / UTTERANCE_FRAMES))):
        lengths, which = random.integers(2, 9, UTTERANCE_FRAMES // 5), random.integers(0, len(phones), UTTERANCE_FRAMES // 5)
        starts = np.cumsum(lengths) - lengths
        spans = zip(which, starts * artifacts.FRAME_SHIFT_IN_S, lengths * artifacts.FRAME_SHIFT_IN_S, strict=True)
        alignment = [AlignmentItem(phones[phone], float(start), float(length)) for phone, start, length in spans]
        units = np.repeat(which, lengths)
        yield Utterance(str(number), f"speaker{number % 250}", units, len(units) * artifacts.FRAME_SHIFT_IN_S, alignment)


def in_new_process(work: Callable[[float], dict], hours: float) -> dict:
    """work(hours) in a process of its own, so that its peak memory is its own."""
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, hours).result()


def peak_memory_in_mib() -> float:
    """The most memory that this process has held, its program included."""
    # getrusage keeps the peak of the process that started this one; VmHWM does not.
    lines = [line for line in STATUS.read_text(encoding="ascii", errors="replace").splitlines() if line.startswith("VmHWM:")]
    return int(lines[0].split()[1]) / 1024
