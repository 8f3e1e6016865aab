"""Recognisers; their trainings and decodings as jobs, over --nj processes on a CPU or over all GPUs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from lhotse import CutSet

from spin import products
from spin.asr.batches import open_cuts
from spin.asr.inputs import FeatureStatistics, UnitInventory
from spin.config import Config
from spin.runtime.context import Context
from spin.runtime.devices import prepare_cpu, resolve_device
from spin.runtime.product import Product
from spin.runtime.workers import map_jobs
from spin.systems import System

SHARED_GPU_BYTES = 16e9  # a GPU with this much memory runs two trainings at a time: LSTM steps fill only a fraction of it
THREADS = 1  # of torch in each training and decoding, so that the bits do not depend on --nj


@dataclass(frozen=True)
class Recogniser:
    """One recogniser; `source` is features or units."""

    context: Context
    system: System
    source: str
    seed: int

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.system.name}, {self.source}, seed {self.seed}"

    @property
    def identity(self) -> tuple[Context, System, str, int]:
        """The arguments that name it in spin/products.py."""
        return self.context, self.system, self.source, self.seed

    @property
    def product(self) -> Product:
        """The product of stage 4."""
        return products.recogniser(*self.identity)

    def cuts(self, parts: Iterable[str]) -> CutSet:
        """The cuts of some parts, with what the recogniser reads."""
        return open_cuts(self.context.exp, self.system.name, self.source, parts)


@dataclass(frozen=True)
class TrainingData:
    """Training data of one system and source.

    Attributes:
        inputs: statistics of the training features, or inventory of the training units.
        left_out: ids of utterances that no training uses.
        train_count, valid_count: number of utterances that remain.
    """

    inputs: FeatureStatistics | UnitInventory
    left_out: frozenset[str]
    train_count: int
    valid_count: int


@dataclass(frozen=True)
class TrainJob(Recogniser):
    """A recogniser with its training data."""

    data: TrainingData


def run_jobs(config: Config, function: Callable, jobs: Sequence, per_gpu: int) -> Iterator:
    """Yields function(job) for each job, in order; a GPU with SHARED_GPU_BYTES runs `per_gpu` jobs at a time, another one."""
    if resolve_device(config.runtime.device).type == "cpu":
        return map_jobs(function, jobs, min(config.runtime.nj, len(jobs)))
    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").replace(" ", "").strip(",").split(",")
    names = visible if visible[0] else [str(number) for number in range(count)]
    gpus = names[: max(1, min(count, config.runtime.gpus))]
    share = per_gpu if torch.cuda.get_device_properties(0).total_memory >= SHARED_GPU_BYTES else 1
    processes = min(len(gpus) * share, len(jobs))
    environments = [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus] if processes > 1 else ()
    return map_jobs(function, jobs, processes, environments=environments)


@contextlib.contextmanager
def fixed_threads() -> Iterator[None]:
    """Runs a job with THREADS threads of torch."""
    threads = torch.get_num_threads()
    prepare_cpu(THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
