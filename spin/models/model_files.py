"""Spin models in every format -> encoder, head, codebook and layer, of which spin/objectives/model.py builds the model."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from spin.errors import CheckpointError
from spin.models import safetensors_io
from spin.models.architecture import EncoderShape
from spin.models.official_checkpoint import Parts, read_official
from spin.models.published import PUBLISHED, codebook_size, download_published
from spin.models.sources import is_safetensors, known_formats
from spin.models.transformers_folder import load_folder, read_head
from spin.models.weights import fit, reject_mismatch, require_finite

MODEL_KEYS = ("head.weight", "head.bias", "codebook.weight")
ENCODER_PREFIX = "encoder."
SIZES = ("layer", "codebook_size", "codebook_dim")


def read_model(path_or_name: str | Path, base: str | Path | None = None) -> Parts:
    """Reads a Spin or R-Spin model; no code in a file is run.

    Args:
        path_or_name: our own .safetensors, an official Spin .ckpt or R-Spin .pt, a folder of `python -m spin export`, or a key of
            published.PUBLISHED, downloaded on first use.
        base: only for an official checkpoint of an encoder that is not Base, Large or X-Large: the checkpoint that it started
            from, for the configuration. Default: a file of that name in the same folder, if there is one.

    Returns:
        encoder: in float32 and evaluation mode, on the CPU.
        state: MODEL_KEYS -> float32 tensor: head.weight (dim, D), head.bias (dim,), codebook.weight (K, dim).
        layer: the encoder layer that the head reads, 1 to L.

    Raises:
        CheckpointError: names the file, what is wrong with it, and the known formats.
        DataError: a published model cannot be downloaded.
    """
    path, name = Path(path_or_name), str(path_or_name)
    published = name in PUBLISHED and not path.exists()
    if published:
        path = download_published(name)
    if not path.exists():
        expected = (
            f"a Spin model: our .safetensors, an official .ckpt or R-Spin .pt, an exported folder, or one of {list(PUBLISHED)}"
        )
        raise CheckpointError(
            name, found="no such file or name", expected=f"{expected}; known formats of encoders: {known_formats()}"
        )
    if path.is_dir():
        parts = _read_folder(path)
    else:
        parts = _read_file(path) if is_safetensors(path) else read_official(path, base)
    return _check(path, parts, codebook_size(name) if published else None)


def _read_file(path: Path) -> Parts:
    tensors, metadata = safetensors_io.read(path, safetensors_io.MODEL)
    config = safetensors_io.read_json_entry(path, metadata, "config")
    if not isinstance(config.get("encoder"), dict):
        raise CheckpointError(str(path), found="no 'encoder' in the configuration", expected="a JSON object, its shape")
    weights = {key.removeprefix(ENCODER_PREFIX): value for key, value in tensors.items() if key.startswith(ENCODER_PREFIX)}
    encoder = fit(str(path), weights, EncoderShape.from_dict(config["encoder"], str(path)), None)
    state = {key: value for key, value in tensors.items() if not key.startswith(ENCODER_PREFIX)}
    return encoder, state, _read_sizes(str(path), config, state)


def _read_folder(folder: Path) -> Parts:
    config, state = read_head(folder)
    return load_folder(folder), state, _read_sizes(str(folder), config, state)


def _read_sizes(file: str, config: dict, state: dict[str, Tensor]) -> int:
    """The layer, after a check of the configuration's sizes against the codebook's."""
    for key in SIZES:
        if type(config.get(key)) is not int or config[key] < 1:
            found = f"{key} {config.get(key)!r} in the configuration"
            raise CheckpointError(file, found=found, expected="a whole number, at least 1")
    shape, expected = tuple(state.get("codebook.weight", torch.empty(0)).shape), (config["codebook_size"], config["codebook_dim"])
    if "codebook.weight" in state and shape != expected:
        raise CheckpointError(file, found=f"'codebook.weight' of shape {shape}", expected=f"shape {expected}")
    return config["layer"]


def _check(path: Path, parts: Parts, size: int | None) -> Parts:
    """Checks names, shapes, values and layer; returns the parts with float32 tensors."""
    encoder, state, layer = parts
    missing = next((key for key in MODEL_KEYS if key not in state), None)
    reject_mismatch(str(path), missing, next((key for key in state if key not in MODEL_KEYS), None))
    rows, dim = state["codebook.weight"].shape if state["codebook.weight"].ndim == 2 else (0, 0)
    shapes = {"codebook.weight": (size or rows, dim), "head.weight": (dim, encoder.shape.dim), "head.bias": (dim,)}
    for key, expected in shapes.items():
        if tuple(state[key].shape) != expected or 0 in expected:
            found = f"{key!r} of shape {tuple(state[key].shape)}"
            raise CheckpointError(str(path), found=found, expected=f"shape {expected}")
        require_finite(str(path), key, state[key])
    if type(layer) is not int or not 1 <= layer <= encoder.shape.layers:
        expected = f"1 to {encoder.shape.layers}, at most the layers of the encoder"
        raise CheckpointError(str(path), found=f"layer {layer!r} in the configuration", expected=expected)
    return encoder, {key: state[key].detach().float() for key in MODEL_KEYS}, layer
