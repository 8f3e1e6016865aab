"""HuBERT and WavLM encoders whose output for an utterance does not depend on its batch.

Legend: B utterances, S samples at 16 kHz, T frames at 50 Hz, D features, L layers, H heads.
"""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spin.errors import DataError
from spin.models.architecture import EncoderShape
from spin.models.layers import FeatureExtractor, PositionalConv, RelativePositionBias, TransformerLayer, disable_cudnn_attention
from spin.runtime.devices import sent


class FeatureProjection(nn.Module):
    """LayerNorm over channels, then a linear map to the Transformer's width: (B, T, C) -> (B, T, D)."""

    def __init__(self, channels: int, dim: int, eps: float, dropout: float):
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=eps)
        self.linear = nn.Linear(channels, dim)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.linear(self.norm(x)), self.dropout, self.training)


class Encoder(nn.Module):
    """Waveforms -> hidden states of every layer.

    In training mode, `dropout` acts after the projection, on attention weights and in the feed-forward layers, and `layerdrop` is
    the probability that a layer is skipped for a batch. With `official_padding`, only for comparison with published figures, a
    batch is padded as by the original code: padding enters the first GroupNorm, and units depend on the batch.
    """

    def __init__(self, shape: EncoderShape, dropout: float = 0.0, layerdrop: float = 0.0):
        super().__init__()
        self.shape, self.dropout, self.layerdrop = shape, dropout, layerdrop
        self.official_padding = False
        self.feature_extractor = FeatureExtractor(shape)
        self.feature_projection = FeatureProjection(shape.conv_channels[-1], shape.dim, shape.norm_eps, dropout)
        self.pos_conv = PositionalConv(shape.dim, shape.pos_conv_taps, shape.pos_conv_groups)
        self.layer_norm = nn.LayerNorm(shape.dim, eps=shape.norm_eps)
        if shape.arch == "wavlm":
            self.position_bias = RelativePositionBias(shape.position_buckets, shape.position_max_distance, shape.heads)
        self.layers = nn.ModuleList(TransformerLayer(shape, dropout) for _ in range(shape.layers))
        initialise(self)

    def forward(self, waveforms: Tensor, lengths: Tensor, last_layer: int | None = None) -> tuple[list[Tensor], Tensor]:
        """Hidden states of a padded batch; DataError for wrong shapes, or an utterance too short for one frame.

        Args:
            waveforms: (B, S) float32 at 16 kHz; samples beyond an utterance's length have no influence on its frames.
            lengths: (B,) int64, samples; at least one frame (400 samples).
            last_layer: run only the layers up to this one (1 to L); None: all.

        Returns:
            hidden: last_layer + 1 tensors (B, T, D): the input of the first layer, then the output of each layer (for norm_first
                shapes before the final LayerNorm); frames beyond frame_lengths mean nothing.
            frame_lengths: (B,) int64 on the device of `lengths`. Lengths on the CPU cost a GPU no synchronisation.
        """
        features, frame_lengths = self.local_features(waveforms, lengths)
        return self.contextualise(features, frame_lengths, last_layer), frame_lengths

    def local_features(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Projected CNN features (B, T, D), before the positional convolution, 0 in padding; frame lengths (B,). See forward."""
        home = lengths.device
        lengths = self.check(waveforms, lengths)
        samples = waveforms.shape[1]
        padded = bool((lengths < samples).any())
        if self.shape.waveform_norm_eps is not None:
            waveforms = normalise_waveforms(waveforms, sent(lengths, waveforms.device), self.shape.waveform_norm_eps)
        waveforms = waveforms.to(self.layer_norm.weight.dtype)
        masked = padded and not self.official_padding
        features = self.feature_extractor(waveforms, lengths if masked else None).transpose(1, 2)
        features = self.feature_projection(features)
        if self.official_padding and self.shape.official_frames == "chunks":
            frame_lengths = _chunk_frames(lengths, samples, features.shape[1])
        else:
            frame_lengths = self.feature_extractor.frame_lengths(lengths)
        if padded:
            features = _zero_padding(features, self._key_mask(features, frame_lengths))
        return features, frame_lengths.to(home)

    def contextualise(self, features: Tensor, frame_lengths: Tensor, last_layer: int | None = None) -> list[Tensor]:
        """Positional convolution and Transformer: local_features, possibly with masked frames replaced -> hidden; see forward."""
        key_mask = self._key_mask(features, frame_lengths)
        features = _zero_padding(features, key_mask)  # masked frames may have been written into padding
        x = features + self.pos_conv(features)
        x = x if self.shape.norm_first else self.layer_norm(x)
        return [x, *self._run(x, key_mask, 0, self._last(last_layer))]

    def deepen(self, hidden: Tensor, frame_lengths: Tensor, done: int, last_layer: int | None = None) -> Tensor:
        """The output of `last_layer` from that of layer `done` (0: the input of the first): (B, T, D) -> (B, T, D)."""
        outputs = self._run(hidden, self._key_mask(hidden, frame_lengths), done, self._last(last_layer))
        return outputs[-1] if outputs else hidden

    def frozen_copy(self, layers: int, dtype: torch.dtype) -> Encoder:
        """A copy of the convolutions and the first `layers` layers that computes in `dtype` alone, and never trains.

        Under autocast, norms and residuals stay float32, and frozen weights are cast in every step. The copy saves that traffic.
        It rounds the residuals. Run it with autocast disabled.
        """
        part = copy.deepcopy(self).eval()
        del part.layers[layers:]
        for module in part.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                setattr(module, name, nn.Parameter(parameter.detach().to(dtype), requires_grad=False))
        return part

    def _run(self, x: Tensor, key_mask: Tensor | None, done: int, last: int) -> list[Tensor]:
        if x.is_cuda:
            disable_cudnn_attention()
        bias = self.position_bias(x.shape[1]) if self.shape.arch == "wavlm" else None
        hidden = []
        for layer in self.layers[done:last]:
            # A frozen layer is in eval mode although the encoder trains, and is never skipped.
            skip = layer.training and self.layerdrop > 0 and float(torch.rand(())) < self.layerdrop
            x = x if skip else layer(x, key_mask, bias)
            hidden.append(x)
        return hidden

    def _last(self, last_layer: int | None) -> int:
        last = self.shape.layers if last_layer is None else last_layer
        if not 0 <= last <= self.shape.layers:
            raise DataError("last_layer", found=str(last), expected=f"0 to {self.shape.layers}, the layers of the encoder")
        return last

    @staticmethod
    def _key_mask(features: Tensor, frame_lengths: Tensor) -> Tensor | None:
        """(B, 1, 1, T) bool, True: valid; None without padding, for the fastest attention kernels."""
        frames = features.shape[1]
        if not bool((frame_lengths < frames).any()):
            return None
        mask = torch.arange(frames, device=features.device) < sent(frame_lengths, features.device)[:, None]
        return mask[:, None, None]

    def check(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """The lengths as int64 on the CPU; raises DataError as forward."""
        if waveforms.ndim != 2 or not waveforms.is_floating_point():
            found = f"{waveforms.dtype} of shape {tuple(waveforms.shape)}"
            raise DataError("waveforms", found=found, expected="float32 of shape (batch, samples) at 16 kHz")
        lengths = torch.as_tensor(lengths, dtype=torch.int64).cpu()
        (count, high), low = waveforms.shape, self.shape.receptive_field
        if lengths.shape != (count,) or count == 0 or int(lengths.min()) < low or int(lengths.max()) > high:
            found, expected = f"{str(lengths.tolist())[:80]} for {count} waveforms", f"{low} (one frame) to {high} samples each"
            raise DataError("lengths", found=found, expected=expected, cause="an empty or truncated file")
        return lengths


def _zero_padding(features: Tensor, key_mask: Tensor | None) -> Tensor:
    return features if key_mask is None else features.masked_fill(~key_mask[:, 0, 0, :, None], 0)


def normalise_waveforms(waveforms: Tensor, lengths: Tensor, eps: float) -> Tensor:
    """(B, S): each utterance to zero mean and unit variance over its own samples, padding to 0."""
    mask = torch.arange(waveforms.shape[1], device=waveforms.device)[None, :] < lengths[:, None]
    count = lengths[:, None].to(waveforms.dtype)
    mean = waveforms.masked_fill(~mask, 0).sum(1, keepdim=True) / count
    centred = (waveforms - mean).masked_fill(~mask, 0)
    return centred * (centred.square().sum(1, keepdim=True) / count + eps).rsqrt()


def _chunk_frames(lengths: Tensor, samples: int, frames: int) -> Tensor:
    """Frames the official way: the padding mask is split into `frames` equal chunks; a chunk of padding alone is padding."""
    chunk = samples // frames
    return torch.div(lengths + chunk - 1, chunk, rounding_mode="floor").clamp(max=frames)


@torch.no_grad()
def initialise(encoder: nn.Module) -> None:
    """Weights for training from scratch: Kaiming convolutions, normal(0, 0.02) linear maps as in BERT, zero biases.

    Draws from torch's global generator; seed it first (spin.runtime.seeding.seed_torch).
    """
    for module in encoder.modules():
        if isinstance(module, nn.Conv1d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, PositionalConv):
            nn.init.normal_(module.weight_v, 0.0, math.sqrt(4.0 / (module.taps * module.weight_v.shape[0])))
            module.weight_g.copy_(module.weight_v.norm(dim=(0, 1), keepdim=True))
        if isinstance(module, (nn.Conv1d, nn.Linear)) and module.bias is not None:
            nn.init.zeros_(module.bias)
