"""Composition of the batches: the same for any number of ranks, loader workers and interruptions.

Every rank draws the same whole batches and takes its share of each, so that N ranks see exactly what one would. lhotse's
DynamicBucketingSampler draws members and order again in every epoch. With padding, a batch has at most MAX_PADDED_SHARE of
batch_seconds, unless a single crop is longer.
"""

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lhotse.dataset import DynamicBucketingSampler

from spin import artifacts
from spin.data.crops import Crop, TrainingCuts
from spin.runtime import seeding
from spin.runtime.logs import get_logger

BUFFER_CUTS = 20_000  # crops held in memory, whatever the size of the corpus
FULL_SHARE = 0.5  # of batch_seconds, without padding: a batch with less is joined with others
MAX_PADDED_SHARE = 1.05  # of batch_seconds, for a batch with its padding; lhotse overshoots by its last and longest crop
HALF_A_SAMPLE = 0.5 / artifacts.SAMPLE_RATE


@dataclass(frozen=True)
class BatchPlan:
    """One rank's share of one update, before anything of it is read."""

    epoch: int  # from 0
    index: int  # of the batch in its epoch
    micro_batches: tuple[tuple[Crop, ...], ...]  # crops of each forward pass of the update (spin.accumulation); may be empty


class BatchSampler:
    """Iterates over BatchPlans without end, epoch after epoch.

    Args:
        cuts: the utterances.
        batch_seconds: audio of one view in an update, over all ranks and micro-batches, padding included.
        seed: random seed of the batch order; with the epoch it decides every batch.
        accumulation: micro-batches per update.
        rank, world_size: place of this process among all.
        epoch, index: first batch to yield; those before are skipped without reading audio.
    """

    def __init__(
        self,
        cuts: TrainingCuts,
        batch_seconds: float,
        seed: int,
        *,
        accumulation: int = 1,
        rank: int = 0,
        world_size: int = 1,
        epoch: int = 0,
        index: int = 0,
    ):
        self.cuts, self.batch_seconds, self.seed = cuts, batch_seconds, seed
        self.accumulation, self.rank, self.world_size = accumulation, rank, world_size
        self.start = (epoch, index)

    def __iter__(self) -> Iterator[BatchPlan]:
        epoch, skip = self.start
        while True:
            for index, batch in enumerate(self.batches(epoch)):
                if index >= skip:
                    yield BatchPlan(epoch, index, self._share(batch))
            epoch, skip = epoch + 1, 0

    def batches(self, epoch: int) -> Iterator[list[Crop]]:
        """The whole batches of one epoch."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lhotse's advice on buffer sizes, and that the crops are not a CutSet
            sampler = DynamicBucketingSampler(
                self.cuts.epoch(self.seed, epoch),  # lhotse reads only their id and duration
                max_duration=self.batch_seconds,
                shuffle=True,
                duration_bins=self._bins(),
                buffer_size=BUFFER_CUTS,
                seed=seeding.integer(self.seed, epoch, "batches") % 2**31,
                rank=0,
                world_size=1,
            )
            drawn = iter(sampler)
        yield from fill(drawn, self.batch_seconds, epoch)

    def _bins(self) -> list[float]:
        if not self.cuts.bins:
            return [self.cuts.max_samples]  # one boundary above everything: a single bucket
        # With equal_lengths every crop is as long as a boundary. lhotse would put it into the bucket below; it belongs above.
        shift = HALF_A_SAMPLE if self.cuts.equal_lengths else 0.0
        return [boundary - shift for boundary in self.cuts.bins]

    def _share(self, batch: list[Crop]) -> tuple[tuple[Crop, ...], ...]:
        # Sorted and dealt out in turn: every share gets about the same audio and number of frames.
        ordered = sorted(batch, key=lambda crop: (-crop.duration, crop.id))
        shares = self.accumulation * self.world_size
        own = range(self.rank * self.accumulation, (self.rank + 1) * self.accumulation)
        return tuple(tuple(ordered[number::shares]) for number in own)


def fill(batches: Iterable[Iterable[Crop]], batch_seconds: float, epoch: int) -> Iterator[list[Crop]]:
    """Makes batches even: divides those too large after padding, joins those less than half full.

    Small batches are what the buckets still hold at the end of an epoch. Crops that do not even fill half a batch together
    are left out of this epoch, with a line in the log of the first. If they are all there is, they are used.
    """
    limit = MAX_PADDED_SHARE * batch_seconds
    held: list[Crop] = []
    count = 0

    def is_full(crops: list[Crop]) -> bool:
        return sum(crop.duration for crop in crops) >= FULL_SHARE * batch_seconds

    for batch in batches:
        groups = divide(list(batch), limit)
        small = [crop for group in groups if not is_full(group) for crop in group]
        if small:
            groups = [*filter(is_full, groups), *divide(held + small, limit)]
            held = [crop for group in groups if not is_full(group) for crop in group]
        for group in filter(is_full, groups):
            yield group
            count += 1
    if count == 0:
        yield from divide(held, limit)
    elif held and epoch == 0:
        get_logger("data").info(
            "%d utterance(s) left out of the first epoch, after %d batches; every epoch leaves out others", len(held), count
        )


def divide(crops: list[Crop], limit: float) -> list[list[Crop]]:
    """Groups of at most `limit` seconds with padding: one, in the given order, where all fit, else several, sorted by length."""
    if padded_seconds(crops) <= limit:
        return [crops]
    groups: list[list[Crop]] = []
    for crop in sorted(crops, key=lambda crop: (crop.samples, crop.id)):
        if groups and padded_seconds([*groups[-1], crop]) <= limit:
            groups[-1].append(crop)
        else:
            groups.append([crop])
    return groups


def padded_seconds(crops: list[Crop]) -> float:
    """Seconds of a batch of these crops, padding included."""
    return len(crops) * max((crop.duration for crop in crops), default=0.0)
