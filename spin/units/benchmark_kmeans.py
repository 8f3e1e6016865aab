"""python -m spin benchmark kmeans: time and peak memory of streamed k-means over hours of generated features."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time

import numpy as np

from spin import artifacts
from spin.runtime.devices import prepare_cpu
from spin.runtime.logs import get_logger
from spin.runtime.seeding import generator
from spin.units.kmeans import MEMORY_IN_MIB, Utterances, train_kmeans
from spin.units.peak_memory import compared, measured

UTTERANCE_FRAMES = 750  # 15 s
BLOBS = 64  # clusters that are in the features


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Options of the command."""
    parser = argparse.ArgumentParser(prog="python -m spin benchmark kmeans", description=__doc__, allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of text")
    parser.add_argument("--hours", type=float, nargs="+", default=[1.0, 20.0], help="of generated features (default: 1 20)")
    parser.add_argument("--k", type=int, default=128, help="clusters (default: 128)")
    parser.add_argument("--dim", type=int, default=256, help="of the features (default: 256)")
    parser.add_argument("--starts", type=int, default=3, help="k-means++ starts (default: 3)")
    parser.add_argument("--epochs", type=int, default=1, help="passes over the features (default: 1)")
    parser.add_argument("--memory-in-mib", type=float, default=MEMORY_IN_MIB, help="as units.kmeans_memory_in_mib")
    arguments = parser.parse_args(argv)
    if min(arguments.k, arguments.dim, arguments.starts, arguments.epochs) < 1 or min(arguments.hours) <= 0:
        parser.error("--k, --dim, --starts, --epochs: at least 1; --hours: above 0")
    return arguments


def main(argv: list[str] | None = None) -> None:
    """Prints seconds and peak memory for each number of hours, each in a process of its own."""
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    settings = (arguments.k, arguments.dim, arguments.starts, arguments.epochs, arguments.memory_in_mib)
    runs = [measured(work, hours, *settings) for hours in sorted(arguments.hours)]
    names = ("K", "dim", "starts", "epochs", "kmeans_memory_in_mib")
    result = compared(runs, {"reference": "peak memory of the first", **dict(zip(names, settings, strict=True)), "threads": 1})
    print(json.dumps(result) if arguments.json else "\n".join(f"{key}: {value}" for key, value in result.items()))


def work(hours: float, clusters: int, dim: int, starts: int, epochs: int, memory_in_mib: float) -> dict:
    """k-means of so many hours; the time has the making up of the features in it."""
    prepare_cpu(1)
    count = max(1, round(hours * 3600 / artifacts.FRAME_SHIFT_IN_S / UTTERANCE_FRAMES))
    centres = generator(0, "benchmark kmeans").standard_normal((BLOBS, dim), dtype=np.float32)

    def load(name: str) -> np.ndarray:
        random = generator(0, "benchmark kmeans", name)
        features = random.standard_normal((UTTERANCE_FRAMES, dim), dtype=np.float32)
        features += centres[random.integers(0, BLOBS, UTTERANCE_FRAMES)]
        return features

    get_logger("kmeans").setLevel(logging.WARNING)  # standard output is for the result
    data = Utterances([f"{number:08d}" for number in range(count)], [UTTERANCE_FRAMES] * count, load)
    begun = time.perf_counter()
    model = train_kmeans(data, clusters, starts=starts, epochs=epochs, memory_in_mib=memory_in_mib)
    seconds = time.perf_counter() - begun
    return {"hours": hours, "frames": count * UTTERANCE_FRAMES, "seconds": seconds, "mean_squared_distance": model.inertia}
