"""Our own files: one safetensors file, everything but the weights as JSON under one key of its metadata."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from spin.errors import CheckpointError
from spin.models.encoder import Encoder
from spin.models.names import FORMATS, fit
from spin.models.reading import read_safetensors
from spin.models.shape import EncoderShape, of_file
from spin.runtime.files import atomic_path

ENCODER = "spin encoder 1"
MODEL = "spin model 1"
METADATA = "spin"
DTYPES = {"float32": torch.float32, "float16": torch.float16}


def save_encoder(path: str | Path, encoder: Encoder, dtype: str = "float32", notes: dict[str, str] | None = None) -> None:
    """Writes the encoder's weights and shape; the file appears whole or not at all.

    Args:
        dtype: float32, or float16 for half the size (loaded back as float32; relative error up to 5e-4 a weight).
        notes: further lines of metadata, such as where the weights come from.
    """
    write(path, encoder.state_dict(), {"format": ENCODER, "shape": json.dumps(encoder.shape.as_dict())}, dtype, notes)


def write(path: str | Path, state: dict[str, Tensor], metadata: dict[str, str], dtype: str, notes: dict[str, str] | None) -> None:
    """The one way to disk for our files. Raises CheckpointError on weights that float16 cannot hold, or are not numbers."""
    if dtype not in DTYPES:
        raise CheckpointError(str(path), found=f"dtype {dtype!r}", expected=" or ".join(DTYPES))
    weights = {name: tensor.detach().to("cpu", DTYPES[dtype]).contiguous().clone() for name, tensor in state.items()}
    broken = next((name for name, tensor in weights.items() if not bool(torch.isfinite(tensor).all())), None)
    if broken:
        raise CheckpointError(str(path), found=f"{broken!r} is infinite or no number as {dtype}", expected="finite weights")
    with atomic_path(path) as temporary:
        # One key: safetensors writes several in an order that changes from run to run, and equal models shall be equal files.
        save_file(weights, str(temporary), metadata={METADATA: json.dumps({**(notes or {}), **metadata}, sort_keys=True)})


def read(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Weights and metadata of one of our files of that kind (ENCODER or MODEL).

    Raises:
        CheckpointError: damaged, another kind, or of a later version.
    """
    state, written = read_safetensors(path)
    metadata = read_json_entry(path, written, METADATA) if METADATA in written else {}
    found = metadata.get("format", "")
    if found == kind:
        return state, metadata
    remedies = {ENCODER: "use spin.load_encoder", MODEL: "use spin.load_model (its .encoder is the encoder)"}
    remedy = remedies.get(found, "give the folder that holds it and its config.json, if it is of transformers")
    raise CheckpointError(str(path), found=f"safetensors of format {found!r}", expected=f"{kind!r}; or {FORMATS}", remedy=remedy)


def read_json_entry(path: Path, metadata: dict[str, str], key: str) -> dict:
    """A JSON object in the metadata."""
    try:
        values = json.loads(metadata[key])
    except (KeyError, ValueError) as error:
        raise CheckpointError(str(path), found=f"no valid {key!r} in the metadata", expected="a JSON object") from error
    if not isinstance(values, dict):
        raise CheckpointError(str(path), found=f"{key!r} in the metadata is no object", expected="a JSON object")
    return values


def read_encoder(path: Path) -> Encoder:
    """The inverse of save_encoder; float32, evaluation mode."""
    state, metadata = read(path, ENCODER)
    with of_file(str(path)):
        shape = EncoderShape.from_dict(read_json_entry(path, metadata, "shape"))
    return fit(str(path), state, shape, None)
