"""Which utterances make up which batch: the same for any number of ranks, loader workers and interruptions.

Every rank draws the same whole batches and takes its share of each, so that N ranks see exactly what one would. Batches are drawn
anew in every epoch, members and order, by lhotse's DynamicBucketingSampler.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lhotse import CutSet
from lhotse.dataset import DynamicBucketingSampler

from spin.data.pair_cuts import Crop, PairCuts
from spin.errors import DataError
from spin.runtime import seeding
from spin.runtime.logs import get_logger

BUFFER_CUTS = 20_000  # cuts held in memory, whatever the size of the corpus
FULL_SHARE = 0.5  # a batch with less of the wanted audio than this is joined with others


@dataclass(frozen=True)
class BatchPlan:
    """One rank's share of one update, before anything of it is read.

    Attributes:
        epoch: from 0.
        index: number of the batch in its epoch.
        parts: crops, one tuple for each forward pass of the update (spin.accumulation); a part may be empty.
    """

    epoch: int
    index: int
    parts: tuple[tuple[Crop, ...], ...]


class PairSampler:
    """Iterates over BatchPlans without end, epoch after epoch.

    Args:
        cuts: the utterances.
        batch_seconds: audio of one view in an update, over all ranks and parts; counted with padding.
        seed: of the order; with the epoch it decides every batch.
        parts: forward passes an update.
        rank, world_size: of this process.
        epoch, index: where to start; what lies before is passed over without reading audio.
    """

    def __init__(
        self,
        cuts: PairCuts,
        batch_seconds: float,
        seed: int,
        *,
        parts: int = 1,
        rank: int = 0,
        world_size: int = 1,
        epoch: int = 0,
        index: int = 0,
    ):
        self.cuts, self.batch_seconds, self.seed = cuts, batch_seconds, seed
        self.parts, self.rank, self.world_size = parts, rank, world_size
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
        cuts = _EpochCuts(self.cuts, self.seed, epoch)
        bins = list(self.cuts.bins) or [self.cuts.max_samples]  # one border above everything: a single bucket
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lhotse's advice on buffer sizes, and that the manifests are not a CutSet
            sampler = DynamicBucketingSampler(
                cuts,
                max_duration=self.batch_seconds,
                shuffle=True,
                duration_bins=bins,
                buffer_size=BUFFER_CUTS,
                seed=seeding.integer(self.seed, epoch, "batches") % 2**31,
                rank=0,
                world_size=1,
                sync_buckets=True,  # without it lhotse 1.33 may pick an empty bucket and end the epoch early
            )
            drawn = iter(sampler)
        yield from filled(drawn, self.batch_seconds, epoch)

    def _share(self, batch: list[Crop]) -> tuple[tuple[Crop, ...], ...]:
        # Sorted and dealt out in turn: every share gets about the same audio and number of frames.
        ordered = sorted(batch, key=lambda cut: (-cut.duration, cut.id))
        shares = self.parts * self.world_size
        own = range(self.rank * self.parts, (self.rank + 1) * self.parts)
        return tuple(tuple(ordered[number::shares]) for number in own)


class _EpochCuts:
    """Lets the sampler iterate over one epoch's crops; lhotse asks of them no more than id and duration."""

    def __init__(self, cuts: PairCuts, seed: int, epoch: int):
        self.cuts, self.seed, self.epoch = cuts, seed, epoch

    def __iter__(self) -> Iterator[Crop]:
        return self.cuts.epoch(self.seed, self.epoch)


def filled(batches: Iterable[CutSet], batch_seconds: float, epoch: int) -> Iterator[list[Crop]]:
    """Joins small batches (what is left in the buckets at the end of an epoch) until they are at least half full.

    What then remains is left out of this epoch, with a line in the log of the first; if it is all there is, it is a batch.

    Raises:
        DataError: there is nothing at all.
    """
    held: list[Crop] = []
    count = 0
    for batch in batches:
        batch = list(batch)
        if _seconds(batch) < FULL_SHARE * batch_seconds:
            held += batch
            batch = held
            if _seconds(held) < FULL_SHARE * batch_seconds:
                continue
            held = []
        yield batch
        count += 1
    if held and count == 0:
        yield held
    elif held and epoch == 0:
        get_logger("data").info("%d utterance(s) left over after %d batches, others in later epochs", len(held), count)
    elif not held and count == 0:
        raise DataError(
            "Spin training data", found="no batch", expected="at least one utterance", remedy="run stages 0 and 1 again"
        )


def _seconds(cuts: list[Crop]) -> float:
    return sum(cut.duration for cut in cuts)
