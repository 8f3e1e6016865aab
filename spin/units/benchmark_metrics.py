"""python -m spin benchmark metrics: time and peak memory of the unit metrics over hours of generated units.

Measured: phone and cluster purity, PNMI, unit borders against phones, entropy, bit rate, perplexity, NMI with speakers and the
shares of units of each utterance, from alignments and units in memory. Not in the time: making them up. ABX and the speaker
probe work on samples of bounded size and are left out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator

import numpy as np
from lhotse.supervision import AlignmentItem

from spin import artifacts
from spin.runtime.devices import prepare_cpu
from spin.runtime.seeding import generator
from spin.units.measure import PartMeasures
from spin.units.peak_memory import compared, measured
from spin.units.phones import PHONE_CLASSES

SPEAKERS = 250
FRAMES_A_PHONE = (2, 9)  # 40 to 160 ms
PHONES_AN_UTTERANCE = (20, 280)  # about 15 s in the mean
NOISE = 0.3  # share of frames whose unit says nothing about the phone


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Options of the command."""
    parser = argparse.ArgumentParser(prog="python -m spin benchmark metrics", description=__doc__, allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of text")
    parser.add_argument(
        "--hours", type=float, nargs="+", default=[1.0, 20.0, 100.0], help="of generated units (default: 1 20 100)"
    )
    parser.add_argument("--k", type=int, default=500, help="units (default: 500)")
    arguments = parser.parse_args(argv)
    if arguments.k < 2 or min(arguments.hours) <= 0:
        parser.error("--k: at least 2; --hours: above 0")
    return arguments


def main(argv: list[str] | None = None) -> None:
    """Prints seconds and peak memory for each number of hours, each in a process of its own."""
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    runs = [measured(work, hours, arguments.k) for hours in sorted(arguments.hours)]
    result = compared(runs, {"reference": "peak memory of the first", "K": arguments.k, "threads": 1})
    print(json.dumps(result) if arguments.json else "\n".join(f"{key}: {value}" for key, value in result.items()))


def work(hours: float, clusters: int) -> dict:
    """The metrics over so many hours."""
    prepare_cpu(1)
    measures, spent, cpu, begun = PartMeasures.empty(clusters), 0.0, 0.0, time.perf_counter()
    for name, (speaker, alignment, units) in enumerate(utterances(hours, clusters)):
        start, cpu_start = time.perf_counter(), time.process_time()
        measures.add(str(name), speaker, units, len(units) * artifacts.FRAME_SHIFT_IN_S, alignment, None)
        spent, cpu = spent + time.perf_counter() - start, cpu + time.process_time() - cpu_start
    start, cpu_start = time.perf_counter(), time.process_time()
    figures = measures.figures()
    end, cpu = time.perf_counter(), cpu + time.process_time() - cpu_start
    spent += end - start
    frames = int(measures.use.frames.sum())
    return {
        "hours": hours,
        "frames": frames,
        "utterances": len(measures.names),
        "seconds": spent,
        "cpu_seconds": cpu,  # what a core that nobody else uses would take
        "seconds_to_generate": end - begun - spent,
        "pnmi": figures["pnmi"],
    }


def utterances(hours: float, clusters: int) -> Iterator[tuple[str, list[AlignmentItem], np.ndarray]]:
    """(speaker, phones, units): each phone has a few units of its own, and some frames any unit."""
    phones = [phone for group in PHONE_CLASSES.values() for phone in group]
    random, left = generator(0, "benchmark metrics"), round(hours * 3600 / artifacts.FRAME_SHIFT_IN_S)
    while left > 0:
        count = int(random.integers(*PHONES_AN_UTTERANCE))
        lengths, which = random.integers(*FRAMES_A_PHONE, count), random.integers(0, len(phones), count)
        units = (np.repeat(which, lengths) * clusters) // len(phones) + random.integers(0, 3, lengths.sum())
        units = np.where(random.random(len(units)) < NOISE, random.integers(0, clusters, len(units)), units % clusters)
        ends = np.cumsum(lengths) * artifacts.FRAME_SHIFT_IN_S
        spans = zip(which.tolist(), ends.tolist(), (lengths * artifacts.FRAME_SHIFT_IN_S).tolist(), strict=True)
        alignment = [AlignmentItem(phones[phone], end - length, length) for phone, end, length in spans]
        yield f"speaker{random.integers(SPEAKERS)}", alignment, units[:left].astype(np.int32)
        left -= len(units)
