"""Spin models in every format -> encoder, head, codebook and layer, of which spin/objectives/model.py builds the model."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from spin.errors import CheckpointError
from spin.models import safetensors_io
from spin.models.architecture import EncoderShape
from spin.models.encoder import Encoder
from spin.models.official_checkpoint import Contents, read_official
from spin.models.published import PUBLISHED, codebook_size, download_published
from spin.models.sources import is_safetensors, known_formats
from spin.models.transformers_folder import load_folder, read_head
from spin.models.weights import check_tensor, fit, reject_mismatch

MODEL_KEYS = ("head.weight", "head.bias", "codebook.weight")
ENCODER_PREFIX = "encoder."


def read_model(path_or_name: str | Path, base: str | Path | None = None) -> tuple[Encoder, dict[str, Tensor], int]:
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
    if path.is_dir():
        config, state = read_head(path)
        encoder = load_folder(path)
    elif not path.is_file():
        expected = f"a Spin model (our .safetensors or exported folder, an official .ckpt, R-Spin .pt, or {', '.join(PUBLISHED)})"
        raise CheckpointError(name, found="no such file or name", expected=f"{expected}; known formats: {known_formats()}")
    else:
        encoder, state, config = _read_file(path) if is_safetensors(path) else read_official(path, base)
    config = config | ({"codebook_size": codebook_size(name)} if published else {})
    return encoder, _check(str(path), encoder, state, config), config["layer"]


def _read_file(path: Path) -> Contents:
    tensors, metadata = safetensors_io.read(path, safetensors_io.MODEL)
    config = safetensors_io.read_json_entry(path, metadata, "config")
    missing = next((key for key in ("encoder", "layer", "codebook_size", "codebook_dim") if key not in config), None)
    if missing or not isinstance(config["encoder"], dict):
        raise CheckpointError(str(path), found=f"no valid {missing or 'encoder'!r} in the configuration", expected="a Spin model")
    weights = {key.removeprefix(ENCODER_PREFIX): value for key, value in tensors.items() if key.startswith(ENCODER_PREFIX)}
    encoder = fit(str(path), weights, EncoderShape.from_dict(config["encoder"], str(path)), None)
    return encoder, {key: value for key, value in tensors.items() if not key.startswith(ENCODER_PREFIX)}, config


def _check(file: str, encoder: Encoder, state: dict[str, Tensor], config: dict) -> dict[str, Tensor]:
    """Float32 copies of head and codebook, whose sizes must be those of the encoder and the configuration."""
    layer, layers = config.get("layer"), encoder.shape.layers
    if type(layer) is not int or not 1 <= layer <= layers:
        raise CheckpointError(file, found=f"layer {layer!r}", expected=f"1 to {layers}, the layers of the encoder")
    reject_mismatch(
        file, next((key for key in MODEL_KEYS if key not in state), None), next(iter(state.keys() - {*MODEL_KEYS}), None)
    )
    rows, dim = (*getattr(state["codebook.weight"], "shape", ()), 0, 0)[:2]
    rows, dim = config.get("codebook_size", rows), config.get("codebook_dim", dim)
    shapes = {"codebook.weight": (rows, dim), "head.weight": (dim, encoder.shape.dim), "head.bias": (dim,)}
    return {key: check_tensor(file, key, state[key], shapes[key]) for key in MODEL_KEYS}
