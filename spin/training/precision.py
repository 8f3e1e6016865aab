"""Number format and compilation of the encoder."""

from __future__ import annotations

import torch

from spin.models.encoder import Encoder


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """bfloat16 for "bf16", and for "auto" where the device has instructions for it; None: float32."""
    bf16 = precision == "bf16" or (precision == "auto" and multiplies_bf16(device))
    return torch.bfloat16 if bf16 else None


def multiplies_bf16(device: torch.device) -> bool:
    """True for GPUs and CPUs with instructions for bf16 products; others emulate them. CPUs need AVX512-BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def compile_encoder(encoder: Encoder) -> None:
    """Compiles the convolutions and each layer in place, for batches of any size.

    The encoder is not compiled as a whole: it reads the lengths to see whether a batch has padding, which would break the graph.
    """
    for module in (encoder.feature_extractor, *encoder.layers):
        module.compile(dynamic=True)


def uncompiled():
    """Context in which compiled modules run as plain ones; validation has batches of many other shapes."""
    return torch.compiler.set_stance("force_eager")
