"""k-means on a layer's features, the units of systems without a codebook: streamed, seeded, the same bits every time.

MiniBatchKMeans of scikit-learn (Sculley 2010) from several k-means++ starts. Frames are read utterance by utterance in a new
random order every epoch. Memory is one utterance, one batch, one sample for the starts, and the centres, however much audio
there is. On a GPU, DeviceKMeans takes the same steps there.
"""

import functools
import heapq
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sklearn.cluster import MiniBatchKMeans, kmeans_plusplus
from threadpoolctl import threadpool_limits

from spin import artifacts
from spin.config import Config
from spin.data.cuts import read_cuts
from spin.data.store import load_array
from spin.errors import DataError
from spin.runtime.devices import prepare_cpu, resolve_device
from spin.runtime.logs import get_logger, progress
from spin.runtime.seeding import generator, integer
from spin.runtime.workers import run_jobs
from spin.units.extraction import plan_shards

CENTRES, NOTES = "centres", "kmeans"  # the safetensors key, and the metadata key: layer and inertia as JSON
CPU = torch.device("cpu")
EPOCHS = 5
BATCH_FRAMES = 10_240  # 205 s of speech, so that a batch mixes many utterances
MIN_SAMPLE_FRAMES = 10_000
SAMPLE_FRAMES_PER_CENTRE = 10
SHARDS_WORTH_PROCESSES = 40  # starting processes takes seconds; a small part is done before they are up


class Utterances(NamedTuple):
    """The training data of k-means."""

    names: list[str]
    frames: list[int]  # of each
    load: Callable[[str], np.ndarray]  # id -> (frames, D) features


class DeviceKMeans:
    """The steps of MiniBatchKMeans on a device, without its replacement of small clusters: a centre is the mean of its frames.

    With K = 2048 scikit-learn takes half an hour, during which a GPU would wait.
    """

    def __init__(self, centres: np.ndarray, device: torch.device):
        self._centres = torch.tensor(centres, device=device)
        self._counts = torch.zeros(len(centres), device=device, dtype=torch.float64)

    @property
    def cluster_centers_(self) -> np.ndarray:
        return self._centres.cpu().numpy()

    def partial_fit(self, batch: np.ndarray) -> None:
        """Moves each centre towards its frames among the (N, D) of a batch, to the mean of all that it has had."""
        frames = torch.as_tensor(batch, device=self._centres.device)
        nearest = _distances(frames, self._centres).argmin(1)
        new = nearest.bincount(minlength=len(self._centres))
        sums = torch.zeros_like(self._centres).index_add_(0, nearest, frames)
        self._counts += new
        self._centres += (sums - new[:, None] * self._centres) / self._counts.clamp(min=1)[:, None].float()

    def score(self, frames: np.ndarray) -> float:
        """Minus the sum of the squared distances of (N, D) frames to their centres."""
        tensor = torch.as_tensor(frames, device=self._centres.device)
        return -float((_distances(tensor, self._centres).amin(1) + tensor.square().sum(1)).sum())


def _distances(frames: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """(T, K) squared distances, less the squared norm of each frame."""
    return centres.square().sum(1) - 2 * (frames @ centres.T)


def assign(centres: torch.Tensor, features: np.ndarray, device: torch.device | str = "cpu") -> np.ndarray:
    """(T, D) features of one utterance -> (T,) int32 nearest of (K, D) centres; of equally near ones the lowest number.

    Call it with whole utterances, so that the rounding of the products does not depend on what else is computed.
    """
    frames = torch.as_tensor(np.asarray(features, dtype=np.float32), device=device)
    return _distances(frames, centres.to(device)).argmin(1).to(torch.int32).cpu().numpy()


def draw_utterances(cuts: Iterable, hours: float, seed: int) -> Utterances:
    """At most `hours` of the features of some cuts with HIDDEN_FIELD, drawn at random; memory is that of the drawn utterances.

    The last utterance may cross the bound. The draw does not depend on the order of the cuts; of equal ids the first counts.
    """
    budget = hours * 3600 / artifacts.FRAME_SHIFT_IN_S
    heap: list[tuple[int, str]] = []  # the largest hash on top
    drawn, frames = {}, {}  # cuts and their numbers of frames by id
    total = 0
    for cut in cuts:
        if cut.id in drawn:
            continue
        drawn[cut.id], frames[cut.id] = cut, cut.custom[artifacts.HIDDEN_FIELD].shape[0]
        heapq.heappush(heap, (-integer(seed, "kmeans utterance", cut.id), cut.id))
        total += frames[cut.id]
        while total - frames[heap[0][1]] >= budget:
            _, name = heapq.heappop(heap)
            del drawn[name]
            total -= frames.pop(name)
    names = sorted(drawn)
    return Utterances(names, [frames[name] for name in names], lambda name: load_array(drawn[name], artifacts.HIDDEN_FIELD))


def train_kmeans(
    data: Utterances, clusters: int, *, starts: int = 3, epochs: int = EPOCHS, seed: int = 0, device: torch.device = CPU
) -> tuple[torch.Tensor, float]:
    """(K, D) float32 centres, and the mean squared distance of a sample of the frames to them; DataError for too few frames.

    `starts` k-means++ starts run for one epoch, the best continues. The seed draws the sample, the starts and the order of
    utterances. Same seed and data: the same bits on any number of cores of a CPU; on a GPU the same up to rounding.
    """
    total = sum(data.frames)
    if total < clusters:
        remedy = "lower spin.codebook_size, or raise units.kmeans_hours"
        raise DataError("k-means", found=f"{total} frames", expected=f"at least as many as clusters ({clusters})", remedy=remedy)
    batch_frames = max(BATCH_FRAMES, clusters)
    with threadpool_limits(limits=1):  # sums over threads round differently
        sample = _draw_sample(data, max(MIN_SAMPLE_FRAMES, SAMPLE_FRAMES_PER_CENTRE * clusters), seed)
        models = [_start(sample, clusters, seed, start, device) for start in range(starts)]
        for batch in _batches(data, seed, 0, batch_frames):
            for model in models:
                model.partial_fit(batch)
        best = min(models, key=lambda model: _inertia(model, sample))
        for epoch in range(1, epochs):
            for batch in _batches(data, seed, epoch, batch_frames):
                best.partial_fit(batch)
        error = _inertia(best, sample)
    get_logger("kmeans").info("k-means, K = %d, %d frames: mean squared distance %.4f", clusters, total, error)
    return torch.from_numpy(np.ascontiguousarray(best.cluster_centers_, dtype=np.float32)), error


def _draw_sample(data: Utterances, count: int, seed: int) -> np.ndarray:
    """About `count` frames spread over all utterances, or all frames if there are fewer."""
    share, parts = min(1.0, count / sum(data.frames)), []
    for name in sorted(data.names):
        features = np.asarray(data.load(name), dtype=np.float32)
        parts.append(features[generator(seed, "kmeans sample", name).random(len(features)) < share])
    return np.concatenate(parts)


def _start(sample: np.ndarray, clusters: int, seed: int, start: int, device: torch.device) -> MiniBatchKMeans | DeviceKMeans:
    state = integer(seed, "kmeans start", start) % 2**32
    centres, _ = kmeans_plusplus(sample, clusters, random_state=state)
    if device != CPU:
        return DeviceKMeans(centres, device)
    return MiniBatchKMeans(clusters, init=centres, n_init=1, batch_size=BATCH_FRAMES, random_state=state, compute_labels=False)


def _batches(data: Utterances, seed: int, epoch: int, size: int) -> Iterator[np.ndarray]:
    """Utterances in random order, `size` to twice `size` frames a batch, plus a short rest; only longer ones are split."""
    held, frames = [], 0
    left = sum(data.frames)
    order = generator(seed, "kmeans epoch", epoch).permutation(len(data.names))
    for index in progress(order, f"k-means, epoch {epoch + 1}", len(order)):
        features = np.asarray(data.load(data.names[index]), dtype=np.float32)
        for start in range(0, len(features), size):
            held.append(features[start : start + size])
            frames += len(held[-1])
            if frames >= size and left - frames >= size:
                yield np.concatenate(held)
                left -= frames
                held, frames = [], 0
    if held:
        yield np.concatenate(held)


def _inertia(model: MiniBatchKMeans | DeviceKMeans, sample: np.ndarray) -> float:
    # -score is the sum of squared distances; chunked, so that the distance matrix stays small.
    chunks = (sample[start : start + BATCH_FRAMES] for start in range(0, len(sample), BATCH_FRAMES))
    return float(-sum(model.score(chunk) for chunk in chunks) / len(sample))


def save_kmeans(path: Path, centres: torch.Tensor, layer: int | None, inertia: float) -> None:
    """Writes the centres, with the layer and the inertia as metadata."""
    # A single metadata key: safetensors writes several in an order that changes from run to run.
    save_file({CENTRES: centres}, path, {NOTES: json.dumps({"layer": layer, "inertia": inertia})})


def assign_units(config: Config, manifest: Path, kmeans: Path) -> Iterator[tuple[str, np.ndarray]]:
    """(utterance id, (T,) int32 units) of each utterance of a manifest with HIDDEN_FIELD."""
    shards = plan_shards(manifest)
    work = functools.partial(_assign_shard, manifest, kmeans, config.runtime.device)
    few = len(shards) <= SHARDS_WORTH_PROCESSES
    results = map(work, shards) if few else progress(run_jobs(config, work, shards), "units", len(shards))
    for shard in results:
        yield from shard


def _assign_shard(manifest: Path, kmeans: Path, device: str, shard: tuple[int, int]) -> list[tuple[str, np.ndarray]]:
    """Units of one shard from the stored features, in float32; in any process."""
    prepare_cpu(1)
    centres, target = load_file(kmeans)[CENTRES], resolve_device(device)
    own = ((cut.id, load_array(cut, artifacts.HIDDEN_FIELD)) for cut in read_cuts(manifest, *shard))
    return [(name, assign(centres, features, target)) for name, features in own]
