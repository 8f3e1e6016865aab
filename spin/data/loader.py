"""Views of utterances, and their batches, which loader processes read, transform and prefetch for a training.

A view is a list of transforms, such as [] or ["perturb", "noise"]. To add one, write a class and add one line to TRANSFORMS.

Legend: B utterances of a micro-batch, V views (2 for Spin), S samples of its longest one, T encoder frames of its longest one.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from lhotse import MonoCut
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from spin import artifacts
from spin.config import Config
from spin.data import audio
from spin.data.plan import BatchPlan, BatchSampler, TrainingCuts
from spin.errors import SpinError
from spin.objectives import NO_LABEL
from spin.perturbation.analysis_io import load_analysis
from spin.perturbation.perturb import draw_parameters, synthesise
from spin.runtime import distributed, seeding

PREFETCHED_BATCHES = 2  # per worker

# (waveform (S,) float32, its cropped cut, keys that seed its draws) -> waveform (S,) float32
Transform = Callable[[np.ndarray, MonoCut, tuple[int | str, ...]], np.ndarray]
View = tuple[Transform, ...]


class Perturb:
    """Another voice: speaker perturbation with the pitch analysis that stage 1 stored."""

    def __init__(self, config: Config, corpus: Path):
        self.config = config.perturbation

    def __call__(self, waveform: np.ndarray, cut: MonoCut, keys: tuple[int | str, ...]) -> np.ndarray:
        """See Transform; without a voice only the equaliser applies. Raises DataError where stage 1 has no analysis of it."""
        rate = cut.sampling_rate
        analysis = load_analysis(cut).crop(round(cut.start * rate), len(waveform))
        return synthesise(waveform, rate, analysis, draw_parameters(*keys, config=self.config))


class AddNoise:
    """Noise at an SNR uniform in the configured range (R-Spin, section 3.1).

    It comes from the noise corpus where one is configured. Otherwise it is coloured noise or babble of other speakers of
    spin_train, each half the time.
    """

    def __init__(self, config: Config, corpus: Path):
        self.snr_range = config.noise.min_snr_in_db, config.noise.max_snr_in_db
        if config.noise.manifests:
            self.pool, self.kinds = audio.read_pool(config.noise.manifests, audio.CORPUS), (audio.CORPUS,)
            return
        self.pool = audio.read_pool((artifacts.cuts(corpus, part) for part in config.corpus.spin_train), audio.BABBLE)
        speakers = {audio.speaker_of(cut) for cut in self.pool} - {None}
        self.kinds = (audio.COLOURED, audio.BABBLE) if len(speakers) > 1 else (audio.COLOURED,)

    def __call__(self, waveform: np.ndarray, cut: MonoCut, keys: tuple[int | str, ...]) -> np.ndarray:
        """See Transform; raises UnreadableAudio for a recording of the noise."""
        rng = seeding.generator("noise", *keys)
        kind = self.kinds[int(rng.integers(len(self.kinds)))]
        noise = audio.draw_noise(rng, kind, rng.uniform(*self.snr_range), self.pool, audio.speaker_of(cut))
        return audio.add_noise(waveform, noise)


TRANSFORMS: dict[str, Callable[[Config, Path], Transform]] = {"perturb": Perturb, "noise": AddNoise}


def make_views(names: Sequence[Sequence[str]], config: Config, corpus: Path) -> tuple[View, ...]:
    """The transforms of views, given by their `names`; raises DataError for a manifest of noise that cannot be used."""
    used = sorted(set(itertools.chain.from_iterable(names)))
    transforms = {name: TRANSFORMS[name](config, corpus) for name in used}
    return tuple(tuple(transforms[name] for name in view) for view in names)


class MicroBatch(NamedTuple):
    """One forward pass."""

    waveforms: Tensor  # (V * B, S) float32, view 1 of each utterance, then view 2 of each; zeros beyond an utterance's end
    lengths: Tensor  # (V * B,) int64 samples, on the CPU; all views of an utterance are equally long
    labels: Tensor | None = None  # (B, T) int64, shared by the views, NO_LABEL where there is none; None: no labels are used


class Batch(NamedTuple):
    """One rank's share of one update: a BatchPlan that was read."""

    epoch: int
    index: int
    micro_batches: Sequence[MicroBatch | None] = ()  # None where this rank has no utterance
    ids: Sequence[str] = ()  # utterances of all micro-batches
    seconds: float = 0.0  # audio of one view
    unreadable: dict[str, str] = {}  # id -> reason why it could not be read


def make_loader(config: Config, cuts: TrainingCuts, views: Sequence[View], device: torch.device) -> BatchLoader:
    """The loader of this rank's share of the batches of stage 2."""
    sampler = BatchSampler(cuts, config.seed, distributed.rank(), distributed.world_size())
    return BatchLoader(views, sampler, config.seed, config.spin.workers, device)


class BatchLoader(Dataset):
    """Batches in the sampler's order, read and transformed by `workers` processes (0: in this one)."""

    def __init__(self, views: Sequence[View], sampler: BatchSampler, seed: int, workers: int, device: torch.device):
        self.views, self.sampler, self.seed, self.workers, self.device = views, sampler, seed, workers, device
        self.waited = 0.0  # seconds that the training has waited for data so far

    def batches(self, epoch: int = 0, index: int = 0) -> Iterator[Batch]:
        """Batches from this one on, without end; raises the SpinError that a worker met."""
        self.sampler.start = epoch, index
        loader = DataLoader(
            self,
            sampler=self.sampler,
            batch_size=None,
            num_workers=self.workers,
            # fork: compiled code and imports are shared, and a worker starts at once; it uses neither CUDA nor threads.
            multiprocessing_context="fork" if self.workers else None,
            prefetch_factor=PREFETCHED_BATCHES if self.workers else None,
            pin_memory=self.device.type == "cuda",
            worker_init_fn=_start_worker,
        )
        # SIGTERM is blocked before the workers are forked: torch starts threads there before _start_worker runs, and the signal
        # would end the process through a thread that does not block it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            batches = iter(loader)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        while True:
            begun = time.monotonic()
            batch = next(batches)
            self.waited += time.monotonic() - begun
            if isinstance(batch, SpinError):
                raise batch
            yield batch

    def __getitem__(self, plan: BatchPlan) -> Batch | SpinError:
        """Reads a plan. A SpinError is returned, not raised: torch rebuilds exceptions of workers from their text alone."""
        micro_batches, ids, samples, unreadable = [], [], 0, {}
        for crops in plan.micro_batches:
            views, labels = [], []
            for crop in crops:
                cut = crop.cut()
                try:
                    views.append(self._read(cut, plan.epoch))
                except audio.UnreadableAudio as error:
                    unreadable[crop.id] = str(error)
                    continue
                except SpinError as error:
                    return error
                labels.append((cut.custom or {}).get(artifacts.LABELS_FIELD))
                ids.append(crop.id)
                samples += len(views[-1][0])
            micro_batches.append(collate(views, labels) if views else None)
        return Batch(plan.epoch, plan.index, micro_batches, ids, samples / artifacts.SAMPLE_RATE, unreadable)

    def _read(self, cut: MonoCut, epoch: int) -> list[np.ndarray]:
        recorded, views = audio.read_audio(cut), []
        for number, transforms in enumerate(self.views):
            # The second view adds nothing to the keys, so that the seeds of earlier runs stay good.
            keys = (self.seed, epoch, cut.id, *(() if number == 1 else (f"view {number}",)))
            waveform = recorded
            for transform in transforms:
                waveform = transform(waveform, cut, keys)
            views.append(waveform)
        return views


def collate(views: Sequence[Sequence[np.ndarray]], labels: Sequence[np.ndarray | None]) -> MicroBatch:
    """Pads B utterances, each with V views (samples,) of equal length and with frame labels (frames,) or none at all."""
    rows = [view for side in zip(*views, strict=True) for view in side]
    lengths = torch.tensor([len(row) for row in rows])
    if not (lengths.reshape(-1, len(views)) == lengths[: len(views)]).all():  # a defect of a transform
        raise ValueError(f"views of unequal length: {lengths.tolist()}")
    return MicroBatch(pad(rows, 0.0), lengths, None if labels[0] is None else pad(labels, NO_LABEL).long())


def pad(rows: Iterable[np.ndarray], value: float) -> Tensor:
    """(rows, longest) tensor, filled up with `value` at the end of each row."""
    return pad_sequence([torch.from_numpy(row) for row in rows], batch_first=True, padding_value=value)


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
