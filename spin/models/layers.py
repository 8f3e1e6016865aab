"""The layers of an encoder: convolutions whose GroupNorm does not see padding, positional convolution, Transformer layers."""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spin.models.architecture import EncoderShape


def conv_length(lengths: Tensor, kernel: int, stride: int) -> Tensor:
    """Frames (int64) of a convolution without padding. Never below 0."""
    return torch.div(lengths - kernel, stride, rounding_mode="floor").add(1).clamp(min=0)


def masked_group_norm(features: Tensor, valid: Tensor, norm: nn.GroupNorm) -> Tensor:
    """GroupNorm of (B, C, T) with one group per channel, over the valid frames alone, in the dtype of `features`.

    `valid` (B,) int64 are the numbers of valid frames, at least 1; on the CPU, a GPU need not be waited for. Padded frames of the
    result are finite but mean nothing.
    """
    learning = torch.is_grad_enabled() and (features.requires_grad or norm.weight.requires_grad)
    if learning or (hasattr(torch, "compiler") and torch.compiler.is_compiling()):
        return _group_norm_by_mask(features, valid.to(features.device, non_blocking=True), norm)
    # PyTorch's fused kernel on each row takes a third of the time and memory of masks, but is slow to differentiate.
    output = torch.zeros_like(features)
    for i, frames in enumerate(valid.tolist()):
        output[i : i + 1, :, :frames] = group_norm(features[i : i + 1, :, :frames], norm)
    return output


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
        self.norm = None
        if norm:
            self.norm = nn.GroupNorm(channels, channels) if norm == "group" else nn.LayerNorm(channels)

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
        x, valid = waveforms[:, None], lengths
        for layer, kernel, stride in zip(self.layers, self.kernels, self.strides, strict=True):
            valid = None if valid is None else conv_length(valid, kernel, stride)
            x = layer(x, valid)
        return x

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """(B,) int64: number of frames of waveforms of that many samples."""
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            lengths = conv_length(lengths, kernel, stride)
        return lengths


class PositionalConv(nn.Module):
    """Grouped convolution over time with weight normalisation over (out, in) for each tap; GELU.

    The weight's direction and length are plain parameters (weight_v, weight_g), the layout that every checkpoint format uses.
    """

    def __init__(self, dim: int, taps: int, groups: int):
        super().__init__()
        self.taps, self.groups = taps, groups
        self.weight_g = nn.Parameter(torch.empty(1, 1, taps))
        self.weight_v = nn.Parameter(torch.empty(dim, dim // groups, taps))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D). Frames outside [0, T) count as 0, so padded frames must be 0 on entry."""
        length = x.shape[1]
        weight = torch._weight_norm(self.weight_v, self.weight_g, 2)
        padding = self.taps // 2
        if x.device.type == "cpu" and not (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)):
            # (B, T, D) is a channels-last image of height 1: the CPU's grouped kernel for it is twice as fast.
            image = x.transpose(1, 2)[:, :, None]
            y = F.conv2d(image, weight[:, :, None], self.bias, padding=(0, padding), groups=self.groups)[:, :, 0]
        else:
            y = F.conv1d(x.transpose(1, 2), weight, self.bias, padding=padding, groups=self.groups)
        return F.gelu(y[..., :length]).transpose(1, 2)  # an even number of taps gives one extra frame


class RelativePositionBias(nn.Module):
    """WavLM's bucketed position bias (section III-B; Raffel et al. 2020 for the buckets), one table shared by all layers."""

    def __init__(self, buckets: int, max_distance: int, heads: int):
        super().__init__()
        self.buckets, self.max_distance = buckets, max_distance
        self.table = nn.Embedding(buckets, heads)

    def bucket(self, offsets: Tensor) -> Tensor:
        """Key minus query position (frames) -> bucket: half for each sign; exact when near, logarithmic when far."""
        half = self.buckets // 2
        exact = half // 2
        distance = offsets.abs()
        steps = torch.log(distance.float().clamp(min=1) / exact) / math.log(self.max_distance / exact) * (half - exact)
        far = (exact + steps.long()).clamp(max=half - 1)
        return (offsets > 0).long() * half + torch.where(distance < exact, distance, far)

    def forward(self, length: int) -> Tensor:
        """(H, T, T) bias for T frames."""
        device = self.table.weight.device
        offsets = torch.arange(1 - length, length, device=device)  # the 2T - 1 offsets of all T * T pairs
        bias = self.table(self.bucket(offsets)).transpose(0, 1)  # (H, 2T - 1)
        positions = torch.arange(length, device=device)
        return bias[:, positions[None, :] - positions[:, None] + length - 1]


@functools.cache
def disable_cudnn_attention() -> None:
    """Keeps attention on a GPU away from cuDNN, which torch 2.11 prefers on compute capability 9 and 10.

    Its kernel rejects a mask that needs a gradient, as WavLM's gated bias does, and can give NaN gradients under a mask.
    """
    if hasattr(torch.backends.cuda, "enable_cudnn_sdp"):
        torch.backends.cuda.enable_cudnn_sdp(False)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """softmax(q k^T / sqrt(d)) v of (B, H, T, d), with dropout of attention weights.

    `mask`, broadcast to (B, H, T, T): bool, True may be attended to, or numbers to be added; None: no mask.
    """
    # torch 1.13, which k2 may need, has no fused kernel. For bf16 with gradients the CPU's takes three times as long as plain
    # products, forward and backward.
    plain = q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.requires_grad
    if hasattr(F, "scaled_dot_product_attention") and not plain:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
    with torch.autocast("cpu", enabled=False):
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
        return F.dropout(scores.softmax(-1), dropout) @ v


class SelfAttention(nn.Module):
    """Multi-head self-attention; WavLM adds a relative position bias, gated by the query's own input."""

    def __init__(self, dim: int, heads: int, gated: bool, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.q, self.k, self.v, self.out = (nn.Linear(dim, dim) for _ in range(4))
        if gated:
            self.gate = nn.Linear(dim // heads, 8)
            self.gate_scale = nn.Parameter(torch.ones(heads))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, H, T, D / H)

    def _gated(self, x: Tensor, position_bias: Tensor, dtype: torch.dtype) -> Tensor:
        gates = self.gate(self._split(x)).unflatten(-1, (2, 4)).sum(-1).sigmoid()  # (B, H, T, 2)
        update, reset = gates.split(1, dim=-1)
        gate = update * (reset * self.gate_scale[:, None, None] - 1.0) + 2.0
        if x.is_cuda:  # the (B, H, T, T) product is a fifth of the traffic of a WavLM step
            gate, position_bias = gate.to(dtype), position_bias.to(dtype)
        return (gate * position_bias).to(dtype)

    def forward(self, x: Tensor, key_mask: Tensor | None, position_bias: Tensor | None) -> Tensor:
        """x (B, T, D); key_mask (B, 1, 1, T) bool, True may be attended to, None: all; position_bias (H, T, T) or None."""
        if x.is_cuda and torch.is_autocast_enabled():
            x = x.to(torch.get_autocast_gpu_dtype())  # one cast instead of one for each product
        q, k, v = (self._split(linear(x)) for linear in (self.q, self.k, self.v))
        mask = key_mask
        if position_bias is not None:
            mask = self._gated(x, position_bias, q.dtype)
            if key_mask is not None:
                mask = mask.masked_fill(~key_mask, float("-inf"))
        y = attend(q, k, v, mask, self.dropout if self.training else 0.0)
        return self.out(y.transpose(1, 2).flatten(2))


class TransformerLayer(nn.Module):
    """Attention and feed-forward, each with a residual; LayerNorm after (Base) or before (Large) each of them."""

    def __init__(self, shape: EncoderShape, dropout: float = 0.0):
        super().__init__()
        self.norm_first, self.dropout = shape.norm_first, dropout
        self.attention = SelfAttention(shape.dim, shape.heads, shape.arch == "wavlm", dropout)
        self.attention_norm = nn.LayerNorm(shape.dim, eps=shape.norm_eps)
        self.ffn_in = nn.Linear(shape.dim, shape.ffn_dim)
        self.ffn_out = nn.Linear(shape.ffn_dim, shape.dim)
        self.final_norm = nn.LayerNorm(shape.dim, eps=shape.norm_eps)

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self._drop(self.ffn_out(self._drop(F.gelu(self.ffn_in(x)))))

    def forward(self, x: Tensor, key_mask: Tensor | None, position_bias: Tensor | None) -> Tensor:
        """(B, T, D) -> (B, T, D); see SelfAttention.forward for the other two."""
        if self.norm_first:
            x = x + self._drop(self.attention(self.attention_norm(x), key_mask, position_bias))
            return x + self._feed_forward(self.final_norm(x))
        x = self.attention_norm(x + self._drop(self.attention(x, key_mask, position_bias)))
        return self.final_norm(x + self._feed_forward(x))
