"""Encoders under transformers' names: folders of save_pretrained and of `python -m spin export`, and torchaudio's bundles.

transformers knows the encoder only. In an exported folder HEAD_FILE holds head, codebook and the layer that they read, and
config.json has SPIN_KEYS too, which transformers keeps.
"""

import json
import re
from pathlib import Path

import torch
from torch import Tensor

from spin.errors import CheckpointError
from spin.models import weights
from spin.models.architecture import LAYER_NORM_EPS, EncoderShape, require
from spin.models.encoder import Encoder
from spin.models.importers import HEAD_FILE, is_safetensors
from spin.models.pickles import from_weights, read_pickle
from spin.models.weights import TRANSFORMERS, fit
from spin.runtime.logs import get_logger

CONFIG, PREPROCESSOR, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"
HEAD_FORMAT = "spin head 2"
WAVEFORM_EPS = 1e-7  # of transformers' feature extractor; fairseq, unilm and torchaudio use LayerNorm's 1e-5
SPIN_KEYS = ("waveform_norm_eps", "official_frames")  # fields of EncoderShape that transformers' own configuration lacks
TRANSFORMERS_KEYS = {  # fields of EncoderShape -> keys of config.json
    "arch": "model_type",
    "conv_channels": "conv_dim",
    "conv_kernels": "conv_kernel",
    "conv_strides": "conv_stride",
    "conv_bias": "conv_bias",
    "extractor_norm": "feat_extract_norm",
    "dim": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "ffn_dim": "intermediate_size",
    "pos_conv_taps": "num_conv_pos_embeddings",
    "pos_conv_groups": "num_conv_pos_embedding_groups",
    "norm_first": "do_stable_layer_norm",
}
# The only values of these keys that this code implements; an export writes the first of each.
TRANSFORMERS_ONLY = {
    "hidden_act": ("gelu",),
    "feat_extract_activation": ("gelu",),
    "conv_pos_batch_norm": (False,),
    "feat_proj_layer_norm": (True,),
}


def load_folder(folder: str | Path) -> Encoder:
    """Loads the encoder of a folder: config.json and weights."""
    folder = Path(folder)
    config = _read_object(folder / CONFIG)
    preprocessor = _read_object(folder / PREPROCESSOR) if (folder / PREPROCESSOR).is_file() else {}
    shape = _shape(str(folder / CONFIG), config, preprocessor)
    if shape.extractor_norm == "layer" and shape.waveform_norm_eps is None and not preprocessor:
        message = "%s has no %s: waveforms are not normalised, as the public Large models expect; keep it next to the weights"
        get_logger("spin.models").warning(message, folder, PREPROCESSOR)
    state, prefix = _read_weights(folder), f"{config['model_type']}."
    if any(key.startswith(prefix) for key in state):  # saved with a head on top, such as HubertForCTC
        state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return fit(str(folder), state, shape, TRANSFORMERS)


def _shape(file: str, config: dict, preprocessor: dict) -> EncoderShape:
    require(file, config, TRANSFORMERS_ONLY | {"model_type": ("hubert", "wavlm"), "feat_extract_norm": ("group", "layer")})
    missing = next((key for key in TRANSFORMERS_KEYS.values() if key not in config), None)
    if missing:
        expected = "the configuration of a HuBERT or WavLM encoder"
        raise CheckpointError(file, found=f"no key {missing!r} in the model configuration", expected=expected)
    values = {ours: config[theirs] for ours, theirs in TRANSFORMERS_KEYS.items()} | {
        "norm_eps": config.get("layer_norm_eps", LAYER_NORM_EPS),
        "waveform_norm_eps": WAVEFORM_EPS if preprocessor.get("do_normalize") else None,
        "position_buckets": config.get("num_buckets", 320),
        "position_max_distance": config.get("max_bucket_distance", 800),
        "official_frames": "convolutions",
    }
    values |= {name: config[name] for name in SPIN_KEYS if name in config}
    return EncoderShape.from_dict(values, file)


def _read_object(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"a {type(content).__name__}, not a JSON object")
        return content
    except (OSError, ValueError) as error:
        expected, cause = f"the {path.name} of a HubertModel or WavLMModel", "not a folder of transformers, or a damaged one"
        raise CheckpointError(str(path), found=str(error), expected=expected, cause=cause) from error


def _read_weights(folder: Path) -> dict[str, Tensor]:
    names = (WEIGHTS, "pytorch_model.bin")
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:8])
        raise CheckpointError(str(folder), found=found, expected=f"{CONFIG} and {' or '.join(names)}, in one file")
    return weights.read_safetensors(path)[0] if is_safetensors(path) else read_pickle(path)


def read_head(folder: Path) -> tuple[dict[str, Tensor], dict]:
    """Head and codebook of an exported folder, and metadata with the `layer` that they read."""
    if not (folder / HEAD_FILE).is_file():
        cause, remedy = "an encoder alone, which has neither head nor codebook", "for its encoder: spin.load_encoder"
        raise CheckpointError(str(folder), found=f"no {HEAD_FILE}", expected="a Spin model", cause=cause, remedy=remedy)
    return weights.read(folder / HEAD_FILE, HEAD_FORMAT)


def load_bundle(name: str) -> Encoder:
    """Loads a bundle by its name in importers.BUNDLES.

    torchaudio downloads it on first use into torch.hub's folder: 360 MB for Base, 1.2 to 3.9 GB for the others. CheckpointError
    without torchaudio, or with neither network nor an earlier download.
    """
    try:
        import torchaudio
    except (ImportError, OSError) as error:
        remedy = "install torchaudio of the same version as torch, or give a file"
        raise CheckpointError(name, found=f"torchaudio cannot be imported ({error})", remedy=remedy) from error
    bundle = getattr(torchaudio.pipelines, name)
    try:
        model = bundle.get_model()
    except (OSError, RuntimeError, EOFError) as error:
        found, cause = f"the weights could not be downloaded or read ({error})", "no network, or an interrupted download"
        url, folder = f"https://download.pytorch.org/torchaudio/models/{bundle._path}", f"{torch.hub.get_dir()}/checkpoints/"
        remedy = f"download {url} elsewhere and copy it to {folder}"
        raise CheckpointError(name, found=found, cause=cause, remedy=remedy) from error
    return from_torchaudio(model, name)


def from_torchaudio(model: torch.nn.Module, subject: str = "torchaudio model") -> Encoder:
    """Converts a torchaudio Wav2Vec2Model (of a bundle, or from torchaudio.models.hubert_*, wavlm_*, wav2vec2_model)."""
    normalize = bool(getattr(model, "normalize_waveform", False))
    model = getattr(model, "model", model)
    state, first = rename(model.state_dict()), model.encoder.transformer.layers[0]
    shape = from_weights(
        subject,
        state,
        TRANSFORMERS,
        conv_strides=tuple(layer.stride for layer in model.feature_extractor.conv_layers),
        heads=first.attention.num_heads,
        norm_first=first.layer_norm_first,
        waveform_norm_eps=LAYER_NORM_EPS if normalize else None,
        position_max_distance=getattr(first.attention, "max_distance", 800),
        official_frames="convolutions",
    )
    return fit(subject, state, shape, TRANSFORMERS)


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """torchaudio's parameter names -> those of transformers; WavLM's packed query, key and value are split."""
    renamed = {}
    for key, tensor in state.items():
        key = key.replace("encoder.transformer.", "encoder.").replace("encoder.feature_projection.", "feature_projection.")
        key = key.replace(".attention.attention.", ".attention.")
        packed = re.fullmatch(r"(.*\.attention\.)in_proj_(weight|bias)", key)
        if packed:
            chunks = zip("qkv", tensor.chunk(3), strict=True)
            renamed |= {f"{packed[1]}{letter}_proj.{packed[2]}": chunk for letter, chunk in chunks}
        else:
            renamed[key] = tensor
    return renamed
