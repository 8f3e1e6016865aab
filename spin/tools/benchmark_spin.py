"""python -m spin benchmark spin: updates as stage 2 makes them against the official way of working, in the same run.

Same machine, audio, model (random weights), loss and loader. Each side is timed on batches spread evenly over the lengths of an
epoch, so that both train on the same mixture. The cost of Praat's perturbation in the loader is measured by itself, where
praat-parselmouth is installed.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from spin import artifacts
from spin.config import Config, EncoderConfig, SpinConfig
from spin.data.crops import Crop, TrainingCuts, scan_training_cuts
from spin.data.dataset import Batch, ViewDataset
from spin.data.loader import BatchLoader
from spin.data.sampler import BatchPlan, BatchSampler
from spin.data.views import make_views
from spin.models.architecture import TINY_SHAPE, EncoderShape
from spin.models.encoder import Encoder
from spin.objectives.model import SpinModel
from spin.objectives.spin import Spin
from spin.perturbation.perturb import compile_kernels
from spin.runtime.devices import device_name, prepare_cpu, resolve_device
from spin.runtime.logs import get_logger
from spin.runtime.seeding import seed_torch
from spin.tools import benchmark_perturb
from spin.tools.benchmark_corpus import make_corpus
from spin.tools.benchmark_reference import OfficialUpdater, official_batches
from spin.training import grad_cache
from spin.training.precision import autocast_dtype, compile_encoder

SHAPES = {"hubert_base": EncoderShape(), "mini": TINY_SHAPE}
REFERENCE = (
    "padded batches fixed by length, masks in every layer, float16 autocast with a scaled loss (CPU: float32), "
    "Adam in single kernels, loss read back after every update"
)
PUBLISHED_UPDATES, PUBLISHED_SECONDS = 5000, 256.0
CORPUS_BATCHES = 8  # of different audio
# Each utterance comes this often in an epoch. Buckets of equal lengths need many batches per epoch. With few, all utterances
# share one bucket and are cut to its lower end, so that our side would train on shorter utterances than the reference.
REPEATS = 16
MIN_SAMPLES = 40_000
ON_GPU = {"batch_seconds": 256.0, "updates": 50, "warm_up": 10, "workers": 16}
ON_CPU = {"batch_seconds": 32.0, "updates": 5, "warm_up": 1, "workers": 1}
LEAST = {"batch_seconds": 20.0, "updates": 1, "warm_up": 0, "workers": 0, "threads": 1, "codebook_size": 2}


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Options of the command, with the defaults of the device."""
    parser = argparse.ArgumentParser(prog="python -m spin benchmark spin", description=__doc__, allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of text")
    parser.add_argument("--shape", default="hubert_base", choices=tuple(SHAPES), help="encoder, with random weights")
    parser.add_argument("--codebook-size", type=int, default=256)
    parser.add_argument("--batch-seconds", type=float, help="audio of one view in an update (default: 256, on a CPU 32)")
    parser.add_argument("--updates", type=int, help="timed updates of each side (default: 50, on a CPU 5)")
    parser.add_argument("--warm-up", type=int, help="updates before (default: 10, on a CPU 1)")
    parser.add_argument("--workers", type=int, help="loader processes (default: 16, on a CPU 1)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads on a CPU")
    parser.add_argument("--compile", action="store_true", help="spin.compile for our side")
    parser.add_argument("--padded", action="store_true", help="spin.equal_lengths: false for our side")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    arguments = parser.parse_args(argv)
    defaults = ON_CPU if resolve_device(arguments.device).type == "cpu" else ON_GPU
    for name, value in defaults.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    for name, least in LEAST.items():
        if getattr(arguments, name) < least:
            parser.error(f"--{name.replace('_', '-')}: found {getattr(arguments, name)}, expected {least} or more")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Prints the ratio of audio trained on per second, ours over the reference's, and its circumstances; returns 0."""
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
    return 0


def measure(arguments: argparse.Namespace) -> dict:
    """Makes the audio, then times both sides; see main. `arguments` as of parse_arguments."""
    device = resolve_device(arguments.device)
    if device.type == "cpu":
        prepare_cpu(arguments.threads)
    compile_kernels()
    settings = SpinConfig(
        codebook_size=arguments.codebook_size,
        batch_seconds=arguments.batch_seconds,
        min_samples=MIN_SAMPLES,
        equal_lengths=not arguments.padded,
        compile=arguments.compile,
    )
    with tempfile.TemporaryDirectory() as folder:
        manifest = make_corpus(Path(folder), CORPUS_BATCHES * arguments.batch_seconds, max(1, arguments.workers))
        own = _time_own(arguments, settings, manifest, device)
        reference = _time_reference(arguments, settings, manifest, device)
    return {
        "ratio": own["audio_hours_per_second"] / reference["audio_hours_per_second"],
        "own": own,
        "reference": {"way": REFERENCE, **reference},
        "perturbation": _perturbation(own),
        **{name: getattr(arguments, name) for name in ("shape", "codebook_size", "batch_seconds", "updates", "workers")},
        "threads": torch.get_num_threads(),
        "device": device_name(device),
        "torch": torch.__version__,
    }


def _make_model(arguments: argparse.Namespace, settings: SpinConfig, device: torch.device) -> SpinModel:
    seed_torch(0, "benchmark spin")
    shape = SHAPES[arguments.shape]
    config = Config(encoder=EncoderConfig(layer=shape.layers), spin=settings)
    model = SpinModel(Encoder(shape), Spin.create(config, shape.dim), shape.layers)
    return model.set_trainable(settings.trainable_layers).to(device).train()


def scan(manifest: Path, settings: SpinConfig, equal_lengths: bool) -> TrainingCuts:
    """The utterances of an epoch of either side."""
    lengths = {"min_samples": settings.min_samples, "max_samples": settings.max_samples}
    return scan_training_cuts([manifest] * REPEATS, **lengths, batch_seconds=settings.batch_seconds, equal_lengths=equal_lengths)


def _time_own(arguments: argparse.Namespace, settings: SpinConfig, manifest: Path, device: torch.device) -> dict:
    model = _make_model(arguments, settings, device)
    if settings.compile:
        compile_encoder(model.encoder)
    parameters = list(model.trainable_parameters().values())
    optimizer = torch.optim.Adam(parameters, lr=settings.learning_rate, fused=device.type == "cuda")
    dtype = autocast_dtype(settings.precision, device)

    def update(batch: Batch) -> None:
        optimizer.zero_grad(set_to_none=True)
        grad_cache.backward(model, batch.micro_batches, dtype)
        torch.nn.utils.clip_grad_norm_(parameters, settings.gradient_clip)
        optimizer.step()
        model.objective.after_step()

    batches = BatchSampler(scan(manifest, settings, settings.equal_lengths), settings.batch_seconds, seed=0).batches(0)
    timed = _time(_make_loader(list(batches), arguments, device), update, arguments, device)
    return {**timed, "precision": "bfloat16" if dtype else "float32", "equal_lengths": settings.equal_lengths}


def _time_reference(arguments: argparse.Namespace, settings: SpinConfig, manifest: Path, device: torch.device) -> dict:
    updater = OfficialUpdater(_make_model(arguments, settings, device), settings)
    batches = official_batches(scan(manifest, settings, equal_lengths=False), settings.batch_seconds)
    timed = _time(
        _make_loader(batches, arguments, device), lambda batch: updater.update(batch.micro_batches[0]), arguments, device
    )
    return {**timed, "precision": updater.precision}


class SpreadBatches:
    """BatchPlans for warm-up and timing, in turn from short to long utterances, each round spread evenly over all batches.

    Args:
        batches: those of an epoch.
        counts: number of batches of each round.
        batch_seconds: audio of one view in a batch.
    """

    world_size = 1

    def __init__(self, batches: list[list[Crop]], counts: Sequence[int], batch_seconds: float):
        self.batch_seconds = batch_seconds
        ordered = sorted(batches, key=lambda batch: sum(crop.duration for crop in batch) / len(batch))
        self.chosen = [ordered[int((number + 0.5) * len(ordered) / count)] for count in counts for number in range(count)]

    def __iter__(self) -> Iterator[BatchPlan]:
        for index, batch in enumerate(self.chosen):
            yield BatchPlan(0, index, (tuple(batch),))


def _make_loader(batches: list[list[Crop]], arguments: argparse.Namespace, device: torch.device) -> BatchLoader:
    plans = SpreadBatches(batches, (arguments.warm_up, arguments.updates), arguments.batch_seconds)
    return BatchLoader(ViewDataset(make_views(Spin.views, Config(), Path()), seed=0), plans, arguments.workers, device)


def _time(loader: BatchLoader, update, arguments: argparse.Namespace, device: torch.device) -> dict:
    """Runs warm-up and timed updates; audio is that of view 1, as in the published figures."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    batches: Iterator[Batch] = iter(loader)
    for _ in range(arguments.warm_up):
        update(next(batches))
    _finish(device)
    waited, begun = loader.waited, time.perf_counter()
    seconds = padded = utterances = 0
    for _ in range(arguments.updates):
        batch = next(batches)
        update(batch)
        seconds, utterances = seconds + batch.seconds, utterances + len(batch.ids)
        padded += sum(part.waveforms.numel() for part in batch.micro_batches) / 2 / artifacts.SAMPLE_RATE
    _finish(device)
    spent = time.perf_counter() - begun
    timed = {
        "seconds_per_update": spent / arguments.updates,
        "audio_seconds_per_update": seconds / arguments.updates,
        "audio_seconds_per_utterance": seconds / utterances,
        "audio_hours_per_second": seconds / 3600 / spent,
        "waiting_for_data": (loader.waited - waited) / spent,
        "padding": 1 - seconds / padded,
        "minutes_for_the_published_audio": PUBLISHED_UPDATES * PUBLISHED_SECONDS * spent / seconds / 60,
    }
    if device.type == "cuda":
        timed["peak_gigabytes"] = torch.cuda.max_memory_allocated(device) / 1e9
    return timed


def _perturbation(own: dict) -> dict:
    """CPU time of the perturbation, ours and Praat's, and the cores that either needs to keep up with the updates just timed."""
    measured = benchmark_perturb.measure(benchmark_perturb.load([], 4), repeats=1)
    praat = None
    if measured["praat_synthesis"] is not None:
        praat = measured["praat_analysis"] + measured["praat_synthesis"]
    speed = own["audio_seconds_per_update"] / own["seconds_per_update"] / 1e3
    return {
        "unit": measured["unit"],
        "own": measured["synthesis"],
        "praat": praat,
        "ratio": measured["ratio"],
        "cores_needed": measured["synthesis"] * speed,
        "cores_needed_praat": None if praat is None else praat * speed,
    }


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
