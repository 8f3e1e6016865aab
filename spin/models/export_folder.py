"""What `python -m spin export` lays beside a transformers folder, so that nothing of the Spin model is lost.

transformers knows the encoder. Head, codebook and the layer that they read lie in HEAD_FILE, described by DESCRIPTION, which also
keeps the two things of an encoder that transformers' configuration has no place for.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from torch import Tensor

from spin.errors import CheckpointError, DataError
from spin.models import storage
from spin.models.shape import EncoderShape, of_file
from spin.runtime.files import read_json

DESCRIPTION = "spin.json"
HEAD_FILE = "spin_head.safetensors"
FORMAT = "spin export 1"
HEAD = "spin head 1"
HEAD_KEYS = ("head.weight", "head.bias", "codebook.weight")
ENCODER_KEY, FORMAT_KEY, LAYER_KEY, SIZE_KEY, DIM_KEY = "encoder", "format", "layer", "codebook_size", "codebook_dim"
UNKNOWN_TO_TRANSFORMERS = ("waveform_norm_eps", "official_frames")  # fields of EncoderShape


def describe(shape: EncoderShape, head: dict | None) -> dict:
    """The content of DESCRIPTION; `head` (LAYER_KEY, SIZE_KEY, DIM_KEY) is None for an encoder alone."""
    description = {FORMAT_KEY: FORMAT, ENCODER_KEY: shape.as_dict()}
    if head is None:
        return description
    return description | head | {
        "head_file": HEAD_FILE,
        "units": "argmax over k of codebook.weight[k] . normalize(head.weight h + head.bias), h = hidden_states[layer]",
    }  # fmt: skip


def read_description(folder: Path) -> dict | None:
    """DESCRIPTION of a folder; None where there is none, as in folders of others.

    Raises:
        CheckpointError: no JSON object of this format.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        return None
    try:
        description = read_json(path)
    except DataError as error:
        raise CheckpointError(
            str(path), found=error.found, expected=f"JSON of format {FORMAT!r}", cause="a damaged file"
        ) from error
    found = description.get(FORMAT_KEY) if isinstance(description, dict) else None
    if found != FORMAT or not isinstance(description.get(ENCODER_KEY), dict):
        raise CheckpointError(
            str(path), found=f"format {found!r}", expected=repr(FORMAT), cause="a later version of this program, or another file"
        )
    return description


def complete_shape(folder: Path, shape: EncoderShape) -> EncoderShape:
    """The shape that config.json gives, with what only DESCRIPTION knows; as it is where there is no DESCRIPTION.

    Raises:
        CheckpointError: the two describe different encoders.
    """
    description = read_description(folder)
    if description is None:
        return shape
    with of_file(str(folder / DESCRIPTION)):
        described = EncoderShape.from_dict(description[ENCODER_KEY])
    known = {name: getattr(described, name) for name in UNKNOWN_TO_TRANSFORMERS}
    completed = dataclasses.replace(shape, **known)
    for field in dataclasses.fields(EncoderShape):
        found, expected = getattr(completed, field.name), getattr(described, field.name)
        if found != expected:
            raise CheckpointError(
                str(folder),
                found=f"{field.name} {found!r} in config.json, {expected!r} in {DESCRIPTION}",
                cause="files of two models in one folder",
                remedy="export the model again into an empty folder",
            )
    return completed


def read_head(folder: Path) -> tuple[dict, dict[str, Tensor]]:
    """(description with LAYER_KEY, SIZE_KEY and DIM_KEY, tensors named HEAD_KEYS).

    Raises:
        CheckpointError: a folder without head and codebook, or with a damaged one.
    """
    description = read_description(folder)
    missing = next((key for key in (LAYER_KEY, SIZE_KEY, DIM_KEY) if key not in (description or {})), None)
    if missing or not (folder / HEAD_FILE).is_file():
        what = f"no {HEAD_FILE}" if description and not missing else f"no {missing!r} in {DESCRIPTION}" if description else ""
        raise CheckpointError(
            str(folder),
            found=what or f"no {DESCRIPTION}",
            expected="a folder of `python -m spin export`",
            cause="a folder of transformers alone, which has neither head nor codebook",
            remedy="for its encoder: spin.load_encoder",
        )
    return description, storage.read(folder / HEAD_FILE, HEAD)[0]
