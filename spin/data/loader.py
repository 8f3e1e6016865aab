"""Loader processes that prefetch batches for a training, and the clock that says whether they keep up."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from spin import artifacts
from spin.data.dataset import Batch, ViewDataset
from spin.data.sampler import BatchSampler
from spin.errors import ResourceError, SpinError

PREFETCHED_BATCHES = 2  # per worker
SHARED_MEMORY = Path("/dev/shm")


class BatchLoader:
    """Batches in the sampler's order, read and transformed by `workers` processes (0: in this one).

    Attributes:
        waited: seconds that the training has waited for data so far.

    Raises:
        ResourceError: the shared memory of this machine or container is too small for the prefetched batches.
    """

    def __init__(self, dataset: ViewDataset, sampler: BatchSampler, workers: int, device: torch.device):
        check_shared_memory(workers * PREFETCHED_BATCHES * _batch_bytes(sampler, len(dataset.views)))
        self.waited = 0.0
        self._loader = DataLoader(
            dataset,
            sampler=sampler,
            batch_size=None,
            num_workers=workers,
            # fork: compiled code and imports are shared, and a worker starts at once; it uses neither CUDA nor threads.
            multiprocessing_context="fork" if workers else None,
            prefetch_factor=PREFETCHED_BATCHES if workers else None,
            pin_memory=device.type == "cuda",
            worker_init_fn=_start_worker,
        )

    def __iter__(self) -> Iterator[Batch]:
        """Raises the SpinError that a worker met."""
        # SIGTERM is blocked before the workers are forked: torch starts threads there before _start_worker runs, and the signal
        # would end the process through a thread that does not block it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            batches = iter(self._loader)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        while True:
            begun = time.monotonic()
            batch = next(batches)
            self.waited += time.monotonic() - begun
            if isinstance(batch, SpinError):
                raise batch
            yield batch


def _batch_bytes(sampler: BatchSampler, views: int) -> int:
    seconds = sampler.batch_seconds / sampler.world_size
    return int(views * seconds * artifacts.SAMPLE_RATE * torch.float32.itemsize)


def check_shared_memory(needed: int, folder: Path = SHARED_MEMORY) -> None:
    """Raises ResourceError where `folder` has fewer than `needed` bytes free; Docker's default is 64 MB, and torch dies of it."""
    if needed == 0 or not folder.is_dir():
        return
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ResourceError(
            str(folder),
            found=f"{free / 1e6:.0f} MB of shared memory",
            expected=f"{needed / 1e6:.0f} MB for the batches that loader workers prefetch",
            cause="a container with Docker's default shared memory",
            remedy="start the container with --shm-size=8g or --ipc=host, or rerun with --set spin.workers=0",
        )


def _start_worker(worker: int) -> None:
    """One thread, and no reaction to stop signals that are meant for the training.

    Ctrl-C and a scheduler's SIGTERM reach every process of a job; the training finishes its step, then ends its workers itself.
    """
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()


def _end_with_parent(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
