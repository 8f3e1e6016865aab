"""k-means on a layer's features, the baseline for the Spin codebook: streamed, seeded, the same bits every time.

MiniBatchKMeans of scikit-learn (Sculley 2010) from several k-means++ starts. Frames are read utterance by utterance in a new
random order every epoch; memory is one utterance, one batch, one sample for the starts and the centres, within a bound that is
set, however much audio there is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from sklearn.cluster import MiniBatchKMeans, kmeans_plusplus
from threadpoolctl import threadpool_limits

from spin.errors import CheckpointError, ConfigError, DataError
from spin.runtime.files import atomic_path
from spin.runtime.logs import get_logger
from spin.runtime.seeding import generator, integer

CENTRES, NOTES = "centres", "kmeans"  # the safetensors key, and the metadata key: layer and inertia as JSON
BATCH_FRAMES = 10_240  # 205 s of speech, so that a batch mixes many utterances
MIN_SAMPLE_FRAMES = 10_000
SAMPLE_FRAMES_A_CENTRE = 10
MEMORY_IN_MIB = 512
COPIES_OF_CENTRES = 4  # a start's: as they were, as they are, the sums of a batch, and the best ones
COPIES_OF_FRAMES = 2  # the utterances of a batch (or of the sample), and the array that joins them


@dataclass(frozen=True)
class Utterances:
    """Where k-means reads from.

    Args:
        names: utterance ids.
        frames: number of frames of each.
        load: id -> (frames, D) features.
    """

    names: list[str]
    frames: list[int]
    load: Callable[[str], np.ndarray]


@dataclass(frozen=True)
class KMeans:
    """Cluster centres (K, D) float32 and the mean squared distance of a sample of the training frames to them."""

    centres: torch.Tensor
    inertia: float

    def assign(self, features: np.ndarray, device: torch.device | str = "cpu") -> np.ndarray:
        """(T, D) features of one utterance -> (T,) int32 nearest centres; of equally near ones the lowest number.

        Call it with whole utterances, so that the rounding of the products does not depend on what else is computed.
        """
        frames = torch.as_tensor(np.asarray(features, dtype=np.float32), device=device)
        centres = self.centres.to(device)
        distances = centres.square().sum(1) - 2 * (frames @ centres.T)
        return distances.argmin(1).to(torch.int32).cpu().numpy()


@dataclass(frozen=True)
class Sizes:
    """Frames of a batch, at least K, and of the sample for the starts."""

    batch: int
    sample: int


def sizes(clusters: int, dim: int, starts: int, memory_in_mib: float) -> Sizes:
    """BATCH_FRAMES and SAMPLE_FRAMES_A_CENTRE frames a centre, or fewer where the memory does not allow them.

    Args:
        clusters: K.
        dim: of a float32 frame.
        starts: number of starts.
        memory_in_mib: bound of batch, sample and centres together, beside the program itself and one utterance.

    Raises:
        ConfigError: not enough for K frames, which is the least.
    """
    wanted = Sizes(max(BATCH_FRAMES, clusters), max(MIN_SAMPLE_FRAMES, SAMPLE_FRAMES_A_CENTRE * clusters))
    bytes_a_frame = 4 * dim
    fixed = starts * COPIES_OF_CENTRES * clusters * bytes_a_frame
    allowed = int((memory_in_mib * 2**20 - fixed) / (2 * COPIES_OF_FRAMES * bytes_a_frame))  # half for each of the two
    if allowed < clusters:
        needed = (fixed + 2 * COPIES_OF_FRAMES * clusters * bytes_a_frame) / 2**20
        raise ConfigError(
            "units.kmeans_memory_in_mib",
            found=f"{memory_in_mib:g}",
            expected=f"at least {int(needed) + 1} for {clusters} clusters of {dim} dimensions and {starts} start(s)",
            remedy="raise it, or lower units.kmeans_starts",
        )
    return Sizes(min(wanted.batch, allowed), min(wanted.sample, allowed))


def train_kmeans(
    data: Utterances,
    clusters: int,
    *,
    starts: int = 3,
    epochs: int = 5,
    seed: int = 0,
    memory_in_mib: float = MEMORY_IN_MIB,
) -> KMeans:
    """k-means from `starts` k-means++ starts: all run for one epoch, the best goes on for the others.

    Args:
        data: what to cluster.
        clusters: K.
        starts: number of starts, at least 1.
        epochs: passes over the data, at least 1.
        seed: of the sample, the starts and the order of utterances. Same seed and data: the same bits, whatever the number of
            cores.
        memory_in_mib: see `sizes`; batches and sample become smaller where it is less than they need.

    Raises:
        DataError: fewer frames than clusters, or features that are not finite.
        ConfigError: too little memory for so many clusters.
    """
    total = sum(data.frames)
    if total < clusters:
        remedy = "lower spin.codebook_size, or raise units.kmeans_hours"
        raise DataError("k-means", found=f"{total} frames", expected=f"at least as many as clusters ({clusters})", remedy=remedy)
    log = get_logger("kmeans")
    with threadpool_limits(limits=1):  # sums over threads round differently
        size = sizes(clusters, _load(data, data.names[0]).shape[1], starts, memory_in_mib)
        sample = _sample(data, size.sample, seed)
        models = [_start(sample, clusters, seed, start) for start in range(starts)]
        for batch in _batches(data, seed, 0, size.batch):
            for model in models:
                model.partial_fit(batch)
        errors = [_inertia(model, sample) for model in models]
        best = models[int(np.argmin(errors))]
        log.info("k-means, K = %d, %d frames: starts %s", clusters, total, " ".join(f"{error:.4f}" for error in errors))
        for epoch in range(1, epochs):
            for batch in _batches(data, seed, epoch, size.batch):
                best.partial_fit(batch)
        error = _inertia(best, sample)
    log.info("k-means after %d epoch(s): mean squared distance %.4f", epochs, error)
    return KMeans(torch.from_numpy(np.ascontiguousarray(best.cluster_centers_, dtype=np.float32)), error)


def _load(data: Utterances, name: str) -> np.ndarray:
    features = np.asarray(data.load(name), dtype=np.float32)
    if not np.isfinite(features).all():
        raise DataError(
            f"features of {name}", found="values that are not finite", cause="a diverged model", remedy="check stage 2"
        )
    return features


def _sample(data: Utterances, wanted: int, seed: int) -> np.ndarray:
    """About `wanted` frames spread over all utterances (all of them where there are no more)."""
    share, parts = min(1.0, wanted / sum(data.frames)), []
    for name in sorted(data.names):
        features = _load(data, name)
        parts.append(features[generator(seed, "kmeans sample", name).random(len(features)) < share])
    sample = np.concatenate(parts)
    return sample if len(sample) else _load(data, data.names[0])


def _start(sample: np.ndarray, clusters: int, seed: int, start: int) -> MiniBatchKMeans:
    state = integer(seed, "kmeans start", start) % 2**32
    if len(sample) < clusters:  # a thinned sample of very little data
        sample = np.resize(sample, (clusters, sample.shape[1]))
    centres, _ = kmeans_plusplus(sample, clusters, random_state=state)
    return MiniBatchKMeans(clusters, init=centres, n_init=1, batch_size=BATCH_FRAMES, random_state=state, compute_labels=False)


def _batches(data: Utterances, seed: int, epoch: int, size: int) -> Iterator[np.ndarray]:
    """Batches of utterances in random order, of at least `size` frames and less than twice that, but for what a short rest adds.

    Utterances stay whole but for those longer than a batch.
    """
    held, frames = [], 0
    left = sum(data.frames)
    for index in generator(seed, "kmeans epoch", epoch).permutation(len(data.names)):
        features = _load(data, data.names[index])
        for start in range(0, len(features), size):
            held.append(features[start : start + size])
            frames += len(held[-1])
            if frames >= size and left - frames >= size:
                yield np.concatenate(held)
                left -= frames
                held, frames = [], 0
    if held:
        yield np.concatenate(held)


def _inertia(model: MiniBatchKMeans, sample: np.ndarray) -> float:
    # -score is the sum of squared distances; chunked, so that the distance matrix stays small.
    return float(
        -sum(model.score(sample[start : start + BATCH_FRAMES]) for start in range(0, len(sample), BATCH_FRAMES)) / len(sample)
    )


def save_kmeans(path: str | Path, model: KMeans, layer: int) -> None:
    """Writes the centres and, as text beside them, the layer and the inertia."""
    # One key: safetensors writes several in an order that changes from run to run.
    notes = json.dumps({"layer": layer, "inertia": model.inertia})
    with atomic_path(path) as temporary:
        save_file({CENTRES: model.centres.contiguous()}, str(temporary), {NOTES: notes})


def load_kmeans(path: str | Path) -> KMeans:
    """Reads what save_kmeans wrote.

    Raises:
        CheckpointError: missing, damaged, or another file.
    """
    try:
        with safe_open(str(path), framework="pt") as stream:
            inertia, centres = json.loads(stream.metadata()[NOTES])["inertia"], stream.get_tensor(CENTRES).float()
        if not bool(torch.isfinite(centres).all()):
            raise ValueError("centres that are not finite")
        return KMeans(centres, float(inertia))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            str(path), found=str(error), expected="k-means centres of stage 3", remedy="run stage 3 with --force"
        ) from error


def other_kmeans(path: Path, model: KMeans, dim: int) -> CheckpointError:
    """The error for centres of other features than those stored."""
    found, expected = f"centres of {model.centres.shape[-1]} numbers", f"{dim}, as the features have"
    return CheckpointError(
        str(path), found=found, expected=expected, cause="a file of another encoder", remedy="run stage 3 with --force"
    )
