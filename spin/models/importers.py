"""load_encoder: HuBERT and WavLM weights from every common format."""

from __future__ import annotations

import json
from pathlib import Path

from torch import Tensor

from spin.errors import CheckpointError
from spin.models import shapes
from spin.models.encoder import Encoder
from spin.models.export_folder import complete_shape
from spin.models.names import FAIRSEQ, FORMATS, TRANSFORMERS, fit
from spin.models.reading import is_safetensors, plain, read_pickled, read_safetensors
from spin.models.shape import of_file
from spin.models.storage import read_encoder
from spin.models.torchaudio_bundles import BUNDLES, load_bundle
from spin.runtime.logs import get_logger

MINI = Path(__file__).parent / "assets" / "mini.safetensors"
SINGLE_FILES = ("model.safetensors", "pytorch_model.bin")


def load_encoder(path_or_name: str | Path) -> Encoder:
    """An encoder in evaluation mode, float32, on the CPU.

    Args:
        path_or_name: "mini" (the encoder that comes with this package), one of torchaudio's bundle names (HUBERT_BASE,
            HUBERT_LARGE, HUBERT_XLARGE, WAVLM_BASE, WAVLM_BASE_PLUS, WAVLM_LARGE; downloaded on first use), or a path: fairseq
            or s3prl HuBERT .pt, unilm WavLM .pt, a transformers folder, or our own .safetensors.

    Raises:
        CheckpointError: names the file, what is wrong with it (the first missing or unexpected parameter) and the formats known.
    """
    name, path = str(path_or_name), Path(path_or_name)
    if name == "mini":
        return _load_mini()
    if name in BUNDLES and not path.exists():
        return load_bundle(name)
    if path.is_dir():
        return load_folder(path)
    if not path.is_file():
        known = ", ".join(("mini", *BUNDLES))
        raise CheckpointError(
            name, found="no such file or name", expected=f"a name ({known}) or a path; formats known: {FORMATS}"
        )
    return read_encoder(path) if is_safetensors(path) else load_pickled(path)


def _load_mini() -> Encoder:
    if not MINI.is_file():
        raise CheckpointError(
            "encoder 'mini'",
            found=f"no file {MINI.name} in {MINI.parent}",
            expected="the encoder that is shipped with this package",
            cause="an incomplete clone or installation",
            remedy="check out the repository again, or train it: local/pretrain_encoder.py",
        )
    return read_encoder(MINI)


def load_pickled(path: Path) -> Encoder:
    """fairseq ({"cfg" or "args", "model"}), s3prl ({"model_cfg", "task_cfg", "model_weight"}), unilm ({"cfg": flat, "model"})."""
    content = read_pickled(path)
    if "loss_module.codebook.weight" in content.get("state_dict", {}):
        remedy = "use spin.load_model (its .encoder is the encoder)"
        raise CheckpointError(str(path), found="an official Spin checkpoint", expected="an encoder", remedy=remedy)
    model, task, state = _fairseq_parts(path, content)
    with of_file(str(path)):
        shape = shapes.from_fairseq(str(path), model, task, state)
    return fit(str(path), state, shape, FAIRSEQ)


def _fairseq_parts(path: Path, content: dict) -> tuple[dict, dict, dict[str, Tensor]]:
    """(model configuration, task configuration, weights)."""
    if {"model_cfg", "model_weight"} <= set(content):
        parts = plain(content["model_cfg"]), plain(content.get("task_cfg", {})), content["model_weight"]
    else:
        config = plain(content.get("cfg") or content.get("args") or {})
        config = config if isinstance(config, dict) else {}
        model = config.get("model") if isinstance(config.get("model"), dict) else config
        task = config.get("task") if isinstance(config.get("task"), dict) else config
        parts = model, task, content.get("model")
    if all(isinstance(part, dict) and part for part in (parts[0], parts[2])) and isinstance(parts[1], dict):
        return parts
    keys = ", ".join(repr(key) for key in list(content)[:6]) or "nothing"
    raise CheckpointError(
        str(path),
        found=f"a dictionary with {keys}",
        expected=f"a configuration and weights: cfg and model, or model_cfg and model_weight; formats known: {FORMATS}",
        cause="a bare state dict, or a checkpoint of another program",
    )


def load_folder(folder: Path) -> Encoder:
    """A folder of transformers' save_pretrained: config.json and weights in one file or several; or one of our own export."""
    config = _read_config(folder / "config.json", required=True)
    preprocessor = _read_config(folder / "preprocessor_config.json", required=False)
    with of_file(str(folder / "config.json")):
        shape = complete_shape(folder, shapes.from_transformers(str(folder / "config.json"), config, preprocessor))
    if shape.extractor_norm == "layer" and not preprocessor:
        get_logger("spin.models").warning(
            "%s has no preprocessor_config.json: waveforms are not normalised, as the model alone would not. The public Large "
            "models expect normalised ones: keep that file beside the weights.",
            folder,
        )
    state = _read_folder_weights(folder)
    prefix = f"{config['model_type']}."
    if any(key.startswith(prefix) for key in state):  # saved with a head on top, such as HubertForCTC
        state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return fit(str(folder), state, shape, TRANSFORMERS)


def _read_config(path: Path, required: bool) -> dict:
    if not path.is_file() and not required:
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        expected = f"config.json of a HubertModel or WavLMModel; formats known: {FORMATS}"
        raise CheckpointError(str(path), found=str(error), expected=expected, cause="no folder of transformers") from error
    if not isinstance(config, dict):
        raise CheckpointError(str(path), found=f"a {type(config).__name__}", expected="a JSON object")
    return config


def _read_folder_weights(folder: Path) -> dict[str, Tensor]:
    for name in SINGLE_FILES:
        parts = [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            weight_map = _read_config(index, required=True).get("weight_map", {})
            parts = [folder / Path(part).name for part in sorted(set(weight_map.values()))]
        if all(part.is_file() for part in parts) and parts:
            state = {}
            for part in parts:
                state |= read_safetensors(part)[0] if is_safetensors(part) else read_pickled(part)
            return state
    found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "an empty folder"
    raise CheckpointError(str(folder), found=found, expected=f"config.json and {' or '.join(SINGLE_FILES)}, or their parts")
