"""One layer's features of two encoders at once: what both compute alike is computed once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spin import artifacts
from spin.errors import ConfigError
from spin.models.encoder import Encoder
from spin.models.spin_model import SpinModel

BASELINE, SPIN = artifacts.SYSTEMS


@dataclass(frozen=True)
class UtteranceFeatures:
    """What stage 3 keeps of an utterance, on the CPU.

    Attributes:
        hidden: (T, D) float32 of each system.
        spin_units: (T,) int64.
        layers: (T, L + 1, D) float32 of each system, the input of the first layer in front; none where they are not wanted.
    """

    hidden: dict[str, Tensor]
    spin_units: Tensor
    layers: dict[str, Tensor]


class TwinEncoders:
    """The encoder before Spin and the Spin model, read at one layer.

    On the CPU every utterance runs by itself, so that its features are the same to the last bit whatever batch it came in; on a
    GPU a batch runs as one.

    Args:
        baseline: the encoder before Spin.
        model: after Spin; its units come from the layer it was trained on.
        layer: whose output is kept, 1 to L.
    """

    def __init__(self, baseline: Encoder, model: SpinModel, layer: int, official_padding: bool = False):
        layers = min(baseline.shape.layers, model.encoder.shape.layers)
        if not 1 <= layer <= layers:
            raise ConfigError("units.layer", found=str(layer), expected=f"1 to {layers}, the encoder's layers")
        self.baseline, self.model, self.layer, self.official_padding = baseline.eval(), model.eval(), layer, official_padding
        self.shared = shared_layers(baseline, model.encoder)

    def to(self, device: torch.device) -> TwinEncoders:
        self.baseline.to(device)
        self.model.to(device)
        self.device = device
        return self

    device = torch.device("cpu")

    @torch.no_grad()
    def __call__(self, waveforms: list[Tensor], every_layer: bool = False) -> list[UtteranceFeatures]:
        """(S_i,) float32 waveforms at 16 kHz, each of at least one frame -> features of each, all layers too where wanted."""
        if self.device.type == "cpu" and not self.official_padding:
            return [found for waveform in waveforms for found in self._batch([waveform], every_layer)]
        return self._batch(waveforms, every_layer)

    def _batch(self, waveforms: list[Tensor], every_layer: bool = False) -> list[UtteranceFeatures]:
        lengths = torch.tensor([len(waveform) for waveform in waveforms])
        padded = torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True).to(self.device)
        lasts = self.baseline.shape.layers, self.model.encoder.shape.layers
        last, last_after = lasts if every_layer else (self.layer, max(self.layer, self.model.layer))
        if self.shared is None:
            before, frames = self.baseline(padded, lengths, last, self.official_padding)
            after, _ = self.model.encoder(padded, lengths, last_after, self.official_padding)
        else:
            features, frames = self.baseline.local_features(padded, lengths, self.official_padding)
            split = min(self.shared, last)
            before = self.baseline.contextualise(features, frames, last)
            after = before[: split + 1] + upper_layers(self.model.encoder, before[split], frames, split, last_after)
        units = self.model.project(after[self.model.layer])[1].argmax(-1).cpu()
        kept = {BASELINE: before[self.layer].cpu(), SPIN: after[self.layer].cpu()}
        states = {BASELINE: before, SPIN: after} if every_layer else {}
        layers = {name: torch.stack(hidden, dim=2).cpu() for name, hidden in states.items()}
        return [
            UtteranceFeatures(
                {name: hidden[row, :count] for name, hidden in kept.items()},
                units[row, :count],
                {name: hidden[row, :count] for name, hidden in layers.items()},
            )
            for row, count in enumerate(frames.tolist())
        ]


def shared_layers(one: Encoder, other: Encoder) -> int | None:
    """How many leading layers have equal weights in both, 0 to L; None where what lies before the layers already differs."""
    if one.shape != other.shape:
        return None
    first, second = one.state_dict(), other.state_dict()
    differing = [name for name, tensor in first.items() if not torch.equal(tensor, second[name])]
    layers = [int(name.split(".")[1]) if name.startswith("layers.") else -1 for name in differing]
    lowest = min(layers, default=one.shape.layers)
    return None if lowest < 0 else lowest


def upper_layers(encoder: Encoder, x: Tensor, frame_lengths: Tensor, first: int, last: int) -> list[Tensor]:
    """Outputs of layers first + 1 to last.

    Args:
        x: (B, T, D) the output of layer `first` (0: the input of the first layer).
        frame_lengths: (B,) valid frames.
    """
    key_mask = None
    if bool((frame_lengths < x.shape[1]).any()):
        key_mask = (torch.arange(x.shape[1])[None, :] < frame_lengths.cpu()[:, None])[:, None, None].to(x.device)
    bias = encoder.position_bias(x.shape[1]) if encoder.shape.arch == "wavlm" else None
    outputs = []
    for layer in encoder.layers[first:last]:
        x = layer(x, key_mask, bias)
        outputs.append(x)
    return outputs
