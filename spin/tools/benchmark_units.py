"""python -m spin benchmark units: time and memory of stage 3's parts on generated data.

`ratio` compares the extraction of an encoder and of a model trained from it with the plain way: one utterance at a time, each
system by itself, every layer. k-means and metrics run on two amounts of data; memory must not grow with it.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import logging
import multiprocessing
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from lhotse.supervision import AlignmentItem

from spin import artifacts
from spin.models.importers import load_encoder
from spin.runtime.devices import device_name, prepare_cpu, resolve_device
from spin.runtime.logs import get_logger
from spin.runtime.seeding import generator, seed_torch
from spin.systems import System
from spin.tools.benchmark import fastest, show, synchronize
from spin.units.extractors import EncoderExtractor, count_shared_layers, extract
from spin.units.kmeans import Utterances, train_kmeans
from spin.units.measure import EvaluationSet, Utterance, measure
from spin.units.metrics import METRICS
from spin.units.phones import PHONE_CLASSES

REFERENCE = "one utterance at a time, each system by itself, every layer"
REPEATS = 3
BATCH_SECONDS = 120.0
FRAMES = 750  # of an utterance of 15 s
DIM, CLUSTERS, BLOBS = 256, 128, 64


def main(argv: list[str]) -> int:
    """Prints the ratio reference time / own time (above 1: faster), and how k-means and metrics grow; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m spin benchmark units", description=__doc__, allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of text")
    parser.add_argument("--encoder", default="mini", help="as encoder.source (default: mini)")
    parser.add_argument("--seconds", type=float, default=60.0, help="noise to extract features of (default: 60)")
    parser.add_argument("--hours", type=float, nargs=2, default=[0.5, 5.0], help="data of k-means and metrics (default: .5 5)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    arguments = parser.parse_args(argv)
    result = time_extraction(arguments.encoder, arguments.seconds, resolve_device(arguments.device))
    for name, work in (("kmeans", run_kmeans), ("metrics", run_metrics)):
        (_, before), (seconds, after) = (in_new_process(work, hours) for hours in sorted(arguments.hours))
        result |= {f"{name}_seconds": seconds, f"{name}_memory_in_mib": after, f"{name}_memory_ratio": after / before}
    show(result, arguments.json)
    return 0


def time_extraction(source: str, seconds: float, device: torch.device) -> dict:
    """Extraction of two systems that differ in the top layers, against the reference."""
    prepare_cpu(1)
    extractors, batches = make_extractors(source, device), make_audio(seconds)
    layers = {system: [None] for system in extractors}
    total = sum(len(waveform) for batch in batches for waveform in batch) / artifacts.SAMPLE_RATE

    def own() -> None:
        for batch in batches:
            extract(extractors, layers, batch, device)
        synchronize(device)

    def plain() -> None:
        for waveform in (waveform for batch in batches for waveform in batch):
            for extractor in extractors.values():
                every = list(range(1, extractor.encoder.shape.layers + 1))
                extractor.run(torch.from_numpy(waveform)[None].to(device), torch.tensor([len(waveform)]), every, None)
        synchronize(device)

    times = []
    for work in (own, plain):
        work()  # fills the caches
        times.append(fastest(work, REPEATS))
    return {
        "ratio": times[1] / times[0],
        "seconds": times[0],
        "reference_seconds": times[1],
        "reference": REFERENCE,
        "times_real_time": total / times[0],
        "audio_seconds": total,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
    }


def make_extractors(source: str, device: torch.device) -> dict[System, EncoderExtractor]:
    """An encoder, and the same with other weights in its two top layers."""
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


def run_kmeans(hours: float) -> None:
    """One epoch of k-means on features that are generated as they are read."""
    centres = generator(0, "benchmark kmeans").standard_normal((BLOBS, DIM), dtype=np.float32)

    def load(name: str) -> np.ndarray:
        random = generator(0, "benchmark kmeans", name)
        noise = random.standard_normal((FRAMES, DIM), dtype=np.float32)
        return noise + centres[random.integers(0, BLOBS, FRAMES)]

    get_logger("kmeans").setLevel(logging.WARNING)  # standard output is for the result
    names = [f"{number:08d}" for number in range(count_utterances(hours))]
    train_kmeans(Utterances(names, [FRAMES] * len(names), load), CLUSTERS, epochs=1)


def run_metrics(hours: float) -> None:
    """The metrics that stream: purities, boundaries, usage and speaker NMI."""
    names = ("UnitUse", "Purity", "Boundaries", "SpeakerNmi")
    metrics = [metric for metric in METRICS if any(name in metric.computer for name in names)]
    measure(EvaluationSet(CLUSTERS, read=partial(make_utterances, hours)), metrics)


def make_utterances(hours: float) -> Iterator[Utterance]:
    """Utterances of 15 s whose phones last 40 to 160 ms and have a unit each."""
    phones = [phone for group in PHONE_CLASSES.values() for phone in group]
    random = generator(0, "benchmark metrics")
    for number in range(count_utterances(hours)):
        lengths, which = random.integers(2, 9, FRAMES // 5), random.integers(0, len(phones), FRAMES // 5)
        starts = np.cumsum(lengths) - lengths
        spans = zip(which, starts * artifacts.FRAME_SHIFT_IN_S, lengths * artifacts.FRAME_SHIFT_IN_S, strict=True)
        alignment = [AlignmentItem(phones[phone], float(start), float(length)) for phone, start, length in spans]
        units = np.repeat(which, lengths)
        yield Utterance(str(number), f"speaker{number % 250}", units, len(units) * artifacts.FRAME_SHIFT_IN_S, alignment)


def count_utterances(hours: float) -> int:
    """Number of utterances in so much audio, at least 1."""
    return max(1, round(hours * 3600 / artifacts.FRAME_SHIFT_IN_S / FRAMES))


def in_new_process(work: Callable[[float], None], hours: float) -> tuple[float, float]:
    """(seconds, MiB) that work(hours) takes in a process of its own, so that its peak memory is its own."""
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_cost, work, hours).result()


def _cost(work: Callable[[float], None], hours: float) -> tuple[float, float]:
    prepare_cpu(1)
    begun = time.perf_counter()
    work(hours)
    seconds, status = time.perf_counter() - begun, Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    # getrusage keeps the peak of the process that started this one; VmHWM does not.
    return seconds, int(status.split("VmHWM:")[1].split()[0]) / 1024
