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
from spin.runtime.manifests import read_index

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

    def epoch(self, seed: int, epoch: int) -> Iterator[MonoCut]:
        """The cropped cuts of one epoch, in the manifests' order; start and duration say where the crop lies in the recording."""
        for cut in read_cuts(self.paths):
            samples = cropped_samples(cut.num_samples, self)
            if samples:
                yield crop(cut, samples, seed, epoch)


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
    index = read_index(path)
    if index is None or (index.rates != artifacts.SAMPLE_RATE).any():  # reading says which cut has the wrong rate
        found = [(cut.id, cut.num_samples) for cut in read_cuts([path])]
        return [identity for identity, _ in found], np.array([samples for _, samples in found], dtype=np.int64)
    samples = np.floor(np.round(index.durations * artifacts.SAMPLE_RATE, 8) + 0.5).astype(np.int64)  # as lhotse rounds
    return (identity.decode() for identity in index.ids), samples


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
