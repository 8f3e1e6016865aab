"""Number format and compilation of the encoder."""

from __future__ import annotations

import torch

from spin.models.encoder import Encoder


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """bfloat16 for "bf16" and "bf16_frozen", and for "auto" where the device has instructions for it; None: float32."""
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:  # without AVX512-BF16 or AMX, products are emulated
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if precision.startswith("bf16") or (precision == "auto" and native) else None


def compile_encoder(encoder: Encoder) -> None:
    """Compiles the convolutions and each layer in place, for batches of any size.

    The encoder as a whole reads the lengths to see whether a batch has padding, which would break the graph.
    """
    for module in (encoder.feature_extractor, *encoder.layers):
        module.compile(dynamic=True)
