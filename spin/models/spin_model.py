"""The Spin model: encoder, prediction head, codebook (Chang, Liu, Glass 2023, arXiv 2305.11072, section 2)."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spin.errors import CheckpointError, ConfigError
from spin.models import export_folder, official, storage
from spin.models.encoder import Encoder, evaluating
from spin.models.importers import load_folder
from spin.models.names import FORMATS, fit, mismatch, require_finite
from spin.models.reading import is_safetensors
from spin.models.shape import EncoderShape, of_file
from spin.runtime import seeding


class SpinModel(nn.Module):
    """Waveforms -> frames on the unit sphere and their similarity to each code.

    Args:
        encoder: of width D.
        head: Linear D -> codebook_dim.
        codebook: Linear codebook_dim -> K without bias; row k of its weight is code k.
        layer: the encoder layer that is read, 1 to L; layers above it are never run.
    """

    def __init__(self, encoder: Encoder, head: nn.Linear, codebook: nn.Linear, layer: int):
        super().__init__()
        if not 1 <= layer <= encoder.shape.layers:
            raise ConfigError("encoder.layer", found=str(layer), expected=f"1 to {encoder.shape.layers}, the encoder's layers")
        self.encoder, self.head, self.codebook, self.layer = encoder, head, codebook, layer
        self._frozen: list[nn.Module] = []

    @classmethod
    def create(cls, encoder: Encoder, layer: int, codebook_size: int, codebook_dim: int, seed: int) -> SpinModel:
        """Head and codebook drawn from the seed alone: uniform within +-1/sqrt(inputs); codebook rows of length 1."""
        draws = torch.Generator().manual_seed(seeding.integer(seed, "spin head and codebook"))
        head, codebook = nn.Linear(encoder.shape.dim, codebook_dim), nn.Linear(codebook_dim, codebook_size, bias=False)
        with torch.no_grad():
            for parameter in (head.weight, head.bias, codebook.weight):
                bound = (codebook_dim if parameter is codebook.weight else encoder.shape.dim) ** -0.5
                parameter.uniform_(-bound, bound, generator=draws)
        model = cls(encoder, head, codebook, layer)
        model.normalise_codebook()
        return model

    def forward(self, waveforms: Tensor, lengths: Tensor, official_padding: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """For training.

        Args:
            waveforms, lengths, official_padding: see Encoder.forward.

        Returns:
            z: (B, T, codebook_dim) float32, each frame of length 1 over the feature dimension.
            logits: (B, T, K) float32, z times the codebook; not divided by any temperature.
            frame_lengths: (B,) int64; frames beyond are to be left out of the loss and of Sinkhorn's sums.
        """
        hidden, frame_lengths = self.encoder(waveforms, lengths, self.layer, official_padding)
        return *self.project(hidden[-1]), frame_lengths

    def project(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """(..., D) -> z (..., codebook_dim) and logits (..., K), both float32 under autocast too: Sinkhorn divides by 0.02."""
        with torch.autocast(hidden.device.type, enabled=False):
            z = F.normalize(self.head(hidden.float()), dim=-1)
            return z, self.codebook(z)

    @torch.no_grad()
    def units(self, waveforms: Tensor, lengths: Tensor, official_padding: bool = False) -> list[Tensor]:
        """Discrete units at 50 Hz, the same for an utterance whatever the batch; dropout is off even in training.

        Args:
            waveforms: (B, S) float32 at 16 kHz.
            lengths: (B,) int64, samples.
            official_padding: see Encoder.forward; then an utterance may have one frame more than alone.

        Returns:
            B tensors (T_i,) int64, 0 to K - 1.
        """
        with evaluating(self):
            outputs = self.encoder.layer_output(waveforms, lengths, self.layer, official_padding)
            return [self.project(output)[1].argmax(-1) for output in outputs]

    def set_trainable(self, top_layers: int = 2) -> SpinModel:
        """Only head, codebook and the `top_layers` layers below and including `layer` learn.

        What is frozen needs no gradient, so autograd records nothing there, and stays in evaluation mode: no dropout.
        WavLM's table of position biases belongs to layer 1, as in the official code.
        """
        if not 0 <= top_layers <= self.layer:
            raise ConfigError("spin.trainable_layers", found=str(top_layers), expected=f"0 to {self.layer}, the layers that run")
        lowest = self.layer - top_layers
        learning = list(self.encoder.layers[lowest : self.layer])
        if lowest == 0 and self.encoder.shape.arch == "wavlm":
            learning.append(self.encoder.position_bias)
        parts = [*self.encoder.layers, *(part for name, part in self.encoder.named_children() if name != "layers")]
        self._frozen = [part for part in parts if not any(part is one for one in learning)]
        self.requires_grad_(True)
        for part in self._frozen:
            part.requires_grad_(False)
        return self.train(self.training)

    def frozen_layers(self) -> int:
        """How many of the lowest layers learn nothing: what they give has no graph."""
        learning = (
            i for i, part in enumerate(self.encoder.layers[: self.layer]) if any(p.requires_grad for p in part.parameters())
        )
        return next(learning, self.layer)

    def trainable_parameters(self) -> list[nn.Parameter]:
        """Parameters that learn, in a fixed order."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def train(self, mode: bool = True) -> SpinModel:
        """As nn.Module.train, but frozen parts stay in evaluation mode."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    @torch.no_grad()
    def normalise_codebook(self) -> None:
        """Every code to length 1; after each optimiser step."""
        self.codebook.weight.copy_(F.normalize(self.codebook.weight, dim=1))


def save_model(path: str | Path, model: SpinModel, dtype: str = "float32", notes: dict[str, str] | None = None) -> None:
    """Encoder, head and codebook in one safetensors file, whole or not at all; see storage.save_encoder for the arguments."""
    config = {
        "encoder": model.encoder.shape.as_dict(),
        "layer": model.layer,
        "codebook_size": model.codebook.out_features,
        "codebook_dim": model.codebook.in_features,
    }
    storage.write(path, model.state_dict(), {"format": storage.MODEL, "config": json.dumps(config)}, dtype, notes)


def load_model(path: str | Path, base: str | Path | None = None) -> SpinModel:
    """A model of save_model, an official Spin .ckpt, or a folder of `python -m spin export`; no code in the file is run.

    Args:
        base: only for an official checkpoint of an encoder that is not Base, Large or X-Large: the checkpoint that it started
            from, for the configuration. Default: a file of that name in the same folder, if there is one.

    Returns:
        The model in float32 and evaluation mode, on the CPU.

    Raises:
        CheckpointError: names the file, what is wrong with it, and the formats known.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        expected = f"a Spin model (.safetensors) or an official checkpoint (.ckpt); formats known: {FORMATS}"
        raise CheckpointError(str(path), found="no such file", expected=expected)
    if is_safetensors(path):
        return _read_model(path)
    encoder, head, codebook, layer = official.read_checkpoint(path, base)
    return SpinModel(encoder, head, codebook, layer).eval()


def _read_model(path: Path) -> SpinModel:
    state, metadata = storage.read(path, storage.MODEL)
    config = storage.read_json_entry(path, metadata, "config")
    missing = next((key for key in ("encoder", "layer", "codebook_size", "codebook_dim") if key not in config), None)
    if missing:
        raise CheckpointError(str(path), found=f"no {missing!r} in the configuration", expected="a file of save_model")
    prefix = "encoder."
    weights = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
    if not isinstance(config["encoder"], dict):
        raise CheckpointError(str(path), found=f"encoder {config['encoder']!r}", expected="a JSON object, its shape")
    with of_file(str(path)):
        shape = EncoderShape.from_dict(config["encoder"])
    encoder = fit(str(path), weights, shape, None)
    return _assemble(path, encoder, {key: tensor for key, tensor in state.items() if not key.startswith(prefix)}, config)


def _read_folder(folder: Path) -> SpinModel:
    config, state = export_folder.read_head(folder)
    return _assemble(folder / export_folder.HEAD_FILE, load_folder(folder), state, config)


def _assemble(path: Path, encoder: Encoder, state: dict[str, Tensor], config: dict) -> SpinModel:
    for key, limit in (("layer", encoder.shape.layers), ("codebook_size", None), ("codebook_dim", None)):
        if not isinstance(config[key], int) or config[key] < 1 or (limit and config[key] > limit):
            expected = f"a whole number, at least 1{f' and at most {limit}, the layers of the encoder' if limit else ''}"
            raise CheckpointError(str(path), found=f"{key} {config[key]!r} in the configuration", expected=expected)
    head = nn.Linear(encoder.shape.dim, config["codebook_dim"])
    codebook = nn.Linear(config["codebook_dim"], config["codebook_size"], bias=False)
    parameters = {"head.weight": head.weight, "head.bias": head.bias, "codebook.weight": codebook.weight}
    assign(str(path), parameters, {key: tensor.float() for key, tensor in state.items()})
    return SpinModel(encoder, head, codebook, config["layer"]).eval()


@torch.no_grad()
def assign(subject: str, parameters: dict[str, nn.Parameter], state: dict[str, Tensor]) -> None:
    """Copies each named tensor; CheckpointError on the first missing, unexpected or misshapen one."""
    missing = next((key for key in parameters if key not in state), None)
    unexpected = next((key for key in state if key not in parameters), None)
    if missing or unexpected:
        raise mismatch(subject, missing, unexpected)
    for key, parameter in parameters.items():
        if parameter.shape != state[key].shape:
            found, expected = f"{key!r} of shape {tuple(state[key].shape)}", f"shape {tuple(parameter.shape)}"
            raise CheckpointError(subject, found=found, expected=expected)
        require_finite(subject, key, state[key])
        parameter.copy_(state[key])
