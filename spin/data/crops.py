"""The utterances of a training: how long each is once cropped, where the crop lies, and the buckets that keep padding small."""

from __future__ import annotations

import array
import bisect
import collections
import itertools
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lhotse import MonoCut
from lhotse.serialization import deserialize_item
from lhotse.utils import fastcopy

from spin import artifacts
from spin.data.cuts import read_records, without_words
from spin.errors import DataError, rerun
from spin.runtime import seeding
from spin.runtime.files import read_jsonl

MAX_BUCKETS = 30
BATCHES_PER_BUCKET = 8  # fewer would leave too many half-filled batches at the end of an epoch
LABELS_AHEAD = 1000  # lines of labels read ahead in search of an utterance
RECEPTIVE_FIELD = 400  # samples of one encoder frame


@dataclass(frozen=True)
class TrainingCuts:
    """Utterances of a training, read from their manifests in every epoch, so that memory does not grow with the corpus."""

    paths: tuple[Path, ...]  # manifests of stage 1
    min_samples: int  # shorter utterances are left out
    max_samples: int  # longer ones are cropped to this length at a random place
    count: int  # utterances that are long enough
    short: tuple[str, ...] = ()  # ids of those that are not
    bins: tuple[float, ...] = ()  # inner boundaries of the duration buckets in seconds, rising; see duration_bins
    equal_lengths: bool = False  # crop further, to the lower boundary of the bucket, so that a batch needs no padding
    labels: tuple[Path, ...] = ()  # files of frame labels, one per manifest; crops then start on the frame grid

    def epoch(self, seed: int, epoch: int) -> Iterator[Crop]:
        """The crops of one epoch, in the manifests' order."""
        for path, labels in itertools.zip_longest(self.paths, self.labels):
            reader = FrameLabels(labels) if labels else None
            for record in read_records(path):
                samples = self.cropped_samples(num_samples(record))
                if samples:
                    found = reader.find(record["id"]) if reader else None
                    content = json.dumps(without_words(record)).encode()
                    yield Crop(record["id"], samples / artifacts.SAMPLE_RATE, samples, seed, epoch, content, found)

    def cropped_samples(self, samples: int) -> int:
        """Length after cropping; 0 when the utterance is too short."""
        if samples < self.min_samples:
            return 0
        samples = min(samples, self.max_samples)
        if not self.equal_lengths:
            return samples
        bucket = bisect.bisect_right(self.bins, samples / artifacts.SAMPLE_RATE)
        lower = round(self.bins[bucket - 1] * artifacts.SAMPLE_RATE) if bucket else self.min_samples
        return max(lower, self.min_samples)


@dataclass(slots=True)
class Crop:
    """A crop that is planned but not read. It is small, because a sampler holds many thousands of them."""

    id: str
    duration: float  # in seconds
    samples: int
    seed: int  # decides with the epoch where in the utterance it lies
    epoch: int
    record: bytes  # the utterance's cut as JSON
    labels: np.ndarray | None = None  # (frames,) int32 frame labels of the whole utterance
    dataloading_info: dict | None = None  # set by lhotse's sampler

    def cut(self) -> MonoCut:
        """The cropped cut; start and duration say where it lies in the recording, LABELS_FIELD holds its frame labels."""
        whole = deserialize_item(json.loads(self.record))
        grid, rate = 1 if self.labels is None else artifacts.HOP_IN_SAMPLES, whole.sampling_rate
        spare = (whole.num_samples - self.samples) // grid
        place = int(seeding.generator(self.seed, self.epoch, whole.id, "crop").integers(spare + 1)) if spare else 0
        cut = fastcopy(whole, start=whole.start + place * grid / rate, duration=self.samples / rate)
        if self.labels is None:
            return cut
        labels = self.labels[place : place + num_frames(self.samples)]
        return fastcopy(cut, custom={**(cut.custom or {}), artifacts.LABELS_FIELD: labels})


class FrameLabels:
    """Frame labels of one part, read in step with its manifest; both have the same order, and either may lack utterances."""

    def __init__(self, path: Path):
        if not path.exists():
            remedy = "python -m spin acoustic-pieces --exp DIR --system NAME --vocabulary N --output DIR"
            raise DataError(str(path), found="no such file", expected="frame labels of a training part", remedy=remedy)
        self._lines = read_jsonl(path)
        self._ahead: collections.deque[tuple[str, list[int]]] = collections.deque()

    def find(self, utterance: str) -> np.ndarray:
        """(frames,) int32 labels of an utterance, (0,) where it has none. Ask in the order of the manifest."""
        for position, (name, units) in enumerate(self._window()):
            if name == utterance:
                for _ in range(position + 1):
                    self._ahead.popleft()
                return np.asarray(units, dtype=np.int32)
        return np.zeros(0, dtype=np.int32)

    def _window(self) -> Iterator[tuple[str, list[int]]]:
        yield from tuple(self._ahead)
        for line in itertools.islice(self._lines, max(0, LABELS_AHEAD - len(self._ahead))):
            self._ahead.append((line[artifacts.UNITS_ID], line[artifacts.UNITS_SEQUENCE]))
            yield self._ahead[-1]


def scan_training_cuts(
    paths: Iterable[Path],
    *,
    min_samples: int,
    max_samples: int,
    batch_seconds: float,
    equal_lengths: bool = False,
    labels: Iterable[Path] = (),
) -> TrainingCuts:
    """Reads the manifests once for their durations; see TrainingCuts.

    Args:
        batch_seconds: audio of one view in a batch.

    Raises:
        DataError: a missing or damaged manifest, a wrong sampling rate, or no utterance that is long enough.
    """
    paths, short, lengths = tuple(map(Path, paths)), [], array.array("q")
    for path in paths:
        for record in read_records(path):
            rate, samples = record["recording"]["sampling_rate"], num_samples(record)
            if rate != artifacts.SAMPLE_RATE:
                expected, remedy = f"{artifacts.SAMPLE_RATE} Hz", rerun(0)
                raise DataError(f"{path}: {record['id']}", found=f"{rate} Hz", expected=expected, remedy=remedy)
            if samples < min_samples:
                short.append(record["id"])
            else:
                lengths.append(min(samples, max_samples))
    if not lengths:
        raise DataError(
            "Spin training data " + ", ".join(map(str, paths)),
            found=f"{len(short)} utterance(s), all shorter than {min_samples} samples",
            expected="at least one that is long enough",
            remedy=f"--set spin.min_samples={max(400, min_samples // 2)}, or name another part: --set corpus.spin_train=[PART]",
        )
    bins = duration_bins(np.array(lengths), batch_seconds)
    labels = tuple(map(Path, labels))
    return TrainingCuts(paths, min_samples, max_samples, len(lengths), tuple(short), bins, equal_lengths, labels)


def num_samples(record: dict) -> int:
    """Samples of a cut at 16 kHz, rounded as lhotse does."""
    return math.floor(round(record["duration"] * artifacts.SAMPLE_RATE, 8) + 0.5)


def num_frames(samples: int) -> int:
    """Encoder frames of a stretch of speech.

    >>> [num_frames(samples) for samples in (399, 400, 719, 720, 16_000)]
    [0, 1, 1, 2, 49]
    """
    return max(0, (samples - RECEPTIVE_FIELD) // artifacts.HOP_IN_SAMPLES + 1)


def duration_bins(samples: np.ndarray, batch_seconds: float) -> tuple[float, ...]:
    """Inner boundaries in seconds of buckets with about equal total duration; () when the audio fills too few batches to sort it.

    Args:
        samples: (utterances,) whole numbers, cropped lengths.
        batch_seconds: audio of a batch.
    """
    samples = np.sort(samples)
    total = samples.sum() / artifacts.SAMPLE_RATE
    buckets = int(min(MAX_BUCKETS, total / (BATCHES_PER_BUCKET * batch_seconds)))
    cumulative = np.cumsum(samples) / samples.sum()
    boundaries = samples[np.searchsorted(cumulative, np.arange(1, buckets) / max(buckets, 1))]
    return tuple(float(boundary) / artifacts.SAMPLE_RATE for boundary in np.unique(boundaries))
