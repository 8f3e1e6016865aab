"""CTC models on frozen features: bidirectional LSTM, or convolutions.

Both read normalised features and give log-probabilities.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from spin.asr.features import FeatureStatistics
from spin.config import AsrConfig
from spin.errors import CheckpointError, ConfigError
from spin.runtime.checkpoints import read_checkpoint

CONVOLUTION_TAPS = 7


class CtcModel(nn.Module):
    """Normalises by the training statistics, sums the layers if there are several, stacks `subsampling` frames, runs the body and
    a linear output layer.

    An utterance's output does not depend on the padding or the rest of the batch (to rounding).

    Args:
        config: model, hidden, layers, dropout, subsampling are read.
        statistics: of the training features; of shape (L + 1, D) where the model shall learn a weighted sum of layers.
        vocabulary_size: number of outputs, blank among them.
    """

    def __init__(self, config: AsrConfig, statistics: FeatureStatistics, vocabulary_size: int):
        super().__init__()
        self.subsampling = config.subsampling
        self.register_buffer("mean", torch.from_numpy(np.asarray(statistics.mean, dtype=np.float32)))
        self.register_buffer("scale", 1.0 / torch.from_numpy(np.asarray(statistics.deviation, dtype=np.float32)))
        self.layer_sum = LayerSum(len(statistics.mean)) if statistics.mean.ndim == 2 else None
        width = statistics.mean.shape[-1] * config.subsampling
        if config.model == "blstm":
            self.body: nn.Module = BlstmBody(width, config.hidden, config.layers, config.dropout)
        elif config.model == "conv":
            self.body = ConvolutionBody(width, config.hidden, config.layers, config.dropout)
        else:
            raise ConfigError("asr.model", found=repr(config.model), expected="blstm | conv")
        self.output = nn.Linear(self.body.width, vocabulary_size)

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities of the tokens.

        Args:
            features: (B, T, D) or (B, T, L + 1, D) float32; what lies at and after `lengths` is not looked at.
            lengths: (B,) int64 frames, at least 1, not increasing.

        Returns:
            (B, T', V) float32 and (B,) int64 with T' = ceil(T / subsampling).
        """
        features = (features - self.mean) * self.scale
        if self.layer_sum is not None:
            features = self.layer_sum(features)
        inside = torch.arange(features.shape[1], device=features.device) < lengths.to(features.device)[:, None]
        features = features * inside[:, :, None]
        if self.subsampling > 1:
            features, lengths = _stack(features, lengths, self.subsampling)
        return self.output(self.body(features, lengths)).log_softmax(dim=-1), lengths


class LayerSum(nn.Module):
    """A learned convex combination of an encoder's layers (SUPERB, Yang et al. 2021, section 3.1), even at the start.

    SUPERB sums the layers as they are; here each has been normalised before, so that the weights tell how much is taken of each.

    Args:
        layers: how many.
    """

    def __init__(self, layers: int):
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(layers))

    def shares(self) -> torch.Tensor:
        """(layers,): above zero, together 1."""
        return self.weights.softmax(dim=0)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, T, layers, D) -> (B, T, D)."""
        return torch.einsum("btld,l->btd", features, self.shares())


def output_frames(frames: int, subsampling: int) -> int:
    """Frames of the output for frames of the input."""
    return -(-frames // subsampling)


class BlstmBody(nn.Module):
    """Layers of bidirectional LSTM with dropout after each.

    Args:
        width: of the input.
        hidden: of each direction.
    """

    def __init__(self, width: int, hidden: int, layers: int, dropout: float):
        super().__init__()
        self.width = 2 * hidden
        # Layer by layer: the dropout between the layers of one nn.LSTM is cuDNN's, whose state torch 1.13 seeds once a process.
        widths = [width, *[self.width] * (layers - 1)]
        self.layers = nn.ModuleList(nn.LSTM(inside, hidden, batch_first=True, bidirectional=True) for inside in widths)
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(B, T, width) and (B,) -> (B, T, 2 hidden)."""
        packed = pack_padded_sequence(inputs, lengths.cpu(), batch_first=True)
        for layer in self.layers:
            packed = layer(packed)[0]
            packed = packed._replace(data=self.dropout(packed.data))
        return pad_packed_sequence(packed, batch_first=True, total_length=inputs.shape[1])[0]


class ConvolutionBody(nn.Module):
    """Residual blocks of layer norm, convolution over time, ReLU and dropout.

    Args:
        width: of the input.
        hidden: of every block.
        layers: number of blocks after the first convolution.
    """

    def __init__(self, width: int, hidden: int, layers: int, dropout: float):
        super().__init__()
        self.width = hidden
        padding = CONVOLUTION_TAPS // 2
        self.first = nn.Conv1d(width, hidden, CONVOLUTION_TAPS, padding=padding)
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(layers + 1))
        self.convolutions = nn.ModuleList(nn.Conv1d(hidden, hidden, CONVOLUTION_TAPS, padding=padding) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(B, T, width) and (B,) -> (B, T, hidden)."""
        inside = torch.arange(inputs.shape[1], device=inputs.device) < lengths.to(inputs.device)[:, None]
        hidden = self.first(inputs.transpose(1, 2)).transpose(1, 2)
        for norm, convolution in zip(self.norms, self.convolutions):
            normed = norm(hidden) * inside[:, :, None]
            hidden = hidden + self.dropout(torch.relu(convolution(normed.transpose(1, 2))).transpose(1, 2))
        return self.norms[-1](hidden)


def _stack(features: torch.Tensor, lengths: torch.Tensor, factor: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Joins `factor` neighbouring frames; the last group is filled up with zeros."""
    rows, frames, width = features.shape
    features = nn.functional.pad(features, (0, 0, 0, -frames % factor))
    return features.reshape(rows, -1, width * factor), torch.div(lengths + factor - 1, factor, rounding_mode="floor")


def load_weights(model: CtcModel, weights: dict, path: str) -> CtcModel:
    """Fills a model from a state dict.

    Raises:
        CheckpointError: the weights are of another model.
    """
    try:
        model.load_state_dict(weights)
    except (RuntimeError, KeyError) as error:
        raise CheckpointError(
            path, found=" ".join(str(error).split())[:300], expected="weights of this model", remedy="run stage 4"
        ) from error
    return model


def restore_model(config: AsrConfig, path: Path, vocabulary_size: int, shape: tuple[int, ...]) -> CtcModel:
    """The model of a checkpoint, in evaluation mode on the CPU.

    Args:
        config: of its training.
        path: of the checkpoint.
        vocabulary_size: number of outputs.
        shape: of a frame's features, (D,) or (L + 1, D).

    Raises:
        CheckpointError: the checkpoint is missing, damaged or of another model.
    """
    _, state = read_checkpoint(path)
    unknown = FeatureStatistics(np.zeros(shape, np.float32), np.ones(shape, np.float32))  # the weights hold the real ones
    return load_weights(CtcModel(config, unknown, vocabulary_size), state["model"], str(path)).eval()
