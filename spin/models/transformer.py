"""The Transformer part: positional convolution, gated relative position bias, post-norm or pre-norm layers."""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spin.models.architecture import EncoderShape


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
