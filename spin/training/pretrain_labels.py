"""Cluster labels for masked prediction: features of every frame, normalised by speaker, k-means, the nearest centre's number.

MFCCs and hidden states carry the speaker's voice as well as the phone; without the normalisation by speaker, clusters of very
different voices name the voice. Features go through a file, so that memory does not grow with the corpus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor

from spin import artifacts
from spin.errors import DataError
from spin.runtime.files import atomic_path
from spin.runtime.seeding import integer

WINDOW_IN_SAMPLES, HOP_IN_SAMPLES = 400, 320
FRAMES_PER_HOUR = 3600 * 50
MFCC_DIM = 13
DEVIATION_FLOOR = 1e-3


@dataclass(frozen=True)
class Utterance:
    """What pre-training keeps of a cut."""

    identity: str
    speaker: str
    path: str
    samples: int

    @property
    def frames(self) -> int:
        return frame_count(self.samples)


def frame_count(samples: int) -> int:
    """Encoder frames of a waveform."""
    return max((samples - WINDOW_IN_SAMPLES) // HOP_IN_SAMPLES + 1, 0)


def mfcc(waveform: Tensor) -> Tensor:
    """(S,) at 16 kHz -> (T, 13): MFCCs averaged over 50 ms, one frame for each encoder frame.

    The average makes clusters last longer than a frame: with differences, or without the average, neighbouring frames share a
    label half as often, and what is left to predict is the noise of the clustering.
    """
    from torchaudio.compliance.kaldi import mfcc as kaldi_mfcc

    scaled = waveform[None] * 32768.0
    dense = kaldi_mfcc(scaled, frame_length=25.0, frame_shift=10.0, num_ceps=MFCC_DIM, num_mel_bins=40, low_freq=40.0, dither=0.0)
    smooth = torch.nn.functional.avg_pool1d(dense.T[None], 5, 1, 2, count_include_pad=False)[0].T
    return smooth[::2][: frame_count(len(waveform))]


class FeatureFile:
    """Frames of all utterances in one file of float16, in the order of `utterances`."""

    def __init__(self, path: Path, utterances: list[Utterance], dim: int):
        self.utterances = utterances
        self.offsets = np.concatenate([[0], np.cumsum([utterance.frames for utterance in utterances])])
        self.frames = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(int(self.offsets[-1]), dim))

    def fill(self, features: Iterator[np.ndarray]) -> None:
        for index, block in enumerate(features):
            self.frames[self.offsets[index] : self.offsets[index + 1]] = block

    def normalise_speakers(self) -> None:
        """Every speaker's frames to zero mean and unit variance in each dimension."""
        rows: dict[str, list[int]] = {}
        for index, utterance in enumerate(self.utterances):
            rows.setdefault(utterance.speaker, []).append(index)
        for indices in rows.values():
            block = np.concatenate([self.frames[self.offsets[i] : self.offsets[i + 1]] for i in indices]).astype(np.float32)
            mean, deviation = block.mean(0), np.maximum(block.std(0), DEVIATION_FLOOR)
            for i in indices:
                span = slice(self.offsets[i], self.offsets[i + 1])
                self.frames[span] = (self.frames[span].astype(np.float32) - mean) / deviation


def make_labels(
    folder: Path,
    utterances: list[Utterance],
    features: Callable[[list[Utterance]], Iterator[np.ndarray]],
    dim: int,
    clusters: int,
    hours: float,
    normalised: bool,
    seed: int,
) -> Path:
    """Clusters the features and writes <folder>/labels.npz (labels (N,) int32, offsets, centres); returns its path.

    Args:
        features: gives (T_i, dim) for each utterance, in order.
        hours: k-means sees a random choice of at most this many hours of frames.
        normalised: by speaker, before clustering.
    """
    path = folder / "labels.npz"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / "features.npy"
    store = FeatureFile(scratch, utterances, dim)
    store.fill(features(utterances))
    if normalised:
        store.normalise_speakers()
    total = len(store.frames)
    chosen = np.random.default_rng(integer("pretrain frames", seed)).permutation(total)[: int(hours * FRAMES_PER_HOUR)]
    model = MiniBatchKMeans(
        clusters, batch_size=10_000, n_init=3, max_no_improvement=50, random_state=integer("pretrain", seed) % 2**32
    )
    model.fit(store.frames[np.sort(chosen)].astype(np.float32))
    labels = np.concatenate([model.predict(store.frames[i : i + 100_000].astype(np.float32)) for i in range(0, total, 100_000)])
    with atomic_path(path) as temporary:
        np.savez(temporary, labels=labels.astype(np.int32), offsets=store.offsets, centres=model.cluster_centers_)
    del store
    scratch.unlink()
    return path


def read_utterances(corpus: Path, parts: tuple[str, ...], min_samples: int) -> list[Utterance]:
    """The utterances of the parts in the order of their manifests, those shorter than min_samples left out."""
    from lhotse import CutSet

    found = []
    for part in parts:
        manifest = artifacts.cuts(corpus, part)
        if not manifest.exists():
            raise DataError(str(manifest), found="no such file", expected="a manifest of stage 0", remedy="run stage 0")
        for cut in CutSet.from_jsonl_lazy(manifest):
            if cut.num_samples >= min_samples:
                found.append(Utterance(cut.id, cut.supervisions[0].speaker, cut.recording.sources[0].source, cut.num_samples))
    return found
