"""Smoothed, deduplicated and fewer units: the metrics of the variants of an experiment's units, side by side.

python -m spin unit-variants --exp exp/mini --system baseline spin --smooth 3 5 7 --merge 2 4 --part test

Raw units are one symbol per frame. Deduplicated ones are one symbol per run of equal units: fewer symbols and bits, the same
frames, so the same PNMI, ABX and boundaries. All other variants are deduplicated too. Smoothing is a majority filter. Merging
leaves K / 2 or K / 4 units: k-means of the codes' centroids, which are the mean features of each code's frames in the parts that
Spin trains on. Only products of stage 3 are read.
"""

import argparse
import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from spin import artifacts
from spin.config_io import load_config
from spin.runtime.logs import get_logger
from spin.units.measure import EvaluationSet, Utterance, measure, read_utterances
from spin.units.metrics import find_metric
from spin.units.units import find_units, smooth

RATE, BITS, ENTROPY, SHARE = "segments_per_second", "bitrate", "unit_entropy", "deduplicated_share"
SHOWN = ("pnmi", "abx_units_within", "abx_units_across", "boundary_over_segmentation", "boundary_f1", "boundary_r_value")


def find_centroids(utterances: Iterable[Utterance], codebook_size: int) -> tuple[np.ndarray, np.ndarray]:
    """(K, D) mean features of the frames of each code, those of all frames for a code without any, and (K,) frames."""
    sums, frames = 0.0, np.zeros(codebook_size)
    for utterance in utterances:
        one_hot = np.eye(codebook_size)[utterance.untruncated_units]
        sums, frames = sums + one_hot.T @ utterance.load_features(), frames + one_hot.sum(0)
    means = sums / np.maximum(frames, 1)[:, None]
    return np.where(frames[:, None] > 0, means, sums.sum(0) / frames.sum()), frames


def merge_codes(centroids: np.ndarray, frames: np.ndarray, count: int, seed: int) -> np.ndarray:
    """(K,) new unit, 0 to count - 1, of each code: k-means of the centroids, weighted by frames."""
    clusters = min(count, np.count_nonzero(frames))
    with threadpool_limits(limits=1):  # sums over threads round differently
        return KMeans(clusters, n_init=10, random_state=seed % 2**32).fit(centroids, sample_weight=frames).labels_


def measure_variants(
    exp: Path, system: str, parts: Sequence[str], widths: Sequence[int], divisors: Sequence[int]
) -> Iterator[tuple[str, int, dict[str, float | None]]]:
    """(name, K, metrics by name) of each variant of one system's units; None is what could not be measured."""
    config = load_config(artifacts.config_file(exp))
    _, size = find_units(exp, system, parts)
    variants: list[tuple[str, int, Callable]] = [("deduplicated", size, np.asarray)]
    variants += [(f"smoothed over {width} frames", size, partial(smooth, width=width)) for width in widths]
    if divisors:
        centroids, frames = find_centroids(_read(exp, system, config.corpus.spin_train), size)
    for divisor in divisors:
        count = max(1, size // divisor)
        variants.append((f"merged to K / {divisor}", count, merge_codes(centroids, frames, count, config.seed).__getitem__))
    names = [find_metric(name) for name in (RATE, BITS, ENTROPY, SHARE, *SHOWN)]
    for name, count, change in variants:
        read = partial(_read, exp, system, parts, config.units.metrics_first_seconds, change)
        metrics, _ = measure(EvaluationSet(count, config.seed, config.runtime.nj, config.units.abx_max_utterances, read), names)
        if name == "deduplicated":
            rate = metrics[RATE] / metrics[SHARE]  # of frames
            yield "raw", size, metrics | {RATE: rate, BITS: rate * metrics[ENTROPY]}
        yield name, count, metrics


def _read(
    exp: Path, system: str, parts: Iterable[str], first_seconds: float = 0.0, change: Callable | None = None
) -> Iterator[Utterance]:
    """Utterances with what `change` makes of their (T,) units, without features; None: as stored."""
    folders = [(artifacts.features_folder(exp, system, part), artifacts.units_folder(exp, system, part)) for part in parts]
    for utterance in read_utterances(folders, first_seconds):
        if change is not None:
            units = change(utterance.untruncated_units)
            scored = units[: len(utterance.units)]
            utterance = dataclasses.replace(utterance, units=scored, untruncated_units=units, load_features=None)
        yield utterance


def main(argv: list[str] | None = None) -> None:
    """Prints a table in Markdown; raises SpinError for missing units."""
    description = __doc__.split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m spin unit-variants", description=description, allow_abbrev=False)
    parser.add_argument("--exp", required=True, type=Path, help="an experiment whose stage 3 is finished")
    parser.add_argument("--system", nargs="+", default=[artifacts.SPIN], help="systems to compare (default: spin)")
    parser.add_argument("--part", nargs="+", help="parts to measure, together (default: the test parts)")
    parser.add_argument("--smooth", nargs="*", type=int, default=[3, 5, 7], help="frames of the majority filter, odd (3 5 7)")
    parser.add_argument("--merge", nargs="*", type=int, default=[2, 4], help="divisors of the codebook size (2 4)")
    arguments = parser.parse_args(argv)
    if any(width < 1 or width % 2 == 0 for width in arguments.smooth) or any(divisor < 1 for divisor in arguments.merge):
        parser.error("--smooth: expected odd numbers from 1 on; --merge: numbers from 1 on")
    get_logger("units").setLevel(logging.WARNING)  # standard output is for the table
    parts = arguments.part or load_config(artifacts.config_file(arguments.exp)).corpus.test
    columns = [find_metric(name) for name in (RATE, BITS, *SHOWN)]
    print("| system | units | K |", " | ".join(metric.title for metric in columns), "|")
    print("|---|---|" + "---:|" * (1 + len(columns)))
    for system in arguments.system:
        for name, size, metrics in measure_variants(arguments.exp, system, parts, arguments.smooth, arguments.merge):
            numbers = [metric.show(metrics[metric.name]) for metric in columns]
            print(f"| {system} | {name} | {size} |", " | ".join(numbers), "|")
