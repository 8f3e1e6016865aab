"""Loader processes that keep ahead of the training, and the clock that says whether they do."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader

from spin.data.pair_sampler import PairSampler
from spin.data.pairs import PairBatch, PairDataset
from spin.errors import SpinError

PREFETCHED_BATCHES = 4  # of each worker


class PairLoader:
    """Batches in the sampler's order, read and perturbed by `workers` processes (0: in this one).

    Attributes:
        waited: seconds that the training has waited for data so far.
    """

    def __init__(self, dataset: PairDataset, sampler: PairSampler, workers: int, device: torch.device):
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

    def __iter__(self) -> Iterator[PairBatch]:
        """Raises the SpinError that a worker met."""
        # Blocked before the workers are forked: torch starts threads there before _start_worker runs, and a signal that finds one
        # thread open to it ends the process.
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


def _start_worker(worker: int) -> None:
    """One thread, and deaf to stops that are meant for the training.

    Ctrl-C and a scheduler's SIGTERM reach every process of a job; the training finishes its step, then ends its workers itself.
    """
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()


def _end_with_parent(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
