"""CTC models on frozen features or units, bidirectional LSTM or convolutions, and the CTC loss by k2."""

from __future__ import annotations

import k2
import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from spin.asr.inputs import FeatureStatistics
from spin.config import AsrConfig
from spin.errors import CheckpointError, rerun

CONVOLUTION_TAPS = 7
UNIT_WIDTH = 256  # dimensions of the embedding of units
MEAN, EMBEDDING = "front.mean", "front.embedding.weight"  # weights that tell the kind of input
# Arcs this far below the best path change the loss by parts in a million, and gradients of 30 s with sharp posteriors by a few
# parts in a thousand.
OUTPUT_BEAM = 20.0


class CtcModel(nn.Module):
    """A front end for the kind of input, the body, and a linear output layer.

    An utterance's output does not depend on the padding or the rest of the batch (up to rounding). `inputs` are the statistics of
    the training features, or the number of symbols of units; `vocabulary_size` includes blank.
    """

    def __init__(self, config: AsrConfig, inputs: FeatureStatistics | int, vocabulary_size: int):
        super().__init__()
        self.front = UnitFront(inputs) if isinstance(inputs, int) else FeatureFront(inputs)
        body = BlstmBody if config.model == "blstm" else ConvolutionBody
        self.body = body(self.front.width, config.hidden, config.layers, config.dropout)
        self.output = nn.Linear(self.body.width, vocabulary_size)

    def forward(self, inputs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(B, T, V) float32 log-probabilities of the tokens.

        `inputs` are (B, T, D) float32 features, or (B, T) int64 symbols; `lengths` (B,) frames, at least 1, not increasing.
        """
        hidden = self.front(inputs)
        return self.output(self.body(hidden * is_inside(hidden, lengths), lengths)).log_softmax(dim=-1)


def is_inside(padded: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """(B, T, 1) bool: the frames of (B, T, D) that are no padding."""
    return (torch.arange(padded.shape[1], device=padded.device) < lengths.to(padded.device)[:, None])[:, :, None]


class FeatureFront(nn.Module):
    """Normalises features by the training statistics."""

    def __init__(self, statistics: FeatureStatistics):
        super().__init__()
        self.register_buffer("mean", torch.as_tensor(statistics.mean, dtype=torch.float32))
        self.register_buffer("scale", 1.0 / torch.as_tensor(statistics.deviation, dtype=torch.float32))
        self.width = len(statistics.mean)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, T, D) -> (B, T, D)."""
        return (features - self.mean) * self.scale


class UnitFront(nn.Module):
    """Embeds the symbols of units."""

    width = UNIT_WIDTH

    def __init__(self, symbols: int):
        super().__init__()
        self.embedding = nn.Embedding(symbols, UNIT_WIDTH)

    def forward(self, symbols: torch.Tensor) -> torch.Tensor:
        """(B, T) -> (B, T, UNIT_WIDTH)."""
        return self.embedding(symbols)


class BlstmBody(nn.Module):
    """Layers of bidirectional LSTM with dropout after each; `hidden` dimensions in each direction."""

    def __init__(self, width: int, hidden: int, layers: int, dropout: float):
        super().__init__()
        self.width = 2 * hidden
        # Layer by layer: the dropout between the layers of one nn.LSTM is cuDNN's, whose state torch 1.13 seeds once per process.
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
    """A convolution, then `layers` residual blocks of layer norm, convolution over time, ReLU and dropout."""

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
        hidden, kept = self.first(inputs.transpose(1, 2)).transpose(1, 2), is_inside(inputs, lengths)
        for norm, convolution in zip(self.norms, self.convolutions):
            normed = norm(hidden) * kept
            hidden = hidden + self.dropout(torch.relu(convolution(normed.transpose(1, 2))).transpose(1, 2))
        return self.norms[-1](hidden)


def restore_model(config: AsrConfig, weights: dict, vocabulary_size: int, path: str) -> CtcModel:
    """The model of a checkpoint's weights, in evaluation mode on the CPU; CheckpointError where they belong to another model."""
    if EMBEDDING in weights:
        inputs = len(weights[EMBEDDING])
    else:
        width = len(weights[MEAN]) if MEAN in weights else 1
        inputs = FeatureStatistics(np.zeros(width), np.ones(width))  # the weights hold the real ones
    return load_weights(CtcModel(config, inputs, vocabulary_size), weights, path).eval()


def load_weights(model: CtcModel, weights: dict, path: str) -> CtcModel:
    """Fills a model from a state dict; CheckpointError where the weights belong to another model."""
    try:
        model.load_state_dict(weights)
    except (RuntimeError, KeyError) as error:
        expected, cause = "weights of the recogniser that the asr section describes", "a file of another run"
        found = " ".join(str(error).split())[:300]
        raise CheckpointError(path, found=found, expected=expected, cause=cause, remedy=rerun(4)) from error
    return model


def ctc_loss(log_probs: torch.Tensor, lengths: torch.Tensor, tokens: list[list[int]]) -> torch.Tensor:
    """(B,) float32: negative log-likelihood in nats of each utterance's tokens, over all alignments.

    `log_probs` are (B, T, V) float32, log-softmax over V with blank 0; `lengths` (B,) frames on any device, not increasing. An
    utterance too short for its tokens (count_needed_frames) gives infinity.
    """
    graphs = k2.ctc_graph(tokens, modified=False, device=log_probs.device)
    dense = k2.DenseFsaVec(log_probs, dense_segments(lengths))
    return k2.ctc_loss(graphs, dense, output_beam=OUTPUT_BEAM, reduction="none", use_double_scores=True)


def dense_segments(lengths: torch.Tensor) -> torch.Tensor:
    """(B, 3) int32 on the CPU for k2.DenseFsaVec: row, first frame, number of frames."""
    lengths = lengths.cpu()
    if (lengths[1:] > lengths[:-1]).any():
        raise ValueError("lengths must not increase: k2 1.23.4 reads the longest utterance first")
    return torch.stack([torch.arange(len(lengths)), torch.zeros_like(lengths), lengths], dim=1).to(torch.int32)
