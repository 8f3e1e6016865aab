"""Batches of features or units with their texts, and SpecAugment."""

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
FRAMES_PER_TIME_MASK = 100  # one mask per two seconds
MAX_TIME_MASK = 20  # frames, 0.4 s
DIMENSION_MASKS = 2
MAX_DIMENSION_MASK = 0.125  # share of the dimensions
Transform = Callable[[str, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Batch:
    """Utterances in one tensor, the longest first.

    Attributes:
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

    def __init__(self, paths: list[Path]):
        self.paths = paths

    def __iter__(self) -> Iterator[Cut]:
        for path in self.paths:
            yield from read_cuts(path)


def open_cuts(exp: Path, system: str, source: str, parts: Iterable[str]) -> CutSet:
    """The cuts of some parts, one part after the other, read lazily from stage 3; `source` is features or units.

    Raises:
        DataError: no part; while it is read: a manifest is missing or damaged.
    """
    folder = artifacts.features_folder if source == "features" else artifacts.units_folder
    paths = [artifacts.cuts_in(folder(exp, system, part)) for part in parts]
    if not paths:
        raise DataError("configuration", found="no part", expected="parts in corpus.asr_train, corpus.valid and corpus.test")
    return CutSet(_Manifests(paths))


def frames_of(cut: Cut, field: str) -> int:
    """Number of stored frames, from the manifest alone; DataError when the cut lacks the field."""
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
        read: input of a cut, float16 features or int64 symbols.
        transform: augmentation, given the id and a float32 or int64 copy of the input.
    """
    read_all = sorted(((cut, read(cut)) for cut in cuts), key=lambda pair: (-len(pair[1]), pair[0].id))
    ordered, arrays = [cut for cut, _ in read_all], [array for _, array in read_all]
    dtype = np.float32 if arrays[0].dtype.kind == "f" else np.int64
    inputs = np.zeros((len(arrays), *arrays[0].shape), dtype)
    for row, (cut, stored) in enumerate(read_all):
        array = stored.astype(dtype)
        inputs[row, : len(array)] = array if transform is None else transform(cut.id, array)
    lengths = torch.tensor([len(array) for array in arrays])
    seconds = sum(cut.duration for cut in ordered)
    return Batch([cut.id for cut in ordered], torch.from_numpy(inputs), lengths, [text_of(cut) for cut in ordered], seconds)


def spec_augment(inputs: np.ndarray, fill: np.ndarray | int, seed: int, epoch: int, utterance_id: str) -> np.ndarray:
    """SpecAugment (Park et al. 2019, arXiv 1904.08779) without warping: replaces spans of frames, and of features also bands.

    The draws depend on (seed, epoch, utterance id).

    Args:
        inputs: (T, D) or (T, L + 1, D) float32, where all layers get the same masks, or (T,) int64 symbols; changed in place.
        fill: the training mean, (D,) or (L + 1, D), which is zero after normalization; or the symbol of masked units.
    """
    random = seeding.generator("spec augment", seed, epoch, utterance_id)
    frames = len(inputs)
    for _ in range(-(-frames // FRAMES_PER_TIME_MASK)):
        start, stop = _draw_span(random, frames, min(MAX_TIME_MASK, frames // 4))
        inputs[start:stop] = fill
    if inputs.ndim == 1:
        return inputs
    dimensions = inputs.shape[-1]
    for _ in range(DIMENSION_MASKS):
        start, stop = _draw_span(random, dimensions, int(dimensions * MAX_DIMENSION_MASK))
        inputs[..., start:stop] = fill[..., start:stop]
    return inputs


def _draw_span(random: np.random.Generator, size: int, longest: int) -> tuple[int, int]:
    """[start, stop) inside [0, size), of a length drawn evenly from 0 to `longest`."""
    length = int(random.integers(longest + 1))
    start = int(random.integers(size - length + 1))
    return start, start + length
