"""Batches of stored features with their texts, and the statistics of the features that the models normalise by."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.dataset import DynamicBucketingSampler

from spin import artifacts
from spin.errors import DataError
from spin.runtime import seeding
from spin.runtime.arrays import Home
from spin.runtime.files import DAMAGED_GZIP, check_not_empty, damaged_gzip

BUCKETS = 10
SMALL_SET = 200  # cuts; below this one bucket for each 20
NO_BORDER = 1e9  # seconds: all cuts in the bucket below
MAX_SHUFFLE_SEED = 2**31


@dataclass(frozen=True)
class Batch:
    """Utterances side by side, the longest first.

    Attributes:
        ids: utterance ids.
        features: (B, T, D) float32, or (B, T, L + 1, D) with every layer; frames at and after an utterance's length are zero.
        lengths: (B,) int64, frames.
        texts: normalised transcripts.
    """

    ids: list[str]
    features: torch.Tensor
    lengths: torch.Tensor
    texts: list[str]

    @property
    def seconds(self) -> float:
        """Length of the speech in seconds, without padding."""
        return float(self.lengths.sum()) * artifacts.FRAME_SHIFT_IN_S


def open_cuts(exp: Path, system: str, parts: Iterable[str]) -> CutSet:
    """The cuts of stage 3 for some parts, one after the other, read lazily.

    Raises:
        DataError: a manifest is missing; while it is read, that it is damaged.
    """
    sets = []
    for part in parts:
        path = artifacts.features_cuts(exp, system, part)
        if not path.exists():
            raise DataError(
                str(path), found="no such file", expected=f"features of part {part}", remedy="run stage 3 with this configuration"
            )
        sets.append(CutSet(_Manifest(path)))
    if not sets:
        raise DataError("configuration", found="no part", expected="parts in corpus.asr_train, corpus.valid and corpus.test")
    cuts = sets[0]
    for more in sets[1:]:
        cuts = cuts + more
    return cuts


class _Manifest:
    """The cuts of a manifest, read lazily by lhotse; an error names the file."""

    def __init__(self, path: Path):
        check_not_empty(path)
        self.path, self.cuts = path, CutSet.from_jsonl_lazy(path)

    def __iter__(self) -> Iterator[Cut]:
        try:
            yield from Home(self.path.parent).cuts(self.cuts)
        except DAMAGED_GZIP as error:
            raise damaged_gzip(self.path, str(error)) from error


def frames_of(cut: Cut) -> int:
    """Number of stored frames, from the manifest alone.

    Raises:
        DataError: the cut has no features.
    """
    if not cut.has_custom(artifacts.HIDDEN_FIELD):
        raise DataError(
            f"utterance {cut.id}",
            found=f"no field '{artifacts.HIDDEN_FIELD}'",
            expected="features of stage 3",
            remedy="run stage 3",
        )
    return int(getattr(cut, artifacts.HIDDEN_FIELD).shape[0])


def text_of(cut: Cut) -> str:
    """The transcript; empty when there is none."""
    return (cut.supervisions[0].text or "").strip() if cut.supervisions else ""


class FeatureReader:
    """Reads features; keeps what fits in memory, so that small corpora are read from the disk once.

    Args:
        max_bytes: bound of what is kept.
        field: of the cuts: HIDDEN_FIELD for one layer, LAYERS_FIELD for all.
    """

    def __init__(self, max_bytes: int, field: str = artifacts.HIDDEN_FIELD):
        self._left, self._field = max_bytes, field
        self._kept: dict[str, np.ndarray] = {}

    def read(self, cut: Cut) -> np.ndarray:
        """(T, D) or (T, L + 1, D) float16.

        Raises:
            DataError: the file is missing, damaged or of another shape than the manifest says.
        """
        features = self._kept.get(cut.id)
        if features is not None:
            return features
        features = self.load(cut)
        if features.nbytes <= self._left:
            self._left -= features.nbytes
            self._kept[cut.id] = features
        return features

    def load(self, cut: Cut) -> np.ndarray:
        """read() without memory: the array as stage 3 stored it."""
        if not cut.has_custom(self._field):
            raise DataError(
                f"features of {cut.id}",
                found=f"no field '{self._field}'",
                expected="features of stage 3",
                remedy="run stage 3 with this configuration",
            )
        try:
            features = cut.load_custom(self._field)
        except (OSError, ValueError, EOFError, KeyError, AttributeError) as error:
            raise DataError(
                f"features of {cut.id}",
                found=f"{type(error).__name__}: {error}",
                expected="a readable array",
                remedy="run stage 3 with --force",
            ) from error
        expected = tuple(getattr(cut, self._field).shape)
        if features.shape != expected:
            raise DataError(
                f"features of {cut.id}",
                found=f"shape {features.shape}",
                expected=f"{expected}",
                remedy="run stage 3 with --force",
            )
        return features


class _NoDataSource(torch.utils.data.Sampler):
    """Stands between lhotse's samplers and torch's: lhotse gives the latter no data source, which torch 1.13 insists on."""

    def __init__(self):
        pass


class BatchSampler(DynamicBucketingSampler, _NoDataSource):
    """lhotse's DynamicBucketingSampler, for torch 1.13 too."""


def sample_batches(cuts: CutSet, count: int, batch_seconds: float, seed: int | None) -> BatchSampler:
    """lhotse's sampler of batches of similar length; call set_epoch before each pass.

    Args:
        cuts: may be lazy.
        count: how many there are.
        batch_seconds: of audio in a batch, at most.
        seed: of the shuffling; None keeps one fixed order.
    """
    buckets = BUCKETS if count >= SMALL_SET else count // 20
    return BatchSampler(
        cuts,
        max_duration=batch_seconds,
        num_buckets=buckets if buckets > 1 else None,
        duration_bins=None if buckets > 1 else [NO_BORDER],
        shuffle=seed is not None,
        seed=0 if seed is None else seeding.integer("asr batches", seed) % MAX_SHUFFLE_SEED,
        world_size=1,
        rank=0,
    )


def collate(cuts: CutSet, reader: FeatureReader, change: Callable[[str, np.ndarray], np.ndarray] | None = None) -> Batch:
    """Reads and pads the features of a batch.

    Args:
        cuts: the batch.
        reader: of the features.
        change: augmentation, given the id and a float32 copy of what the reader gives.
    """
    ordered = sorted(cuts, key=lambda cut: (-frames_of(cut), cut.id))
    lengths = [frames_of(cut) for cut in ordered]
    arrays = [reader.read(cut) for cut in ordered]
    features = torch.zeros(len(ordered), max(lengths), *arrays[0].shape[1:])
    for row, (cut, stored) in enumerate(zip(ordered, arrays)):
        array = stored.astype(np.float32)
        features[row, : lengths[row]] = torch.from_numpy(array if change is None else change(cut.id, array))
    return Batch([cut.id for cut in ordered], features, torch.tensor(lengths), [text_of(cut) for cut in ordered])


@dataclass(frozen=True)
class FeatureStatistics:
    """Mean and standard deviation of each feature dimension over training frames, float32 (D,), or (L + 1, D) of every layer."""

    mean: np.ndarray
    deviation: np.ndarray


def measure(cuts: Iterable[Cut], reader: FeatureReader, total: int, at_most: int = 2000) -> FeatureStatistics:
    """Statistics over about `at_most` of `total` utterances, chosen by their names, so that every run takes the same.

    Raises:
        DataError: no frame.
    """
    stride = max(1, math.ceil(total / at_most))
    frames, sums, squares = 0, 0.0, 0.0
    for cut in cuts:
        if seeding.integer("asr statistics", cut.id) % stride == 0:
            features = reader.read(cut).astype(np.float64)
            frames += len(features)
            sums = sums + features.sum(axis=0)
            squares = squares + np.square(features).sum(axis=0)
    if frames == 0:
        raise DataError("features of the training parts", found="no frame", expected="features of stage 3")
    mean = sums / frames
    deviation = np.sqrt(np.maximum(squares / frames - np.square(mean), 1e-10))
    if not np.isfinite(deviation).all():
        raise DataError("features of the training parts", found="numbers that are not finite", remedy="run stage 3 with --force")
    return FeatureStatistics(mean.astype(np.float32), deviation.astype(np.float32))


def endless(sampler: BatchSampler, skip_epochs: int, skip_batches: int) -> Iterator[tuple[int, int, CutSet]]:
    """(epoch, number in the epoch, cuts) without end, beginning after `skip_epochs` epochs and `skip_batches` batches.

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
            raise DataError("training parts", found="no batch", expected="utterances that fit asr.batch_seconds")
        epoch += 1
