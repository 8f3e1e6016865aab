"""Folders in transformers' layout: those of save_pretrained, and those of `python -m spin export`.

transformers knows the encoder only. In an exported folder HEAD_FILE holds head and codebook; EXPORT_DESCRIPTION names the layer
that they read and the two fields of an encoder that transformers' configuration lacks.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from torch import Tensor

from spin.errors import CheckpointError
from spin.models import safetensors_io
from spin.models.architecture import EncoderShape
from spin.models.architecture_import import from_transformers
from spin.models.encoder import Encoder
from spin.models.published import EXPORT_DESCRIPTION
from spin.models.safe_load import read_pickle
from spin.models.sources import is_safetensors
from spin.models.state_dict_names import TRANSFORMERS
from spin.models.weights import fit
from spin.runtime.logs import get_logger

CONFIG, PREPROCESSOR, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"
WEIGHT_FILES = (WEIGHTS, "pytorch_model.bin")
HEAD_FILE = "spin_head.safetensors"
EXPORT_FORMAT, HEAD_FORMAT = "spin export 1", "spin head 1"
UNKNOWN_TO_TRANSFORMERS = ("waveform_norm_eps", "official_frames")  # fields of EncoderShape


def load_folder(folder: str | Path) -> Encoder:
    """Loads the encoder of a folder: config.json, and weights in one file or several."""
    folder = Path(folder)
    config = _read_object(folder / CONFIG)
    preprocessor = _read_object(folder / PREPROCESSOR) if (folder / PREPROCESSOR).is_file() else {}
    shape = _complete(folder, from_transformers(str(folder / CONFIG), config, preprocessor))
    if shape.extractor_norm == "layer" and not preprocessor:
        get_logger("spin.models").warning(
            "%s has no %s: waveforms are not normalised. The public Large models expect normalised ones: keep that file next to "
            "the weights.",
            folder,
            PREPROCESSOR,
        )
    state, prefix = _read_weights(folder), f"{config['model_type']}."
    if any(key.startswith(prefix) for key in state):  # saved with a head on top, such as HubertForCTC
        state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return fit(str(folder), state, shape, TRANSFORMERS)


def _read_object(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            str(path),
            found=str(error),
            expected=f"the {path.name} of a HubertModel or WavLMModel",
            cause="not a folder of transformers, or a damaged one",
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(str(path), found=f"a {type(content).__name__}", expected="a JSON object")
    return content


def _read_weights(folder: Path) -> dict[str, Tensor]:
    for name in WEIGHT_FILES:
        files = [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            weight_map = _read_object(index).get("weight_map", {})
            files = [folder / Path(file).name for file in sorted(set(weight_map.values()))]
        if files and all(file.is_file() for file in files):
            state = {}
            for file in files:
                state |= safetensors_io.read_safetensors(file)[0] if is_safetensors(file) else read_pickle(file)
            return state
    found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "an empty folder"
    raise CheckpointError(str(folder), found=found, expected=f"{CONFIG} and {' or '.join(WEIGHT_FILES)}, or their parts")


def _read_description(folder: Path) -> dict | None:
    """EXPORT_DESCRIPTION of a folder; None in folders of other programs."""
    path = folder / EXPORT_DESCRIPTION
    if not path.is_file():
        return None
    description = _read_object(path)
    found = description.get("format")
    if found != EXPORT_FORMAT or not isinstance(description.get("encoder"), dict):
        cause = "a later version of this program, or another file"
        raise CheckpointError(str(path), found=f"format {found!r}", expected=repr(EXPORT_FORMAT), cause=cause)
    return description


def _complete(folder: Path, shape: EncoderShape) -> EncoderShape:
    """The shape of config.json, with the fields that only EXPORT_DESCRIPTION has; it must agree on the others."""
    description = _read_description(folder)
    if description is None:
        return shape
    described = EncoderShape.from_dict(description["encoder"], str(folder / EXPORT_DESCRIPTION))
    completed = dataclasses.replace(shape, **{name: getattr(described, name) for name in UNKNOWN_TO_TRANSFORMERS})
    for name, value in described.as_dict().items():
        if value != completed.as_dict()[name]:
            raise CheckpointError(
                str(folder),
                found=f"{name} {completed.as_dict()[name]!r} in {CONFIG}, {value!r} in {EXPORT_DESCRIPTION}",
                cause="files of two models in one folder",
                remedy="export the model again into an empty folder",
            )
    return completed


def read_head(folder: Path) -> tuple[dict, dict[str, Tensor]]:
    """Reads head and codebook of an exported folder.

    Returns:
        description: JSON with `layer`, `codebook_size` and `codebook_dim`.
        state: parameter name -> tensor.

    Raises:
        CheckpointError: a folder without head and codebook, or a damaged one.
    """
    description = _read_description(folder)
    if description is None or "layer" not in description or not (folder / HEAD_FILE).is_file():
        present = [name for name in (EXPORT_DESCRIPTION, HEAD_FILE) if (folder / name).is_file()]
        raise CheckpointError(
            str(folder),
            found=f"no Spin head ({', '.join(present) or f'neither {EXPORT_DESCRIPTION} nor {HEAD_FILE}'})",
            expected=f"a folder of `python -m spin export --model`, with {HEAD_FILE}",
            cause="an encoder alone, which has neither head nor codebook",
            remedy="for its encoder: spin.load_encoder",
        )
    return description, safetensors_io.read(folder / HEAD_FILE, HEAD_FORMAT)[0]
