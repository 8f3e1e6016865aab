"""The Spin model: an encoder, the layer that is read, and an objective's head and codebook."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from spin.config import Config
from spin.errors import ConfigError
from spin.models.encoder import Encoder
from spin.models.importers import load_encoder
from spin.models.weights import MODEL, write
from spin.objectives import find_objective
from spin.objectives.spin import Spin
from spin.runtime.devices import sent

Frames = tuple[Tensor, Tensor]  # (B, T, D) hidden states and (B,) frames on the CPU


class SpinModel(nn.Module):
    """Waveforms -> frames -> units. The encoder is read at `layer`, 1 to L; layers above it never run."""

    def __init__(self, encoder: Encoder, objective: Spin, layer: int):
        super().__init__()
        if not 1 <= layer <= encoder.shape.layers:
            top = encoder.shape.layers
            expected, remedy = f"1 to {top}, the encoder's layers", f"--set encoder.layer={top}"
            raise ConfigError("encoder.layer", found=str(layer), expected=expected, remedy=remedy)
        self.encoder, self.objective, self.layer = encoder, objective, layer
        self.trainable_from = layer + 1  # the lowest layer that trains; 0: also everything below layer 1
        self._frozen: list[nn.Module] = []
        self._frozen_copy: list[Encoder] = []  # at most one; in a list it is no submodule, and no file or validation sees it

    @classmethod
    def create(cls, config: Config) -> SpinModel:
        """The configured encoder with a new head and codebook, its top layers trainable, on the CPU.

        Raises ConfigError for layers that the encoder does not have, CheckpointError where the encoder cannot be read.
        """
        encoder = load_encoder(config.encoder.source, config.encoder.official_padding)
        objective = find_objective(config.objective).create(config, encoder.shape.dim)
        return cls(encoder, objective, config.encoder.layer).set_trainable(config.spin.trainable_layers)

    # Linear maps of the objective; row k of the codebook's weight is code k.
    head = property(lambda self: self.objective.head)
    codebook = property(lambda self: self.objective.codebook)
    codebook_size = property(lambda self: self.objective.codebook.out_features)

    @torch.no_grad()
    def units(self, waveforms: Tensor, lengths: Tensor) -> list[Tensor]:
        """(B, S) float32 at 16 kHz of (B,) int64 samples -> units at 50 Hz, B tensors (T_i,) int64 from 0 to K - 1.

        They are the same for an utterance in any batch, except with official_padding: on the CPU every utterance runs by itself,
        as matrix products of other shapes round differently. Dropout is off even in training.
        """
        lengths = self.encoder.check(waveforms, lengths)
        batches, units, training = [(waveforms, lengths)], [], self.training
        if waveforms.device.type == "cpu" and not self.encoder.official_padding:
            batches = [(waveforms[i : i + 1, :n], lengths[i : i + 1]) for i, n in enumerate(lengths.tolist())]
        self.eval()
        for batch in batches:
            hidden, frames = self.encoder(*batch, self.layer)
            units += [self.objective.units(row[:n]) for row, n in zip(hidden[-1], frames.tolist(), strict=True)]
        self.train(training)
        return units

    def set_trainable(self, top_layers: int) -> SpinModel:
        """Trains the objective and the `top_layers` layers up to and including `layer`, and freezes the rest; returns self.

        One more than `layer` also trains what lies below layer 1: convolutions, projection and positional convolution. Autograd
        records nothing for what is frozen, and it stays in evaluation mode, without dropout. WavLM's table of position biases
        belongs to layer 1, as in the official code.
        """
        if not 0 <= top_layers <= self.layer + 1:
            expected = f"0 to {self.layer} layers, or {self.layer + 1} for the whole encoder"
            remedy = f"--set spin.trainable_layers={min(2, self.layer)}"
            raise ConfigError("spin.trainable_layers", found=str(top_layers), expected=expected, remedy=remedy)
        self.trainable_from = lowest = self.layer + 1 - top_layers
        self._frozen = [*self.encoder.layers[: max(lowest, 1) - 1], *self.encoder.layers[self.layer :]]
        for name, module in self.encoder.named_children():
            if name != "layers" and lowest > (1 if name == "position_bias" else 0):
                self._frozen.append(module)
        self.requires_grad_(True)
        for module in self._frozen:
            module.requires_grad_(False)
        return self.train(self.training)

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """Name -> parameter that trains, in a fixed order."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def train(self, mode: bool = True) -> SpinModel:
        """As nn.Module.train, but frozen parts stay in evaluation mode."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def run_frozen(self, waveforms: Tensor, lengths: Tensor) -> Frames:
        """The output of the highest frozen layer for (B, S) waveforms of (B,) samples; the input itself if all layers train."""
        if self.trainable_from == 0:
            return waveforms, lengths
        if self._frozen_copy:
            with torch.no_grad(), torch.autocast(waveforms.device.type, enabled=False):
                hidden, frame_lengths = self._frozen_copy[0](waveforms, lengths, self.trainable_from - 1)
            return hidden[-1].float(), frame_lengths
        hidden, frame_lengths = self.encoder(waveforms, lengths, self.trainable_from - 1)
        return hidden[-1], frame_lengths

    def run_frozen_in(self, dtype: torch.dtype) -> None:
        """From now on `run_frozen`, which only updates call, computes in `dtype` alone: see Encoder.frozen_copy."""
        if self.trainable_from > 0:
            self._frozen_copy = [self.encoder.frozen_copy(self.trainable_from - 1, dtype)]

    def run_trainable(self, frozen: Frames) -> tuple[Tensor, ...]:
        """The layers that train, and Spin.represent: tensors (2, N, any width) float32 of the N valid frames per view.

        `frozen` is the output of `run_frozen` for two views, the first view of all utterances before the second.
        """
        if self.trainable_from == 0:
            states, frame_lengths = self.encoder(*frozen, self.layer)
            hidden = states[-1]
        else:
            hidden, frame_lengths = self.encoder.deepen(*frozen, self.trainable_from - 1, self.layer), frozen[1]
        return self.objective.represent(select_valid(hidden, frame_lengths).float())


def select_valid(hidden: Tensor, frame_lengths: Tensor) -> Tensor:
    """(2B, T, D), all first views before all second views, and (2B,) frames on the CPU -> (2, N, D) without padding."""
    frames = hidden.shape[1]
    flat = hidden.flatten(0, 1)
    if bool((frame_lengths < frames).any()):
        index = (torch.arange(frames) < frame_lengths[:, None]).flatten().nonzero().squeeze(1)
        flat = flat.index_select(0, sent(index, hidden.device))
    return flat.view(2, -1, hidden.shape[-1])


def save_model(path: str | Path, model: SpinModel, notes: dict[str, str] | None = None) -> None:
    """Writes encoder, head and codebook to one safetensors file, complete or not at all; `notes` are further metadata.

    What only training needs (an auxiliary codebook or classifier) is not written; the training's checkpoints hold it.
    """
    config = {"encoder": model.encoder.shape.as_dict(), "layer": model.layer}
    config |= {"codebook_size": model.codebook_size, "codebook_dim": model.codebook.in_features}
    state = {f"encoder.{name}": value for name, value in model.encoder.state_dict().items()}
    state |= {"head.weight": model.head.weight, "head.bias": model.head.bias, "codebook.weight": model.codebook.weight}
    write(path, state, {"format": MODEL, "config": json.dumps(config)}, "float32", notes)


def load_model(path_or_name: str | Path, base: str | Path | None = None) -> SpinModel:
    """A Spin or R-Spin model in float32 and evaluation mode, on the CPU. No code in the file is run.

    Args:
        path_or_name: a file of save_model, an official Spin .ckpt or R-Spin .pt, a folder of `python -m spin export`, or a name
            of spin.models.importers such as "spin_hubert_256", downloaded on first use.
        base: only for an official checkpoint of an encoder that is not Base, Large or X-Large: the checkpoint that it started
            from, for the configuration. Default: a file of that name in the same folder, if there is one.

    Raises CheckpointError, which names the file, what is wrong with it, and the formats known.
    """
    from spin.models.model_files import read_model  # formats of other programs, which no training reads

    encoder, state, layer = read_model(path_or_name, base)
    size, dim = state["codebook.weight"].shape
    objective = Spin(encoder.shape.dim, size, dim)
    objective.load_state_dict(state)
    return SpinModel(encoder, objective, layer).eval()
