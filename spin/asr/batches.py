"""Batches of features or units with their texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.dataset import DynamicBucketingSampler

from spin import artifacts
from spin.data.cuts import read_cuts
from spin.errors import DataError
from spin.runtime import seeding

BUCKETS = 10
SMALL_SET = 200  # cuts; below this, one bucket per 20
NO_BOUNDARY = 1e9  # seconds: all cuts fall into the bucket below
MAX_SHUFFLE_SEED = 2**31
Transform = Callable[[str, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Batch:
    """Utterances in one tensor, the longest first.

    Attributes:
        ids: utterance ids.
        inputs: (B, T, D) float32, (B, T, L + 1, D) with every layer, or (B, T) int64 symbols of units; zero after each length.
        lengths: (B,) int64, frames (or symbols, where units are joined).
        texts: normalized transcripts.
        seconds: audio without padding.
    """

    ids: list[str]
    inputs: torch.Tensor
    lengths: torch.Tensor
    texts: list[str]
    seconds: float


class _Manifests:
    """The cuts of several manifests, one after the other, read lazily and again at each iteration."""

    def __init__(self, paths: tuple[Path, ...]):
        self.paths = paths

    def __iter__(self) -> Iterator[Cut]:
        for path in self.paths:
            yield from read_cuts(path)


def open_cuts(paths: Iterable[Path]) -> CutSet:
    """The cuts of some manifests, one after the other, read lazily.

    Raises:
        DataError: no manifest; while it is read: it is missing or damaged.
    """
    paths = tuple(paths)
    if not paths:
        raise DataError("configuration", found="no part", expected="parts in corpus.asr_train, corpus.valid and corpus.test")
    return CutSet(_Manifests(paths))


def frames_of(cut: Cut, field: str) -> int:
    """Number of stored frames, from the manifest alone.

    Raises:
        DataError: the cut lacks the field.
    """
    if not cut.has_custom(field):
        remedy = "./run.sh --stage 3 --stop-stage 3 with the same --conf, --set and --exp-dir"
        raise DataError(f"utterance {cut.id}", found=f"no field '{field}'", expected="an output of stage 3", remedy=remedy)
    return int(getattr(cut, field).shape[0])


def text_of(cut: Cut) -> str:
    """The transcript; empty when there is none."""
    return (cut.supervisions[0].text or "").strip() if cut.supervisions else ""


class _NoDataSource(torch.utils.data.Sampler):
    """A base class between lhotse's samplers and torch's: lhotse passes no data source, and torch 1.13 insists on one."""

    def __init__(self):
        pass


class BatchSampler(DynamicBucketingSampler, _NoDataSource):
    """lhotse's DynamicBucketingSampler, for torch 1.13 too."""


def sample_batches(cuts: CutSet, count: int, batch_seconds: float, seed: int | None) -> BatchSampler:
    """lhotse's sampler of batches of similar length; call set_epoch before each pass.

    Args:
        cuts: utterances; may be lazy.
        count: number of cuts.
        batch_seconds: largest amount of audio in a batch.
        seed: random seed of the order; None keeps one fixed order.
    """
    buckets = BUCKETS if count >= SMALL_SET else count // 20
    return BatchSampler(
        cuts,
        max_duration=batch_seconds,
        num_buckets=buckets if buckets > 1 else None,
        duration_bins=None if buckets > 1 else [NO_BOUNDARY],
        shuffle=seed is not None,
        seed=0 if seed is None else seeding.integer("asr batches", seed) % MAX_SHUFFLE_SEED,
        world_size=1,
        rank=0,
    )


def repeat_epochs(sampler: BatchSampler, skip_epochs: int, skip_batches: int) -> Iterator[tuple[int, int, CutSet]]:
    """(epoch, number in the epoch, cuts) without end, after `skip_epochs` epochs and `skip_batches` batches.

    Raises:
        DataError: an epoch has no batch.
    """
    epoch = skip_epochs
    while True:
        sampler.set_epoch(epoch)
        number = -1
        for number, cuts in enumerate(sampler):
            if epoch > skip_epochs or number >= skip_batches:
                yield epoch, number, cuts
        if number < 0:
            raise DataError("training parts", found="no batch", expected="utterances shorter than asr.batch_seconds")
        epoch += 1


def collate(cuts: CutSet, read: Callable[[Cut], np.ndarray], transform: Transform | None = None) -> Batch:
    """Reads and pads the inputs of a batch.

    Args:
        cuts: cuts of the batch.
        read: input of a cut, float16 features or int64 symbols.
        transform: augmentation, given the id and a float32 or int64 copy of the input.
    """
    read_all = [(cut, read(cut)) for cut in cuts]
    read_all.sort(key=lambda pair: (-len(pair[1]), pair[0].id))
    dtype = np.float32 if read_all[0][1].dtype.kind == "f" else np.int64
    lengths = [len(array) for _, array in read_all]
    inputs = np.zeros((len(read_all), max(lengths), *read_all[0][1].shape[1:]), dtype)
    for row, (cut, stored) in enumerate(read_all):
        array = stored.astype(dtype)
        inputs[row, : lengths[row]] = array if transform is None else transform(cut.id, array)
    ordered = [cut for cut, _ in read_all]
    seconds = sum(cut.duration for cut in ordered)
    return Batch([cut.id for cut in ordered], torch.from_numpy(inputs), torch.tensor(lengths), [*map(text_of, ordered)], seconds)


def manifests(exp: Path, system: str, source: str, parts: Iterable[str]) -> list[Path]:
    """Manifests of stage 3 that recognisers read; `source` is features or units."""
    folder = artifacts.features_folder if source == "features" else artifacts.units_folder
    return [artifacts.cuts_in(folder(exp, system, part)) for part in parts]
