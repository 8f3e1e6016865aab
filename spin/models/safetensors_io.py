"""Our own files: one safetensors file, everything except the weights as JSON under one key of its metadata."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from spin.errors import CheckpointError
from spin.models.architecture import EncoderShape
from spin.models.encoder import Encoder
from spin.models.importers import DAMAGED, MODEL_REMEDY, damaged, known_formats
from spin.models.published import METADATA
from spin.models.published import MODEL_FORMAT as MODEL
from spin.models.weights import fit
from spin.runtime.files import atomic_path

ENCODER = "spin encoder 1"
DTYPES = {"float32": torch.float32, "float16": torch.float16}
REMEDIES = {ENCODER: "use spin.load_encoder; in the recipe: --set encoder.source=PATH", MODEL: MODEL_REMEDY}


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(parameter name -> CPU tensor, metadata). Raises CheckpointError for a damaged file, or another format."""
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})
    except (SafetensorError, *DAMAGED) as error:
        raise damaged(path, error) from error


def write(path: str | Path, state: dict[str, Tensor], metadata: dict[str, str], dtype: str, notes: dict[str, str] | None) -> None:
    """Writes one of our files, which appears complete or not at all.

    Args:
        state: parameter name -> tensor, stored as `dtype`, a key of DTYPES.
        metadata: `format` and what that format needs.
        notes: further metadata, such as the origin of the weights.

    Raises:
        CheckpointError: an unknown dtype, or weights that are not finite in it.
    """
    if dtype not in DTYPES:
        raise CheckpointError(str(path), found=f"dtype {dtype!r}", expected=" or ".join(DTYPES))
    weights = {name: tensor.detach().to("cpu", DTYPES[dtype]).contiguous().clone() for name, tensor in state.items()}
    write_finite(path, weights, {METADATA: json.dumps({**(notes or {}), **metadata}, sort_keys=True)})


def write_finite(path: str | Path, weights: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Writes a safetensors file with one metadata entry: the format orders several at random, and equal models give equal files.

    Raises:
        CheckpointError: a weight is infinite or NaN.
    """
    broken = next((name for name, tensor in weights.items() if not bool(torch.isfinite(tensor).all())), None)
    if broken:
        found = f"{broken!r} is not finite as {weights[broken].dtype}"
        raise CheckpointError(str(path), found=found, expected="finite weights")
    with atomic_path(path) as temporary:
        save_file(weights, str(temporary), metadata=metadata)


def read(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Weights and metadata of one of our files of the format `kind`, such as ENCODER.

    Raises:
        CheckpointError: a damaged file, another kind, or a later version.
    """
    state, written = read_safetensors(path)
    metadata = read_json_entry(path, written, METADATA) if METADATA in written else {}
    found = metadata.get("format", "")
    if found == kind:
        return state, metadata
    remedy = REMEDIES.get(found, "for a file of transformers, pass the folder that holds it and its config.json")
    expected = f"{kind!r}; known formats: {known_formats()}"
    raise CheckpointError(str(path), found=f"safetensors of format {found!r}", expected=expected, remedy=remedy)


def read_json_entry(path: Path, metadata: dict[str, str], key: str) -> dict:
    """The JSON object under one key of the metadata. Raises CheckpointError for anything else."""
    try:
        values = json.loads(metadata[key])
    except (KeyError, ValueError):
        values = None
    if not isinstance(values, dict):
        raise CheckpointError(str(path), found=f"no valid {key!r} in the metadata", expected="a JSON object")
    return values


def save_encoder(path: str | Path, encoder: Encoder, dtype: str = "float32", notes: dict[str, str] | None = None) -> None:
    """Writes the encoder's weights and shape; see write. float16 halves the size, with a relative error up to 5e-4 per weight."""
    write(path, encoder.state_dict(), {"format": ENCODER, "shape": json.dumps(encoder.shape.as_dict())}, dtype, notes)


def load_encoder_file(path: str | Path) -> Encoder:
    """The inverse of save_encoder; float32, evaluation mode."""
    state, metadata = read(Path(path), ENCODER)
    shape = EncoderShape.from_dict(read_json_entry(Path(path), metadata, "shape"), str(path))
    return fit(str(path), state, shape, None)
