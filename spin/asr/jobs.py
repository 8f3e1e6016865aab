"""Trainings and decodings as a list of jobs: over --nj processes on a CPU, or over all GPUs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

import torch

from spin.config import Config
from spin.runtime.devices import resolve_device
from spin.runtime.workers import map_jobs

SHARED_GPU_BYTES = 16e9  # a GPU with this much memory runs two trainings at a time: LSTM steps fill only a fraction of it


def run_jobs(config: Config, function: Callable, jobs: Sequence, per_gpu: int) -> Iterator:
    """Yields function(job) for each job, in order.

    Args:
        function: importable function of one picklable job.
        jobs: the work.
        per_gpu: number of jobs that one GPU runs at a time, if it has SHARED_GPU_BYTES; otherwise one.
    """
    if resolve_device(config.runtime.device).type == "cpu":
        return map_jobs(function, jobs, min(config.runtime.nj, len(jobs)))
    gpus = visible_gpus(config)
    share = per_gpu if torch.cuda.get_device_properties(0).total_memory >= SHARED_GPU_BYTES else 1
    processes = min(len(gpus) * share, len(jobs))
    environments = [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus] if processes > 1 else ()
    return map_jobs(function, jobs, processes, environments=environments)


def visible_gpus(config: Config) -> list[str]:
    """Identifiers of the GPUs that this run may use, at most runtime.gpus."""
    count = torch.cuda.device_count()
    listed = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    names = [name.strip() for name in listed if name.strip()] or [str(number) for number in range(count)]
    return names[: max(1, min(count, config.runtime.gpus))]
