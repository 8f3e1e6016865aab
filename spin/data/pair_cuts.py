"""The utterances that Spin trains on, how long each is once cropped, and the buckets that keep padding small."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from lhotse import MonoCut
from lhotse.serialization import deserialize_item
from lhotse.utils import fastcopy

from spin import artifacts
from spin.errors import DataError
from spin.runtime import seeding
from spin.runtime.files import read_jsonl
from spin.runtime.manifests import Index, read_index

_TOGETHER = 10_000  # entries of an index at a time
MAX_BUCKETS = 30
BATCHES_PER_BUCKET = 8  # fewer would leave too many half-filled batches at the end of an epoch


@dataclass(frozen=True)
class PairCuts:
    """Utterances for pairs of views, read from their manifests again in every epoch.

    Attributes:
        paths: stage 1's manifests.
        min_samples: shorter utterances are left out.
        max_samples: longer ones are cropped to this length at a random place.
        count: utterances that are long enough.
        short: ids of those that are not.
        bins: inner borders of the duration buckets in seconds, rising; buckets hold about the same audio each.
        equal_lengths: crop further, to the lower border of the bucket, so that a batch needs no padding.
    """

    paths: tuple[Path, ...]
    min_samples: int
    max_samples: int
    count: int
    short: tuple[str, ...] = ()
    bins: tuple[float, ...] = field(default=())
    equal_lengths: bool = False

    def epoch(self, seed: int, epoch: int) -> Iterator[Crop]:
        """The crops of one epoch, in the manifests' order: what batches are planned with, nothing read yet where it can wait."""
        for path in self.paths:
            for identity, samples, source in _sources(path):
                samples = cropped_samples(samples, self)
                if samples:
                    yield Crop(identity, samples / artifacts.SAMPLE_RATE, samples, seed, epoch, source)


@dataclass(slots=True)
class Crop:
    """A crop before its cut is read: small, as a sampler holds many thousands of them.

    Attributes:
        id: of the utterance.
        duration: of the crop in seconds.
        samples: of the crop.
        seed, epoch: decide where in the utterance it lies.
        source: the cut, or its manifest and its place there, from which it is read when it is wanted.
        dataloading_info: of lhotse's sampler.
    """

    id: str
    duration: float
    samples: int
    seed: int
    epoch: int
    source: MonoCut | tuple[Path, int]
    dataloading_info: dict | None = None

    def cut(self) -> MonoCut:
        """The cropped cut; its start and duration say where the crop lies in the recording.

        Raises:
            DataError: the manifest is no longer the one that the crop was planned with, or damaged.
        """
        if isinstance(self.source, MonoCut):
            return crop(self.source, self.samples, self.seed, self.epoch)
        path, number = self.source
        index = read_index(path)
        record = index.record(number) if index is not None and number < len(index) else {}
        if record.get("id") != self.id:
            raise DataError(
                str(path),
                found="another manifest than before",
                cause="changed meanwhile",
                remedy="run stage 1 again with --force",
            )
        return crop(_without_words(record), self.samples, self.seed, self.epoch)


def scan_pair_cuts(
    paths: Iterable[Path], *, min_samples: int, max_samples: int, batch_seconds: float, equal_lengths: bool = False
) -> PairCuts:
    """Reads the manifests once for their durations.

    Raises:
        DataError: a missing manifest, a wrong sampling rate, or no utterance that is long enough.
    """
    paths = tuple(Path(path) for path in paths)
    kept, short = [], []
    for path in paths:
        ids, samples = _lengths(path)
        fits = samples >= min_samples
        short += [str(identity) for identity in itertools.compress(ids, ~fits)]
        kept.append(np.minimum(samples[fits], max_samples))
    samples = np.concatenate(kept) if kept else np.zeros(0, dtype=np.int64)
    if not len(samples):
        raise DataError(
            "Spin training data " + ", ".join(map(str, paths)),
            found=f"{len(short)} utterance(s), all shorter than {min_samples} samples",
            expected="at least one that is long enough",
            remedy="lower spin.min_samples, or name other parts in corpus.spin_train",
        )
    bins = duration_bins(samples, batch_seconds)
    return PairCuts(paths, min_samples, max_samples, len(samples), tuple(short), bins, equal_lengths)


def _lengths(path: Path) -> tuple[Iterable, np.ndarray]:
    """(ids, (utterances,) int64 samples) of a manifest: from its index where there is one, else from its cuts."""
    index = _planned_with(path)
    if index is None:
        found = [(cut.id, cut.num_samples) for cut in read_cuts([path])]
        return [identity for identity, _ in found], np.array([samples for _, samples in found], dtype=np.int64)
    return (identity.decode() for identity in index.ids), _samples(index.durations)


def _sources(path: Path) -> Iterator[tuple[str, int, MonoCut | tuple[Path, int]]]:
    """(id, samples, source of a Crop) of every utterance of a manifest."""
    index = _planned_with(path)
    if index is None:
        yield from ((cut.id, cut.num_samples, cut) for cut in read_cuts([path]))
        return
    for first in range(0, len(index), _TOGETHER):  # what Python makes of whole arrays is large
        some = slice(first, first + _TOGETHER)
        rows = zip(index.ids[some].tolist(), _samples(index.durations[some]).tolist())
        yield from ((identity.decode(), samples, (path, number)) for number, (identity, samples) in enumerate(rows, first))


def _planned_with(path: Path) -> Index | None:
    """The index of a manifest; None where its cuts must be read, which says what is wrong with them."""
    index = read_index(path)
    return None if index is None or (index.rates != artifacts.SAMPLE_RATE).any() else index


def _samples(durations: np.ndarray) -> np.ndarray:
    """(n,) seconds -> (n,) int64 samples, as lhotse rounds."""
    return np.floor(np.round(durations * artifacts.SAMPLE_RATE, 8) + 0.5).astype(np.int64)


def read_cuts(paths: Iterable[Path]) -> Iterator[MonoCut]:
    """The cuts of several manifests, one after the other, lazily; without their supervisions, which take most of the reading."""
    for path in paths:
        if not Path(path).exists():
            raise DataError(str(path), found="no such file", expected="a manifest of stage 1", remedy="run stages 0 and 1 first")
        for cut in map(_without_words, read_jsonl(path)):
            if cut.sampling_rate != artifacts.SAMPLE_RATE:
                raise DataError(
                    f"{path}: {cut.id}",
                    found=f"{cut.sampling_rate} Hz",
                    expected="16000 Hz",
                    remedy="run stage 0 again with --force",
                )
            yield cut


def _without_words(record: dict) -> MonoCut:
    return deserialize_item({**record, "supervisions": []})


def duration_bins(samples: np.ndarray, batch_seconds: float) -> tuple[float, ...]:
    """Inner borders in seconds of buckets with about equal total duration; () when the audio fills too few batches to sort it.

    Args:
        samples: (utterances,) whole numbers, cropped lengths.
        batch_seconds: audio of a batch.
    """
    samples = np.sort(samples)
    total = samples.sum() / artifacts.SAMPLE_RATE
    buckets = int(min(MAX_BUCKETS, total / (BATCHES_PER_BUCKET * batch_seconds)))
    cumulative = np.cumsum(samples) / samples.sum()
    borders = samples[np.searchsorted(cumulative, np.arange(1, buckets) / max(buckets, 1))]
    return tuple(float(border) / artifacts.SAMPLE_RATE for border in np.unique(borders))


def cropped_samples(samples: int, pair_cuts: PairCuts) -> int:
    """Length after cropping; 0 when the utterance is too short."""
    if samples < pair_cuts.min_samples:
        return 0
    samples = min(samples, pair_cuts.max_samples)
    if not pair_cuts.equal_lengths:
        return samples
    bucket = bisect.bisect_right(pair_cuts.bins, samples / artifacts.SAMPLE_RATE)
    lower = round(pair_cuts.bins[bucket - 1] * artifacts.SAMPLE_RATE) if bucket else pair_cuts.min_samples
    return max(lower, pair_cuts.min_samples)


def crop(cut: MonoCut, samples: int, seed: int, epoch: int) -> MonoCut:
    """`samples` of the cut from a place drawn by (seed, epoch, utterance id), without its supervision."""
    spare = cut.num_samples - samples
    start = int(seeding.generator(seed, epoch, cut.id, "crop").integers(spare + 1)) if spare else 0
    rate = cut.sampling_rate
    return fastcopy(cut, start=cut.start + start / rate, duration=samples / rate, supervisions=[])
