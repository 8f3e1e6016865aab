"""The plan of a training: which utterances, cropped where, form which batch, for any ranks, loader workers and interruptions.

Every rank draws the same whole batches and takes its share of each, so that N ranks see exactly what one would. lhotse's
DynamicBucketingSampler draws members and order again in every epoch. With padding, a batch has at most MAX_PADDED_SHARE of
batch_seconds, unless a single crop is longer.
"""

from __future__ import annotations

import array
import bisect
import itertools
import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from lhotse import MonoCut
from lhotse.dataset import DynamicBucketingSampler
from lhotse.serialization import deserialize_item
from lhotse.utils import compute_num_samples, fastcopy

from spin import artifacts
from spin.config import SpinConfig
from spin.data.cuts import read_records, without_words
from spin.errors import DataError
from spin.objectives import NO_LABEL
from spin.runtime import seeding
from spin.runtime.files import read_jsonl
from spin.runtime.logs import get_logger

MAX_BUCKETS = 30
BATCHES_PER_BUCKET = 8  # fewer would leave too many half-filled batches at the end of an epoch
LABELS_AHEAD = 1000  # lines of labels read ahead in search of an utterance
RECEPTIVE_FIELD = 400  # samples of one encoder frame
BUFFER_CUTS = 20_000  # crops held in memory, whatever the size of the corpus
FULL_SHARE = 0.5  # of batch_seconds, without padding: a batch with less is joined with others
MAX_PADDED_SHARE = 1.05  # of batch_seconds, for a batch with its padding; lhotse overshoots by its last and longest crop
HALF_A_SAMPLE = 0.5 / artifacts.SAMPLE_RATE


@dataclass(frozen=True)
class TrainingCuts:
    """Utterances of a training, read from their manifests in every epoch, so that memory does not grow with the corpus."""

    paths: Sequence[Path]  # manifests of stage 1
    settings: SpinConfig  # lengths of utterances and batches
    count: int  # utterances that are at least min_samples long
    short: Sequence[str] = ()  # ids of those that are not, and are left out
    bins: Sequence[float] = ()  # inner boundaries of the duration buckets in seconds, rising; see duration_bins
    labels: Sequence[Path] = ()  # files of frame labels, one per manifest; crops then start on the frame grid

    def epoch(self, seed: int, epoch: int) -> Iterator[Crop]:
        """The crops of one epoch, in the manifests' order; seed, epoch and id decide where in its utterance each lies."""
        for path, labels in itertools.zip_longest(self.paths, self.labels):
            reader = FrameLabels(labels) if labels else None
            grid = artifacts.HOP_IN_SAMPLES if labels else 1
            for record in read_records(path):
                name, whole = record["id"], num_samples(record)
                samples = self.cropped_samples(whole)
                if not samples:
                    continue
                spare = (whole - samples) // grid
                place = int(seeding.generator(seed, epoch, name, "crop").integers(spare + 1)) if spare else 0
                duration = samples / artifacts.SAMPLE_RATE
                crop = {"start": record["start"] + place * grid / artifacts.SAMPLE_RATE, "duration": duration}
                content = json.dumps(without_words(record) | crop).encode()
                frames = None
                if reader:
                    frames = np.full(num_frames(samples), NO_LABEL, dtype=np.int32)
                    found = reader.find(name)[place : place + len(frames)]
                    frames[: len(found)] = found
                yield Crop(name, duration, content, frames)

    def cropped_samples(self, samples: int) -> int:
        """Length after cropping; 0 when the utterance is too short.

        With equal_lengths it is the lower boundary of the bucket, so that a batch needs no padding.
        """
        shortest = self.settings.min_samples
        if samples < shortest:
            return 0
        samples = min(samples, self.settings.max_samples)
        if not self.settings.equal_lengths:
            return samples
        bucket = bisect.bisect_right(self.bins, samples / artifacts.SAMPLE_RATE)
        return max(shortest, round(self.bins[bucket - 1] * artifacts.SAMPLE_RATE)) if bucket else shortest


@dataclass(slots=True)
class Crop:
    """A crop that is planned but not read. It is small, because a sampler holds many thousands of them."""

    id: str
    duration: float  # in seconds
    record: bytes = b""  # its cut as JSON; start and duration say where it lies in the recording
    labels: np.ndarray | None = None  # (frames,) int32, NO_LABEL where a frame has none
    dataloading_info: dict | None = None  # set by lhotse's sampler

    def cut(self) -> MonoCut:
        """The cut, ready to be read, with its frame labels in LABELS_FIELD."""
        cut = deserialize_item(json.loads(self.record))
        return cut if self.labels is None else fastcopy(cut, custom={**(cut.custom or {}), artifacts.LABELS_FIELD: self.labels})


class FrameLabels:
    """Frame labels of one part, read in step with its manifest; both have the same order, and either may lack utterances."""

    def __init__(self, path: Path):
        if not path.exists():
            remedy = "python -m spin acoustic-pieces --exp DIR --system NAME --vocabulary N --output DIR"
            raise DataError(str(path), found="no such file", expected="frame labels of a training part", remedy=remedy)
        self._lines = read_jsonl(path)
        self._ahead: dict[str, list[int]] = {}  # labels that were read in search of others, in their order

    def find(self, utterance: str) -> list[int]:
        """Labels of an utterance, one per frame; [] where it has none. Ask in the order of the manifest."""
        if utterance not in self._ahead:
            for line in itertools.islice(self._lines, max(0, LABELS_AHEAD - len(self._ahead))):
                self._ahead[line[artifacts.UNITS_ID]] = line[artifacts.UNITS_SEQUENCE]
                if line[artifacts.UNITS_ID] == utterance:
                    break
        labels: list[int] = []
        while utterance in self._ahead:  # those before it belong to no utterance of the manifest
            labels = self._ahead.pop(next(iter(self._ahead)))
        return labels


def scan_training_cuts(paths: Sequence[Path], settings: SpinConfig, labels: Sequence[Path] = ()) -> TrainingCuts:
    """Reads the manifests once for their durations; see TrainingCuts.

    Raises DataError for a missing or damaged manifest, or no utterance that is long enough.
    """
    short, lengths = [], array.array("q")
    for path in paths:
        for record in read_records(path):
            samples = num_samples(record)
            if samples < settings.min_samples:
                short.append(record["id"])
            else:
                lengths.append(min(samples, settings.max_samples))
    if not lengths:
        raise DataError(
            "Spin training data " + ", ".join(map(str, paths)),
            found=f"{len(short)} utterance(s), all shorter than {settings.min_samples} samples",
            expected="at least one that is long enough",
            remedy=f"--set spin.min_samples={max(400, settings.min_samples // 2)}, or name another part: "
            "--set corpus.spin_train=[PART]",
        )
    return TrainingCuts(paths, settings, len(lengths), short, duration_bins(np.array(lengths), settings.batch_seconds), labels)


def num_samples(record: dict) -> int:
    """Samples of a cut at 16 kHz."""
    return compute_num_samples(record["duration"], artifacts.SAMPLE_RATE)


def num_frames(samples: int) -> int:
    """Encoder frames of a stretch of speech.

    >>> [num_frames(samples) for samples in (399, 400, 719, 720, 16_000)]
    [0, 1, 1, 2, 49]
    """
    return max(0, (samples - RECEPTIVE_FIELD) // artifacts.HOP_IN_SAMPLES + 1)


def duration_bins(samples: np.ndarray, batch_seconds: float) -> tuple[float, ...]:
    """Inner boundaries in seconds of buckets with about equal total duration, from (utterances,) cropped lengths in samples.

    They are () when the audio fills too few batches of `batch_seconds` to sort it.
    """
    samples = np.sort(samples)
    total = samples.sum() / artifacts.SAMPLE_RATE
    buckets = int(min(MAX_BUCKETS, total / (BATCHES_PER_BUCKET * batch_seconds)))
    cumulative = np.cumsum(samples) / samples.sum()
    boundaries = samples[np.searchsorted(cumulative, np.arange(1, buckets) / max(buckets, 1))]
    return tuple(float(boundary) / artifacts.SAMPLE_RATE for boundary in np.unique(boundaries))


class BatchPlan(NamedTuple):
    """One rank's share of one update, before anything of it is read."""

    epoch: int  # from 0
    index: int  # of the batch in its epoch
    micro_batches: tuple[tuple[Crop, ...], ...]  # crops of each forward pass of the update (spin.accumulation); may be empty


@dataclass
class BatchSampler:
    """Iterates over BatchPlans without end, epoch after epoch."""

    cuts: TrainingCuts  # their settings have batch_seconds, of one view over all ranks, and the micro-batches per update
    seed: int  # with the epoch it decides every batch
    rank: int = 0
    world_size: int = 1
    start: tuple[int, int] = (0, 0)  # epoch and index of the first batch; those before are skipped without reading audio

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
                max_duration=self.cuts.settings.batch_seconds,
                shuffle=True,
                duration_bins=self._bins(),
                buffer_size=BUFFER_CUTS,
                seed=seeding.integer(self.seed, epoch, "batches") % 2**31,
                rank=0,
                world_size=1,
            )
            drawn = iter(sampler)
        yield from fill(drawn, self.cuts.settings.batch_seconds, epoch)

    def _bins(self) -> list[float]:
        if not self.cuts.bins:
            return [self.cuts.settings.max_samples]  # one boundary above everything: a single bucket
        # With equal_lengths every crop is as long as a boundary. lhotse would put it into the bucket below; it belongs above.
        shift = HALF_A_SAMPLE if self.cuts.settings.equal_lengths else 0.0
        return [boundary - shift for boundary in self.cuts.bins]

    def _share(self, batch: list[Crop]) -> tuple[tuple[Crop, ...], ...]:
        # Sorted and dealt out in turn: every share gets about the same audio and number of frames.
        ordered = sorted(batch, key=lambda crop: (-crop.duration, crop.id))
        count = self.cuts.settings.accumulation
        own = range(self.rank * count, (self.rank + 1) * count)
        return tuple(tuple(ordered[number :: count * self.world_size]) for number in own)


def fill(batches: Iterable[Iterable[Crop]], batch_seconds: float, epoch: int) -> Iterator[list[Crop]]:
    """Makes batches even: divides those too large after padding, joins those less than half full.

    Small batches are what the buckets still hold at the end of an epoch. Crops that do not even fill half a batch together
    are left out of this epoch, with a line in the log of the first. If they are all there is, they are used.
    """
    limit, held, count = MAX_PADDED_SHARE * batch_seconds, [], 0

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
        line = "%d utterance(s) left out of the first epoch, after %d batches; every epoch leaves out others"
        get_logger("data").info(line, len(held), count)


def divide(crops: list[Crop], limit: float) -> list[list[Crop]]:
    """Groups of at most `limit` seconds with padding: one, in the given order, where all fit, else several, sorted by length."""
    if padded_seconds(crops) <= limit:
        return [crops]
    groups: list[list[Crop]] = []
    for crop in sorted(crops, key=lambda crop: (crop.duration, crop.id)):
        if groups and padded_seconds([*groups[-1], crop]) <= limit:
            groups[-1].append(crop)
        else:
            groups.append([crop])
    return groups


def padded_seconds(crops: list[Crop]) -> float:
    """Seconds of a batch of these crops, padding included."""
    return len(crops) * max((crop.duration for crop in crops), default=0.0)
