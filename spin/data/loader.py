"""Batches of views: the crops of a plan, read and transformed by loader processes, which prefetch for a training.

Legend: B utterances of a micro-batch, V views (2 for Spin), S samples of its longest one, T encoder frames of its longest one.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from spin import artifacts
from spin.config import Config
from spin.data.audio import UnreadableAudio, read_audio
from spin.data.crops import Crop, TrainingCuts
from spin.data.sampler import BatchPlan, BatchSampler
from spin.data.views import RngKey, View
from spin.errors import SpinError
from spin.objectives import NO_LABEL
from spin.runtime import distributed

PREFETCHED_BATCHES = 2  # per worker


@dataclass
class MicroBatch:
    """One forward pass."""

    waveforms: Tensor  # (V * B, S) float32, view 1 of each utterance, then view 2 of each; zeros beyond an utterance's end
    lengths: Tensor  # (V * B,) int64 samples; all views of an utterance are equally long
    labels: Tensor | None = None  # (B, T) int64, shared by the views, NO_LABEL where there is none; None: no labels are used

    def pin_memory(self) -> MicroBatch:
        """Pins what goes to the GPU; the lengths are used on the CPU."""
        labels = None if self.labels is None else self.labels.pin_memory()
        return MicroBatch(self.waveforms.pin_memory(), self.lengths, labels)


@dataclass
class Batch:
    """One rank's share of one update: a BatchPlan that was read."""

    epoch: int
    index: int
    micro_batches: list[MicroBatch | None] = field(default_factory=list)  # None where this rank has no utterance
    ids: list[str] = field(default_factory=list)  # utterances of all micro-batches
    seconds: float = 0.0  # audio of one view
    unchanged: list[str] = field(default_factory=list)  # ids without a voiced frame, whose perturbed view is equalised only
    unreadable: list[tuple[str, str]] = field(default_factory=list)  # ids with the reason why they could not be read

    def pin_memory(self) -> Batch:
        """Called by torch's DataLoader."""
        self.micro_batches = [micro_batch and micro_batch.pin_memory() for micro_batch in self.micro_batches]
        return self


class ViewDataset(Dataset):
    """BatchPlan -> Batch; reads and transforms in whichever process asks.

    Args:
        views: the transforms of each view (spin.data.views.make_views).
        seed: random seed of the transforms.
    """

    def __init__(self, views: Sequence[View], seed: int):
        self.views, self.seed = tuple(views), seed

    def __getitem__(self, plan: BatchPlan) -> Batch | SpinError:
        """A SpinError is returned, not raised: torch rebuilds exceptions of workers from their text alone."""
        batch = Batch(plan.epoch, plan.index)
        try:
            for crops in plan.micro_batches:
                items = [item for item in (self._read(crop, batch) for crop in crops) if item is not None]
                batch.micro_batches.append(collate(*zip(*items, strict=True)) if items else None)
        except SpinError as error:
            return error
        return batch

    def _read(self, crop: Crop, batch: Batch) -> tuple[list[np.ndarray], np.ndarray | None] | None:
        """(views, labels) of a crop; None when it cannot be read."""
        cut, changed = crop.cut(), True
        try:
            audio, views = read_audio(cut), []
            for number, transforms in enumerate(self.views):
                waveform = audio
                for transform in transforms:
                    waveform, changes = transform(waveform, cut, RngKey(self.seed, batch.epoch, cut.id, number))
                    changed = changed and changes
                views.append(waveform)
        except UnreadableAudio as error:
            batch.unreadable.append((cut.id, error.reason))
            return None
        batch.ids.append(cut.id)
        batch.seconds += len(audio) / artifacts.SAMPLE_RATE
        if not changed:
            batch.unchanged.append(cut.id)
        return views, (cut.custom or {}).get(artifacts.LABELS_FIELD)


def collate(views: Sequence[Sequence[np.ndarray]], labels: Sequence[np.ndarray | None]) -> MicroBatch:
    """Pads B utterances, each with V views (samples,) and with frame labels (frames,) or none at all.

    Raises:
        ValueError: views of an utterance differ in length (a defect of a transform).
    """
    rows = [view for side in zip(*views, strict=True) for view in side]
    lengths = torch.tensor([len(row) for row in rows])
    if not (lengths.reshape(-1, len(views)) == lengths[: len(views)]).all():
        raise ValueError(f"views of unequal length: {lengths.tolist()}")
    return MicroBatch(pad(rows, 0.0, np.float32), lengths, None if labels[0] is None else pad(labels, NO_LABEL, np.int64))


def pad(rows: Sequence[np.ndarray], value: float, kind: type) -> Tensor:
    """(rows, longest) tensor of NumPy type `kind`, filled up with `value` at the end of each row."""
    padded = np.full((len(rows), max(map(len, rows))), value, dtype=kind)
    for target, row in zip(padded, rows):
        target[: len(row)] = row
    return torch.from_numpy(padded)


def make_loaders(
    config: Config, cuts: TrainingCuts, views: Sequence[View], device: torch.device
) -> Callable[[int, int], BatchLoader]:
    """A function (epoch, index) -> loader of this rank's share of the batches of stage 2 from there on, without end."""
    settings, dataset = config.spin, ViewDataset(views, config.seed)

    def start(epoch: int, index: int) -> BatchLoader:
        sampler = BatchSampler(
            cuts,
            settings.batch_seconds,
            config.seed,
            accumulation=settings.accumulation,
            rank=distributed.rank(),
            world_size=distributed.world_size(),
            epoch=epoch,
            index=index,
        )
        return BatchLoader(dataset, sampler, settings.workers, device)

    return start


class BatchLoader:
    """Batches in the sampler's order, read and transformed by `workers` processes (0: in this one).

    Attributes:
        waited: seconds that the training has waited for data so far.
    """

    def __init__(self, dataset: ViewDataset, sampler: BatchSampler, workers: int, device: torch.device):
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
