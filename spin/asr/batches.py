"""Batches of features or units with their texts, and SpecAugment."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.dataset import DynamicBucketingSampler
from torch.nn.utils.rnn import pad_sequence

from spin.data.cuts import read_cuts
from spin.runtime import seeding

BUCKETS = 10
LEAST_IN_BUCKET = 20  # cuts; of fewer than BUCKETS times as many there are fewer buckets
NO_BOUNDARY = 1e9  # seconds: all cuts fall into the bucket below
MAX_PADDED_SHARE = 1.25  # of batch_seconds, for a batch with its padding; lhotse overshoots by its last and longest utterance
FRAMES_PER_TIME_MASK = 100  # one mask per two seconds
MAX_TIME_MASK = 20  # frames, 0.4 s
DIMENSION_MASKS = 2
MAX_DIMENSION_MASK = 0.125  # share of the dimensions
Transform = Callable[[str, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Batch:
    """Utterances in one tensor, the longest first."""

    cuts: list[Cut]
    inputs: torch.Tensor  # (B, T, D) float32 features, or (B, T) int64 symbols of units; zero after each length
    lengths: torch.Tensor  # (B,) int64, frames (or symbols, where units are joined)

    @property
    def ids(self) -> list[str]:
        return [cut.id for cut in self.cuts]

    @property
    def texts(self) -> list[str]:
        return [text_of(cut) for cut in self.cuts]


class Manifests:
    """The cuts of several manifests, one after the other, read lazily and again at each iteration."""

    def __init__(self, paths: list[Path]):
        self.paths = paths

    def __iter__(self) -> Iterator[Cut]:
        for path in self.paths:
            yield from read_cuts(path)


def frames_of(cut: Cut, field: str) -> int:
    """Number of stored frames, from the manifest alone."""
    return int(getattr(cut, field).shape[0])


def text_of(cut: Cut) -> str:
    """The transcript; empty when there is none."""
    return (cut.supervisions[0].text or "").strip() if cut.supervisions else ""


class _NoDataSource(torch.utils.data.Sampler):
    """A base class between lhotse's samplers and torch's: lhotse passes no data source, and torch 1.13 insists on one."""

    def __init__(self):
        pass


class BatchSampler(DynamicBucketingSampler, _NoDataSource):
    """Batches of utterances of similar length, by lhotse; with padding none exceeds MAX_PADDED_SHARE of `batch_seconds`.

    The cuts may be lazy. One longer than `batch_seconds` is a batch by itself. Without a seed there is one fixed order.
    """

    def __init__(self, cuts: CutSet, batch_seconds: float, seed: int | None = None):
        self.batch_seconds = batch_seconds
        buckets = sum(1 for _ in itertools.islice(cuts, BUCKETS * LEAST_IN_BUCKET)) // LEAST_IN_BUCKET
        super().__init__(
            cuts,
            max_duration=batch_seconds,
            num_buckets=buckets if buckets > 1 else None,
            duration_bins=None if buckets > 1 else [NO_BOUNDARY],
            shuffle=seed is not None,
            seed=0 if seed is None else seeding.integer("asr batches", seed) % 2**31,
            world_size=1,
            rank=0,
        )

    def batches(self, epoch: int = 0) -> Iterator[list[Cut]]:
        """The batches of an epoch."""
        self.set_epoch(epoch)
        for batch in self:
            yield from split_to_fit(list(batch), MAX_PADDED_SHARE * self.batch_seconds)

    def repeat(self, epoch: int, number: int) -> Iterator[tuple[int, int, list[Cut]]]:
        """(epoch, number in the epoch, batch) without end, from one place on; there must be an utterance."""
        while True:
            for place, cuts in itertools.islice(enumerate(self.batches(epoch)), number, None):
                yield epoch, place, cuts
            epoch, number = epoch + 1, 0


def split_to_fit(cuts: list[Cut], limit: float) -> list[list[Cut]]:
    """The cuts as one batch, or if that has more than `limit` seconds with padding, halves by length until each fits.

    lhotse ends a batch when one more cut as long as its longest would exceed the limit. The last one can be longer than that.
    """
    if len(cuts) * max(cut.duration for cut in cuts) <= limit or len(cuts) == 1:
        return [cuts]
    ordered = sorted(cuts, key=lambda cut: (cut.duration, cut.id))
    middle = len(cuts) // 2
    return [*split_to_fit(ordered[:middle], limit), *split_to_fit(ordered[middle:], limit)]


def collate(cuts: Iterable[Cut], read: Callable[[Cut], np.ndarray], transform: Transform | None = None) -> Batch:
    """Reads and pads the inputs of a batch, float16 features or int64 symbols; `transform` augments a float32 or int64 copy."""
    rows = sorted(((cut, read(cut)) for cut in cuts), key=lambda row: (-len(row[1]), row[0].id))
    dtype = np.float32 if rows[0][1].dtype.kind == "f" else np.int64
    copies = [(cut.id, stored.astype(dtype)) for cut, stored in rows]
    inputs = [torch.from_numpy(array if transform is None else transform(name, array)) for name, array in copies]
    lengths = torch.tensor([len(array) for array in inputs])
    return Batch([cut for cut, _ in rows], pad_sequence(inputs, batch_first=True), lengths)


def spec_augment(inputs: np.ndarray, fill: np.ndarray | int, seed: int, epoch: int, utterance_id: str) -> np.ndarray:
    """SpecAugment (Park et al. 2019, arXiv 1904.08779) without warping: replaces spans of frames, and of features also bands.

    Changes (T, D) float32 features or (T,) int64 symbols in place. `fill` is the (D,) training mean, which is zero after
    normalisation, or the symbol of masked units. The draws depend on (seed, epoch, utterance id).
    """
    random = seeding.generator("spec augment", seed, epoch, utterance_id)
    frames = len(inputs)
    for _ in range(-(-frames // FRAMES_PER_TIME_MASK)):
        inputs[_draw_span(random, frames, min(MAX_TIME_MASK, frames // 4))] = fill
    if inputs.ndim > 1:
        dimensions = inputs.shape[1]
        for _ in range(DIMENSION_MASKS):
            span = _draw_span(random, dimensions, int(dimensions * MAX_DIMENSION_MASK))
            inputs[:, span] = fill[span]
    return inputs


def _draw_span(random: np.random.Generator, size: int, longest: int) -> slice:
    """A span inside [0, size), of a length drawn evenly from 0 to `longest`."""
    length = int(random.integers(longest + 1))
    start = int(random.integers(size - length + 1))
    return slice(start, start + length)
