"""python -m spin benchmark spin: updates of Spin as stage 2 makes them, against the official way of working, in the same run.

Same machine, pairs, model (random weights) and loss. Both are fed by the same loader; what Praat's perturbation would cost the
loader's workers is measured by itself, where praat-parselmouth is installed.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from spin import artifacts
from spin.config import PerturbationConfig, SpinConfig
from spin.data.pair_cuts import PairCuts, scan_pair_cuts
from spin.data.pair_loader import PairLoader
from spin.data.pair_sampler import PairSampler
from spin.data.pairs import PairBatch, PairDataset
from spin.data.second_view import SecondView
from spin.models.encoder import TINY_SHAPE, Encoder, EncoderShape
from spin.models.spin_model import SpinModel
from spin.perturbation import benchmark as perturbation
from spin.perturbation.warm_up import warm_up
from spin.runtime.devices import device_name, prepare_cpu, resolve_device
from spin.runtime.logs import get_logger
from spin.runtime.seeding import seed_torch
from spin.training.benchmark_corpus import make_corpus
from spin.training.benchmark_reference import OfficialBatches, OfficialUpdater
from spin.training.flops import update_flops
from spin.training.spin_update import Updater, multiplies_bf16

SHAPES = {"hubert_base": EncoderShape(), "mini": TINY_SHAPE}
REFERENCE = (
    "padded batches fixed by length, masks in every layer, float16 autocast with a scaled loss (CPU: float32), "
    "Adam in single kernels, loss read back after every update"
)
PUBLISHED_UPDATES, PUBLISHED_SECONDS = 5000, 256.0
EPOCH_BATCHES = 6  # of different pairs; then they come again, perturbed anew
MIN_SAMPLES = 40_000


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Options of the command; what depends on the device is filled in."""
    parser = argparse.ArgumentParser(prog="python -m spin benchmark spin", description=__doc__, allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of text")
    parser.add_argument("--shape", default="hubert_base", choices=tuple(SHAPES), help="of the encoder, random weights")
    parser.add_argument("--codebook-size", type=int, default=256)
    parser.add_argument("--batch-seconds", type=float, help="audio of one view in an update; default: 256, on a CPU 32")
    parser.add_argument("--updates", type=int, help="that are timed, either way; default: 50, on a CPU 3")
    parser.add_argument("--warm-up", type=int, help="updates before; default: 10, on a CPU 1")
    parser.add_argument("--workers", type=int, help="of the loader; default: one a core, at most 16, on a CPU 1")
    parser.add_argument("--threads", type=int, default=1, help="of torch on a CPU")
    parser.add_argument("--compile", action="store_true", help="spin.speed_up: compile, for our way")
    parser.add_argument("--padded", action="store_true", help="spin.equal_lengths: false, for our way")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    arguments = parser.parse_args(argv)
    on_cpu = resolve_device(arguments.device).type == "cpu"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    defaults = {
        "batch_seconds": (256.0, 32.0),
        "updates": (50, 3),
        "warm_up": (10, 1),
        "workers": (min(16, cores), 1),
    }
    for name, values in defaults.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, values[on_cpu])
    for name, least in (
        ("batch_seconds", 4.0),
        ("updates", 1),
        ("warm_up", 0),
        ("workers", 0),
        ("threads", 1),
        ("codebook_size", 2),
    ):
        if getattr(arguments, name) < least:
            parser.error(f"--{name.replace('_', '-')}: found {getattr(arguments, name)}, expected {least} or more")
    return arguments


def main(argv: list[str] | None = None) -> None:
    """Prints the ratio of audio trained on per second, ours over the reference's, and what it was measured on."""
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    get_logger("benchmark")
    log = logging.getLogger("spin")
    level = log.level
    log.setLevel(logging.WARNING)  # standard output is for the result
    try:
        result = measure(arguments)
    finally:
        log.setLevel(level)
    print(json.dumps(result) if arguments.json else "\n".join(f"{key}: {value}" for key, value in result.items()))


def measure(arguments: argparse.Namespace) -> dict:
    """Makes the pairs, then times both ways; see main. `arguments` as of parse_arguments."""
    device = resolve_device(arguments.device)
    if device.type == "cpu":
        prepare_cpu(arguments.threads)
    warm_up()
    settings = SpinConfig(
        codebook_size=arguments.codebook_size,
        batch_seconds=arguments.batch_seconds,
        min_samples=MIN_SAMPLES,
        equal_lengths=not arguments.padded,
        speed_up="compile" if arguments.compile else "none",
        max_steps=arguments.warm_up + arguments.updates,
        warmup_steps=1,
    )
    with tempfile.TemporaryDirectory() as folder:
        manifest = make_corpus(Path(folder), EPOCH_BATCHES * arguments.batch_seconds, max(1, arguments.workers))
        own = _own(arguments, settings, manifest, device)
        reference = _reference(arguments, settings, manifest, device)
    product = matrix_product(device)
    for way in (own, reference):
        way["share_of_matrix_product"] = way["tflops"] / product["tflops"]
    return {
        "ratio": own["audio_hours_per_second"] / reference["audio_hours_per_second"],
        "own": own,
        "reference": {"way": REFERENCE, **reference},
        "matrix_product": product,
        "perturbation": _perturbation(own),
        "shape": arguments.shape,
        "codebook_size": arguments.codebook_size,
        "batch_seconds": arguments.batch_seconds,
        "updates": arguments.updates,
        "workers": arguments.workers,
        "threads": torch.get_num_threads(),
        "device": device_name(device),
        "torch": torch.__version__,
    }


def _model(arguments: argparse.Namespace, settings: SpinConfig, device: torch.device) -> SpinModel:
    seed_torch(0, "benchmark spin")
    shape = SHAPES[arguments.shape]
    model = SpinModel.create(Encoder(shape), shape.layers, settings.codebook_size, settings.codebook_dim, seed=0)
    return model.set_trainable(settings.trainable_layers).to(device).train()


def _scan(manifest: Path, settings: SpinConfig, equal_lengths: bool) -> PairCuts:
    return scan_pair_cuts(
        [manifest],
        min_samples=settings.min_samples,
        max_samples=settings.max_samples,
        batch_seconds=settings.batch_seconds,
        equal_lengths=equal_lengths,
    )


def _own(arguments: argparse.Namespace, settings: SpinConfig, manifest: Path, device: torch.device) -> dict:
    cuts = _scan(manifest, settings, settings.equal_lengths)
    updater = Updater(_model(arguments, settings, device), settings)
    loader = _loader(PairSampler(cuts, settings.batch_seconds, seed=0), arguments, device)
    found = _timed(loader, lambda batch, step: updater.update(batch.parts, step), arguments, settings, device)
    precision = "bfloat16" if multiplies_bf16(device) else "float32"
    return {**found, "precision": precision, "equal_lengths": settings.equal_lengths, "compiled": arguments.compile}


def _reference(arguments: argparse.Namespace, settings: SpinConfig, manifest: Path, device: torch.device) -> dict:
    settings = replace(settings, speed_up="none")
    updater = OfficialUpdater(_model(arguments, settings, device), settings)
    batches = OfficialBatches(_scan(manifest, settings, equal_lengths=False), settings.batch_seconds, seed=0)
    loader = _loader(batches, arguments, device)
    found = _timed(loader, lambda batch, step: updater.update(batch.parts[0]), arguments, settings, device)
    return {**found, "precision": updater.precision}


def _loader(batches, arguments: argparse.Namespace, device: torch.device) -> PairLoader:
    return PairLoader(PairDataset(SecondView(0, PerturbationConfig())), batches, arguments.workers, device)


def _timed(loader: PairLoader, update, arguments: argparse.Namespace, settings: SpinConfig, device: torch.device) -> dict:
    """Runs warm-up and timed updates; audio is that of view 1, as in the published figures."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    batches: Iterator[PairBatch] = iter(loader)
    for step in range(arguments.warm_up):
        update(next(batches), step)
    _finish(device)
    waited, begun = loader.waited, time.perf_counter()
    seconds = padded = flops = 0
    for step in range(arguments.warm_up, arguments.warm_up + arguments.updates):
        batch = next(batches)
        update(batch, step)
        seconds += batch.seconds
        part = batch.parts[0]
        padded += part.waveforms.numel() / 2 / artifacts.SAMPLE_RATE
        flops += _flops(arguments, settings, part.lengths.tolist())
    _finish(device)
    spent = time.perf_counter() - begun
    found = {
        "seconds_an_update": spent / arguments.updates,
        "audio_seconds_an_update": seconds / arguments.updates,
        "audio_hours_per_second": seconds / 3600 / spent,
        "waiting_for_data": (loader.waited - waited) / spent,
        "padding": 1 - seconds / padded,
        "tflops": flops / spent / 1e12,
    }
    if settings.batch_seconds == PUBLISHED_SECONDS:
        found["minutes_for_the_published_audio"] = PUBLISHED_UPDATES * PUBLISHED_SECONDS * spent / seconds / 60
    if device.type == "cuda":
        found["peak_gigabytes"] = torch.cuda.max_memory_allocated(device) / 1e9
    return found


def _flops(arguments: argparse.Namespace, settings: SpinConfig, lengths: list[int]) -> int:
    """Of what is needed: padding is work, but none that counts."""
    shape = SHAPES[arguments.shape]
    return update_flops(shape, lengths, shape.layers, settings.trainable_layers, settings.codebook_size, settings.codebook_dim)


def matrix_product(device: torch.device, repeats: int = 10) -> dict:
    """What the device reaches on one large bfloat16 product of square matrices, the best of `repeats`."""
    size = 8192 if device.type == "cuda" else 2048
    left, right = (torch.randn(size, size, device=device).to(torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(repeats):
        _finish(device)
        begun = time.perf_counter()
        left @ right
        _finish(device)
        best = min(best, time.perf_counter() - begun)
    return {"size": size, "dtype": "bfloat16", "tflops": 2 * size**3 / best / 1e12}


def _perturbation(own: dict) -> dict:
    """CPU time of the perturbation, ours and Praat's, and the cores that either needs to keep up with the updates just timed."""
    found = perturbation.measure(perturbation.load([], 4), repeats=1)
    praat = None
    if found["praat_synthesis"] is not None:
        praat = found["praat_analysis"] + found["praat_synthesis"]
    trained = own["audio_seconds_an_update"] / own["seconds_an_update"] / 1e3
    return {
        "unit": found["unit"],
        "own": found["synthesis"],
        "praat": praat,
        "ratio": found["ratio"],
        "cores_needed": found["synthesis"] * trained,
        "cores_needed_praat": None if praat is None else praat * trained,
    }


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
