"""spin.load_encoder: HuBERT and WavLM weights from every source of spin/models/sources.py."""

from __future__ import annotations

import importlib
from pathlib import Path

from torch import Tensor

from spin.errors import CheckpointError
from spin.models import architecture_import
from spin.models.encoder import Encoder
from spin.models.safe_load import plain, read_pickle
from spin.models.safetensors_io import MODEL, REMEDIES, load_encoder_file
from spin.models.sources import known_formats, source_of
from spin.models.state_dict_names import FAIRSEQ
from spin.models.weights import fit

ASSETS = Path(__file__).parent / "assets"
MINI = ASSETS / "mini.safetensors"


def load_encoder(path_or_name: str | Path, official_padding: bool = False) -> Encoder:
    """Loads an encoder in evaluation mode, float32, on the CPU.

    Args:
        path_or_name: "mini" (the encoder of this package), one of torchaudio's bundle names (HUBERT_BASE, HUBERT_LARGE,
            HUBERT_XLARGE, WAVLM_BASE, WAVLM_BASE_PLUS, WAVLM_LARGE; downloaded on first use), or a path: fairseq or s3prl HuBERT
            .pt, unilm WavLM .pt, a transformers folder, or our own .safetensors.
        official_padding: see Encoder.

    Raises:
        CheckpointError: names the file and what is wrong with it, such as the first missing or unexpected parameter.
    """
    module, _, function = source_of(str(path_or_name)).loader.partition(":")
    encoder = getattr(importlib.import_module(module), function)(str(path_or_name))
    encoder.official_padding = official_padding
    return encoder


def load_packaged(name: str = "mini") -> Encoder:
    """Loads a small encoder of this package: "mini" (generated speech) or "real" (also LibriSpeech train-clean-5)."""
    path = MINI if name == "mini" else ASSETS / f"{name}.safetensors"
    if not path.is_file():
        raise CheckpointError(
            f"encoder {name!r}",
            found=f"no file {path.name} in {path.parent}",
            expected="an encoder that is part of this package",
            cause="an incomplete clone or installation",
            remedy="check out the repository again, or train it: local/pretrain_encoder.py",
        )
    return load_encoder_file(path)


def load_pickle(path: str) -> Encoder:
    """Loads fairseq ({"cfg" or "args", "model"}), s3prl ({"model_cfg", "task_cfg", "model_weight"}) or unilm (flat "cfg")."""
    content = read_pickle(Path(path))
    if any(str(key).endswith("codebook.weight") for key in content.get("state_dict") or {}):
        raise CheckpointError(path, found="a Spin or R-Spin checkpoint", expected="an encoder", remedy=REMEDIES[MODEL])
    model, task, state = _fairseq_parts(path, content)
    return fit(path, state, architecture_import.from_fairseq(path, model, task, state), FAIRSEQ)


def _fairseq_parts(path: str, content: dict) -> tuple[dict, dict, dict[str, Tensor]]:
    """(model configuration, task configuration, weights)."""
    if {"model_cfg", "model_weight"} <= set(content):
        model, task, state = plain(content["model_cfg"]), plain(content.get("task_cfg", {})), content["model_weight"]
    else:
        config = plain(content.get("cfg") or content.get("args") or {})
        config = config if isinstance(config, dict) else {}
        model, task = (config[key] if isinstance(config.get(key), dict) else config for key in ("model", "task"))
        state = content.get("model")
    if all(isinstance(item, dict) and item for item in (model, state)) and isinstance(task, dict):
        return model, task, state
    keys = ", ".join(repr(key) for key in list(content)[:6]) or "nothing"
    raise CheckpointError(
        path,
        found=f"a dictionary with {keys}",
        expected=f"a configuration and weights: cfg and model, or model_cfg and model_weight; known formats: {known_formats()}",
        cause="a bare state dict, or a checkpoint of another program",
    )
