"""Features of several layers of an encoder on disk, for the table over layers: float16, one file a layer and shard.

A layer is known by a digest of all weights up to it, so that layers which two encoders share (those below what Spin trains) are
computed and kept once. A shard's index is written last and says what its file holds.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from spin import artifacts
from spin.errors import DataError
from spin.models.encoder import Encoder
from spin.models.importers import load_encoder
from spin.models.spin_model import SpinModel, load_model
from spin.runtime.devices import prepare_cpu, resolve_device
from spin.runtime.files import atomic_path, read_json, write_json
from spin.runtime.workers import map_parts
from spin.units.extraction import make_batches, read_waveform
from spin.units.shards import plan, read_cuts

FRAMES, DIM, REJECTED = "frames", "dim", "rejected"  # keys of an index: utterance -> frames, in order; D; utterance -> reason
CODEBOOK = -1  # in the place of a layer: the codebook's units
HIDDEN_TYPE, UNITS_TYPE = np.dtype("<f2"), np.dtype("<i4")


@dataclass(frozen=True)
class Source:
    """An encoder by itself, or that of a Spin model.

    Args:
        title: what the table calls it.
        path: for load_encoder or load_model.
        spin: whether it is a Spin model, which has a codebook too.
        official_padding: as encoder.official_padding.
    """

    title: str
    path: str
    spin: bool
    official_padding: bool = False

    def load(self) -> tuple[Encoder, SpinModel | None]:
        """The encoder, and the model it belongs to, if any."""
        if not self.spin:
            return load_encoder(self.path), None
        model = load_model(self.path)
        return model.encoder, model


def digest(*content) -> str:
    """16 hexadecimal digits that stand for plain values or bytes."""
    state = hashlib.blake2b(digest_size=8)
    for item in content:
        state.update(item if isinstance(item, bytes) else json.dumps(item, sort_keys=True).encode())
        state.update(b"\x1f")
    return state.hexdigest()


def layer_digests(encoder: Encoder, official_padding: bool = False) -> list[str]:
    """L + 1 digests: of what gives hidden[0], and of all that gives the output of each layer."""
    shape = {key: value for key, value in encoder.shape.as_dict().items() if key != "layers"}
    parts: list[list[tuple[str, torch.Tensor]]] = [[] for _ in range(encoder.shape.layers + 1)]
    for name, tensor in sorted(encoder.state_dict().items()):
        parts[int(name.split(".")[1]) + 1 if name.startswith("layers.") else 0].append((name, tensor))
    found = [digest(shape, official_padding, *_content(parts[0]))]
    for part in parts[1:]:
        found.append(digest(found[-1], *_content(part)))
    return found


def _content(tensors: list[tuple[str, torch.Tensor]]) -> Iterator:
    for name, tensor in tensors:
        yield name
        yield tensor.detach().cpu().contiguous().numpy().tobytes()


def codebook_digest(model: SpinModel, official_padding: bool = False) -> str:
    """Of all that gives a Spin model's units."""
    layers = layer_digests(model.encoder, official_padding)
    own = [(name, tensor) for name, tensor in sorted(model.state_dict().items()) if not name.startswith("encoder.")]
    return digest(layers[model.layer], model.layer, *_content(own))


class Store:
    """One layer's features, or one codebook's units, of the utterances of a manifest.

    Args:
        folder: of the products of one digest.
        cuts: the manifest.
    """

    def __init__(self, folder: Path, cuts: Path):
        self.folder, self.cuts = folder, cuts
        self._places: dict[str, tuple[Path, int, int]] = {}
        self.rejected: dict[str, str] = {}
        self.dim = 0
        for shard in plan(cuts, cuts.name.split(".")[0], "table"):
            path, offset = _shard_file(folder, shard.first, shard.last), 0
            index = read_json(path.with_suffix(".json"))
            self.dim = index[DIM] or self.dim
            self.rejected |= index[REJECTED]
            for name, frames in index[FRAMES].items():
                self._places[name] = (path, offset, frames)
                offset += frames

    @property
    def frames(self) -> dict[str, int]:
        """Utterance -> number of frames, of those that could be used, in the manifest's order."""
        return {name: frames for name, (_, _, frames) in self._places.items()}

    def load(self, name: str) -> np.ndarray:
        """(T, D) float16 features, or (T,) int32 units."""
        path, offset, frames = self._places[name]
        kind, width = (HIDDEN_TYPE, self.dim) if self.dim else (UNITS_TYPE, 1)
        values = np.fromfile(path, kind, frames * width, offset=offset * width * kind.itemsize)
        return values.reshape(frames, self.dim) if self.dim else values


def _shard_file(folder: Path, first: int, last: int) -> Path:
    return folder / f"{first:08d}-{last:08d}.bin"


@dataclass(frozen=True)
class ShardJob:
    """What a process needs to work on a shard: `layers` and, with a path in `units`, the codebook's units."""

    source: Source
    cuts: Path
    first: int
    last: int
    layers: dict[int, Path]  # layer -> folder of its store
    units: Path | None
    batch_seconds: float
    device: str


def fill(
    source: Source, cuts: Path, layers: dict[int, Path], units: Path | None, batch_seconds: float, device: str, nj: int
) -> int:
    """Computes what is missing of the stores; returns the number of shards that were worked on."""
    jobs = []
    for shard in plan(cuts, cuts.name.split(".")[0], "table"):
        missing = {layer: folder for layer, folder in layers.items() if not _index(folder, shard).exists()}
        wanted = units if units is not None and not _index(units, shard).exists() else None
        if missing or wanted is not None:
            jobs.append(ShardJob(source, cuts, shard.first, shard.last, missing, wanted, batch_seconds, device))
    return sum(1 for _ in map_parts(compute, jobs, nj if resolve_device(device).type == "cpu" else 1))


def _index(folder: Path, shard) -> Path:
    return _shard_file(folder, shard.first, shard.last).with_suffix(".json")


@functools.lru_cache(maxsize=1)
def _loaded(source: Source, device: str) -> tuple[Encoder, SpinModel | None]:
    # Kept for the next shard of this process.
    encoder, model = source.load()
    (encoder if model is None else model).eval().to(resolve_device(device))
    return encoder, model


@torch.no_grad()
def compute(job: ShardJob) -> None:
    """Writes one shard of each store, as utterances come: memory is one batch.

    On the CPU an utterance runs by itself, so that its company changes no bit.

    Raises:
        DataError: values that float16 cannot hold.
    """
    prepare_cpu(1)
    encoder, model = _loaded(job.source, job.device)
    shortest = encoder.shape.receptive_field
    cuts, rejected = list(read_cuts(job.cuts, job.first, job.last)), {}
    alone = job.source.official_padding is False and next(encoder.parameters()).device.type == "cpu"
    folders = dict(job.layers) if job.units is None else {**job.layers, CODEBOOK: job.units}
    with contextlib.ExitStack() as stack:
        files = {key: _File(stack, _shard_file(folder, job.first, job.last)) for key, folder in folders.items()}
        for batch in [[cut] for cut in cuts] if alone else make_batches(cuts, job.batch_seconds):
            waveforms = {cut.id: read_waveform(cut, shortest) for cut in batch}
            rejected |= {name: wave for name, wave in waveforms.items() if isinstance(wave, str)}
            good = {name: wave for name, wave in waveforms.items() if not isinstance(wave, str)}
            for name, arrays in _features(encoder, model, good, list(folders), job.source.official_padding):
                for key, array in arrays.items():
                    files[key].add(name, array)
    for file in files.values():
        file.describe(rejected)


def _features(
    encoder: Encoder, model: SpinModel | None, waveforms: dict[str, torch.Tensor], keys: list[int], official_padding: bool
) -> Iterator[tuple[str, dict[int, np.ndarray]]]:
    """(utterance, {layer or CODEBOOK: (T, D) or (T,)}) of a batch."""
    if not waveforms:
        return
    last = max([1, *keys, model.layer if CODEBOOK in keys else 1])
    lengths = torch.tensor([len(wave) for wave in waveforms.values()])
    device = next(encoder.parameters()).device
    padded = torch.nn.utils.rnn.pad_sequence(list(waveforms.values()), batch_first=True).to(device)
    hidden, frames = encoder(padded, lengths, last, official_padding)
    found = {key: hidden[key] for key in keys if key != CODEBOOK}
    if CODEBOOK in keys:
        found[CODEBOOK] = model.project(hidden[model.layer])[1].argmax(-1)
    found = {key: values.cpu().numpy() for key, values in found.items()}
    for row, (name, count) in enumerate(zip(waveforms, frames.tolist(), strict=True)):
        yield name, {key: values[row, :count] for key, values in found.items()}


class _File:
    """A shard's file as it grows; whole or not there when the stack is left."""

    def __init__(self, stack: contextlib.ExitStack, path: Path):
        self.path, self.dim, self.frames = path, 0, {}
        self.stream = stack.enter_context(open(stack.enter_context(atomic_path(path)), "wb"))

    def add(self, name: str, values: np.ndarray) -> None:
        self.dim = values.shape[1] if values.ndim == 2 else 0
        with np.errstate(over="ignore"):
            small = np.ascontiguousarray(values, dtype=HIDDEN_TYPE if self.dim else UNITS_TYPE)
        if self.dim and not np.isfinite(small).all():
            found = f"a value of {np.abs(values).max():g} in {name}"
            raise DataError("features", found=found, expected="finite values below 65,504", cause="a diverged model or odd layer")
        self.stream.write(small.tobytes())
        self.frames[name] = len(small)

    def describe(self, rejected: dict[str, str]) -> None:
        write_json(self.path.with_suffix(".json"), {DIM: self.dim, FRAMES: self.frames, REJECTED: rejected})


def expected_frames(encoder: Encoder, seconds: float) -> int:
    """Frames of that much audio, 0 where it is too short for one."""
    samples = round(seconds * artifacts.SAMPLE_RATE)
    return max(0, int(encoder.feature_extractor.frame_lengths(torch.tensor(samples))))
