"""Floating-point operations of an update, counted from the shapes; a multiplication and an addition are two.

Counted are convolutions and matrix products. Norms, activations, softmax, Sinkhorn and the optimiser are left out, as is usual
for model FLOP utilisation (Chowdhery et al. 2022, arXiv 2204.02311, appendix B); nothing is counted twice that is computed again.
"""

from __future__ import annotations

from spin.models.shape import EncoderShape


def frame_counts(shape: EncoderShape, samples: int) -> list[int]:
    """Outputs of each convolution in time; the last is the number of frames."""
    counts = []
    for kernel, stride in zip(shape.conv_kernels, shape.conv_strides, strict=True):
        samples = (samples - kernel) // stride + 1
        counts.append(samples)
    return counts


def local_flops(shape: EncoderShape, samples: int) -> int:
    """Convolutions, projection and positional convolution of one waveform."""
    counts = frame_counts(shape, samples)
    inputs = (1, *shape.conv_channels[:-1])
    convolutions = sum(
        2 * before * after * kernel * count
        for before, after, kernel, count in zip(inputs, shape.conv_channels, shape.conv_kernels, counts, strict=True)
    )
    frames = counts[-1]
    # An even number of taps gives one frame too many, which is computed and cut off.
    positions = frames + 1 - shape.pos_conv_taps % 2
    return (
        convolutions
        + 2 * frames * shape.conv_channels[-1] * shape.dim
        + 2 * positions * shape.dim * (shape.dim // shape.pos_conv_groups) * shape.pos_conv_taps
    )


def layer_flops(shape: EncoderShape, frames: int) -> int:
    """One Transformer layer on one utterance, forward; WavLM's gates are left out (some thousandths)."""
    products = 4 * 2 * frames * shape.dim**2 + 2 * 2 * frames * shape.dim * shape.ffn_dim
    return products + 2 * 2 * frames**2 * shape.dim


def update_flops(
    shape: EncoderShape, samples: list[int], layer: int, trainable_layers: int, codebook_size: int, codebook_dim: int
) -> int:
    """Forward and backward of Spin on both views.

    Args:
        samples: length of every waveform of the batch, both views.
        layer, trainable_layers: the layer that is read; how many below and including it learn. The backward pass goes no deeper,
            and the lowest of them needs no gradient for its input, so queries, keys and values cost half there.
        codebook_size, codebook_dim: of codebook and head.
    """
    total = 0
    for length in samples:
        frames = frame_counts(shape, length)[-1]
        forward = layer_flops(shape, frames)
        head = 2 * frames * shape.dim * codebook_dim + 2 * frames * codebook_dim * codebook_size
        total += local_flops(shape, length) + layer * forward + head
        total += trainable_layers * 2 * forward + 2 * head
        saved = 3 * 2 * frames * shape.dim**2 if trainable_layers else 2 * frames * shape.dim * codebook_dim
        total -= saved
    return total
