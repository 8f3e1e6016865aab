"""Extractors: waveforms -> features of each system's layer, and units of systems with a codebook.

On the CPU every utterance runs by itself, so its features are the same to the last bit in any batch. On a GPU, and with
official padding, a batch runs as one. Systems that run together compute layers with equal weights once: those that Spin does
not train.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from spin import artifacts
from spin.errors import ConfigError
from spin.models.encoder import Encoder
from spin.models.importers import is_model_source, load_encoder
from spin.objectives.model import load_model
from spin.runtime.devices import resolve_device
from spin.systems import System

MEL_BINS = 80
JOINED = 2  # filterbank frames of 10 ms per frame of an encoder
States = tuple[list[Tensor], Tensor]  # hidden states (B, T, D) of layers 0 to L', and (B,) frames
Extracted = tuple[np.ndarray, np.ndarray | None]  # (T, D) features of one utterance, and (T,) units by a codebook


class EncoderExtractor:
    """An encoder, or a model with its codebook; of a model file without has_codebook only the encoder is read.

    Raises CheckpointError where the system's source cannot be read, and ConfigError for a layer that it does not have.
    `leader` runs before on the same batches; its layers are reused as far as the weights are equal.
    """

    def __init__(self, system: System, official_padding: bool, device: torch.device, leader: EncoderExtractor | None = None):
        model = load_model(system.source) if system.has_codebook or is_model_source(system.source) else None
        # Parameters keep requires_grad: without it some CPU kernels are others, and round differently.
        self.encoder = (model.encoder if model else load_encoder(system.source)).eval()
        self.encoder.official_padding = official_padding
        self.layer = model.layer if system.layer is None else system.layer
        if not 1 <= self.layer <= self.encoder.shape.layers:
            expected, remedy = f"1 to {self.encoder.shape.layers}, the encoder's layers", "--set units.layer=N"
            raise ConfigError("units.layer", found=str(self.layer), expected=expected, remedy=remedy)
        self.model = model if system.has_codebook else None
        self.receptive_field, self.dim = self.encoder.shape.receptive_field, self.encoder.shape.dim  # samples of a frame; D
        self.codebook_size = self.model.codebook_size if self.model else None
        (self.model or self.encoder).to(device)
        self.shared = count_shared_layers(leader.encoder, self.encoder) if leader else None
        for number in range(self.shared or 0):
            self.encoder.layers[number] = leader.encoder.layers[number]  # held in memory once

    @torch.no_grad()
    def run(self, waveforms: Tensor, lengths: Tensor, lead: States | None) -> tuple[list[Extracted], States]:
        """(B, S) float32 at 16 kHz, (B,) samples, states of the leader -> features and units of each utterance, own states."""
        hidden, frames = states = self._states(waveforms, lengths, lead)
        features = hidden[self.layer].cpu().numpy()
        units = self.model.objective.units(hidden[self.model.layer]).cpu().numpy() if self.model else None
        rows = enumerate(frames.tolist())
        return [(features[row, :count], None if units is None else units[row, :count]) for row, count in rows], states

    def _states(self, waveforms: Tensor, lengths: Tensor, lead: States | None) -> States:
        last = max(self.layer, self.model.layer if self.model else 0)
        if lead is None or self.shared is None:
            return self.encoder(waveforms, lengths, last)
        hidden, frames = lead
        split = min(self.shared, last, len(hidden) - 1)
        states = hidden[: split + 1]
        for number in range(split, last):
            states.append(self.encoder.deepen(states[-1], frames, number, number + 1))
        return states, frames


class FilterbankExtractor:
    """Log-mel filterbanks, a system without an encoder: the first rung of the ladder.

    80 energies every 10 ms (lhotse's Fbank, Kaldi's settings, no dither), two neighbours joined. So there are as many frames as
    an encoder has, and every recogniser learns from the same utterances. It has one layer, no codebook, and needs no device.
    """

    receptive_field, dim, codebook_size = 400, JOINED * MEL_BINS, None  # as an encoder's, which decides the number of frames

    def __init__(self):
        from lhotse import Fbank, FbankConfig

        self.fbank = Fbank(FbankConfig(num_mel_bins=MEL_BINS, dither=0.0))

    def run(self, waveforms: Tensor, lengths: Tensor, lead: States | None) -> tuple[list[Extracted], None]:
        """One batch; see EncoderExtractor.run."""
        results = []
        for row, samples in zip(waveforms.cpu().numpy(), lengths.tolist(), strict=True):
            frames = self.fbank.extract(row[None, :samples], artifacts.SAMPLE_RATE)
            count = 1 + (samples - self.receptive_field) // artifacts.HOP_IN_SAMPLES
            results.append((join_frames(np.asarray(frames, dtype=np.float32), count), None))
        return results, None


def join_frames(frames: np.ndarray, count: int) -> np.ndarray:
    """(T, D) every 10 ms -> (count, 2 D) every 20 ms float16; truncated, or padded with the last frame."""
    frames = np.pad(frames, ((0, max(0, JOINED * count - len(frames))), (0, 0)), mode="edge")
    return frames[: JOINED * count].reshape(count, -1).astype(np.float16)


Extractor = EncoderExtractor | FilterbankExtractor


@functools.lru_cache(maxsize=1)  # kept for the next shard of the process
def open_extractors(systems: tuple[System, ...], official_padding: bool, device: str) -> dict[System, Extractor]:
    """The extractors of systems that run together; the first encoder leads."""
    extractors: dict[System, Extractor] = {}
    leader = None
    for system in systems:
        if system.kind == "fbank":
            extractors[system] = FilterbankExtractor()
        else:
            extractors[system] = EncoderExtractor(system, official_padding, resolve_device(device), leader)
            leader = leader or extractors[system]
    return extractors


def extract(
    extractors: dict[System, Extractor], waveforms: Sequence[np.ndarray], device: torch.device
) -> list[dict[System, Extracted]]:
    """Features and units of (S_i,) float32 waveforms at 16 kHz, each of at least one frame, by all systems."""
    official = any(isinstance(own, EncoderExtractor) and own.encoder.official_padding for own in extractors.values())
    alone = device.type == "cpu" and not official
    results: list[dict[System, Extracted]] = []
    for batch in [[waveform] for waveform in waveforms] if alone else [waveforms]:
        lengths = torch.tensor([len(waveform) for waveform in batch])
        padded = pad_sequence([torch.from_numpy(waveform) for waveform in batch], batch_first=True).to(device)
        rows: list[dict[System, Extracted]] = [{} for _ in batch]
        lead = None
        for system, extractor in extractors.items():
            own, states = extractor.run(padded, lengths, lead)
            lead = lead or states
            for row, result in zip(rows, own, strict=True):
                row[system] = result
        results += rows
    return results


def count_shared_layers(one: Encoder, other: Encoder) -> int | None:
    """Number of leading layers with equal weights, 0 to L; None where what lies below the layers already differs."""
    if one.shape != other.shape:
        return None
    first, second = one.state_dict(), other.state_dict()
    differing = [name for name, tensor in first.items() if not torch.equal(tensor, second[name])]
    layers = [int(name.split(".")[1]) if name.startswith("layers.") else -1 for name in differing]
    lowest = min(layers, default=one.shape.layers)
    return None if lowest < 0 else lowest
