"""The convolutional feature extractor: waveform -> 50 frames per second; its GroupNorm does not see padding."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spin.models.architecture import EncoderShape


def conv_length(lengths: Tensor, kernel: int, stride: int) -> Tensor:
    """Frames (int64) of a convolution without padding. Never below 0."""
    return torch.div(lengths - kernel, stride, rounding_mode="floor").add(1).clamp(min=0)


def masked_group_norm(features: Tensor, valid: Tensor, norm: nn.GroupNorm) -> Tensor:
    """GroupNorm of (B, C, T) with one group per channel, whose mean and variance are taken over the valid frames only.

    `valid` (B,) int64 are the numbers of valid frames, at least 1; on the CPU, a GPU need not be waited for. The result has the
    dtype of `features`; padded frames are finite but mean nothing.
    """
    learning = torch.is_grad_enabled() and (features.requires_grad or norm.weight.requires_grad)
    if learning or (hasattr(torch, "compiler") and torch.compiler.is_compiling()):
        return _group_norm_by_mask(features, valid.to(features.device, non_blocking=True), norm)
    return _group_norm_by_rows(features, valid, norm)


def _group_norm_by_mask(features: Tensor, valid: Tensor, norm: nn.GroupNorm) -> Tensor:
    """masked_group_norm of the whole batch at once, without a branch that depends on the lengths."""
    frames = torch.arange(features.shape[-1], device=features.device)
    mask = (frames[None, :] < valid[:, None])[:, None]  # (B, 1, T)
    count = valid.to(torch.float32).clamp(min=1)[:, None, None]
    wide = features.float()
    mean = wide.masked_fill(~mask, 0).sum(-1, keepdim=True) / count
    centred = (wide - mean).masked_fill(~mask, 0)
    variance = centred.square().sum(-1, keepdim=True) / count
    scale = norm.weight.float()[:, None] * (variance + norm.eps).rsqrt()
    return (centred * scale + norm.bias.float()[:, None]).to(features.dtype)


def _group_norm_by_rows(features: Tensor, valid: Tensor, norm: nn.GroupNorm) -> Tensor:
    """PyTorch's fused kernel on each row: a third of the time and memory of masks, but slow to differentiate."""
    output = torch.zeros_like(features)
    for i, frames in enumerate(valid.tolist()):
        output[i : i + 1, :, :frames] = group_norm(features[i : i + 1, :, :frames], norm)
    return output


def group_norm(features: Tensor, norm: nn.GroupNorm) -> Tensor:
    """GroupNorm of (B, C, T); on a GPU in the dtype of `features`, with float32 statistics inside the kernel.

    Autocast would return float32, which costs 18 % of the time of a Spin step there and more than half of its peak memory.
    """
    if features.is_cuda:
        with torch.autocast("cuda", enabled=False):
            weight, bias = norm.weight.to(features.dtype), norm.bias.to(features.dtype)
            return F.group_norm(features, norm.num_groups, weight, bias, norm.eps)
    return norm(features)


class ConvLayer(nn.Module):
    """Convolution, normalisation if any ("group" over time, "layer" over channels), GELU."""

    def __init__(self, inputs: int, channels: int, kernel: int, stride: int, bias: bool, norm: str | None):
        super().__init__()
        self.conv = nn.Conv1d(inputs, channels, kernel, stride, bias=bias)
        if norm == "group":
            self.norm = nn.GroupNorm(channels, channels)
        elif norm == "layer":
            self.norm = nn.LayerNorm(channels)
        else:
            self.norm = None

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """(B, C, T) -> (B, C', T'); `valid` (B,) are the valid frames of the output, None: all of them."""
        x = self._convolve(x)
        if isinstance(self.norm, nn.LayerNorm):
            x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        elif self.norm is not None:
            x = group_norm(x, self.norm) if valid is None else masked_group_norm(x, valid, self.norm)
        return F.gelu(x)

    def _convolve(self, x: Tensor) -> Tensor:
        conv = self.conv
        learning = torch.is_grad_enabled() and (x.requires_grad or conv.weight.requires_grad)
        if conv.in_channels > 1 or x.device.type != "cpu" or learning:
            return conv(x)
        # For a single channel the CPU multiplies the windows as a matrix five times faster than it convolves.
        windows = x[:, 0].unfold(1, conv.kernel_size[0], conv.stride[0]).transpose(1, 2)
        y = torch.matmul(conv.weight[:, 0], windows)
        return y if conv.bias is None else y + conv.bias[:, None].to(y.dtype)


class FeatureExtractor(nn.Module):
    """The stack of convolutions, none of them padded, so that only the GroupNorm can mix padding into valid frames."""

    def __init__(self, shape: EncoderShape):
        super().__init__()
        self.kernels, self.strides = shape.conv_kernels, shape.conv_strides
        inputs = (1, *shape.conv_channels[:-1])
        norms = [shape.extractor_norm if shape.extractor_norm == "layer" or i == 0 else None for i in range(len(inputs))]
        # These norms keep PyTorch's eps (1e-5) in every public model, whatever the configuration says of the Transformer's.
        self.layers = nn.ModuleList(
            ConvLayer(i, c, k, s, shape.conv_bias, norm)
            for i, c, k, s, norm in zip(inputs, shape.conv_channels, self.kernels, self.strides, norms, strict=True)
        )

    def forward(self, waveforms: Tensor, lengths: Tensor | None) -> Tensor:
        """(B, S) float -> (B, C, T). `lengths` (B,) in samples, on the CPU; None: no padding, or none to mask."""
        x = waveforms[:, None]
        valid = lengths
        for layer, kernel, stride in zip(self.layers, self.kernels, self.strides, strict=True):
            valid = None if valid is None else conv_length(valid, kernel, stride)
            x = layer(x, valid)
        return x

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """(B,) int64: number of frames of waveforms of that many samples."""
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            lengths = conv_length(lengths, kernel, stride)
        return lengths
