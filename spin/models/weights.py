"""Weights in files: our own safetensors files, and the parameters of an encoder under the names of any program, each one checked.

In our files, everything except the weights is JSON under one key of the metadata.
"""

import json
import re
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from spin.errors import CheckpointError
from spin.models.architecture import EncoderShape
from spin.models.encoder import Encoder
from spin.models.importers import DAMAGED, METADATA, MODEL, MODEL_REMEDY, damaged, known_formats
from spin.runtime.files import ENCODERS, atomic_path

ENCODER = "spin encoder 1"
REMEDIES = {
    ENCODER: "use spin.load_encoder; in the recipe: --set encoder.source=PATH",
    MODEL: MODEL_REMEDY,
    "spin head 1": "export the model again: python -m spin export --model PATH --output FOLDER",  # the first edition's folders
}

FAIRSEQ, TRANSFORMERS = "fairseq", "transformers"  # unilm and s3prl use fairseq's names, torchaudio those of transformers

# Our names, fairseq's, those of transformers; # is a number. Of several all are read; the last is the current version's.
_NAMES = """
feature_extractor.layers.#.conv. feature_extractor.conv_layers.#.0. feature_extractor.conv_layers.#.conv.
feature_extractor.layers.#.norm. feature_extractor.conv_layers.#.2. feature_extractor.conv_layers.#.layer_norm.
feature_extractor.layers.#.norm. feature_extractor.conv_layers.#.2.1. feature_extractor.conv_layers.#.layer_norm.
feature_projection.norm. layer_norm. feature_projection.layer_norm.
feature_projection.linear. post_extract_proj. feature_projection.projection.
pos_conv. encoder.pos_conv.0. encoder.pos_conv_embed.conv.
layer_norm. encoder.layer_norm. encoder.layer_norm.
position_bias.table. encoder.layers.0.self_attn.relative_attention_bias. encoder.layers.0.attention.rel_attn_embed.
layers.#.attention.q. encoder.layers.#.self_attn.q_proj. encoder.layers.#.attention.q_proj.
layers.#.attention.k. encoder.layers.#.self_attn.k_proj. encoder.layers.#.attention.k_proj.
layers.#.attention.v. encoder.layers.#.self_attn.v_proj. encoder.layers.#.attention.v_proj.
layers.#.attention.out. encoder.layers.#.self_attn.out_proj. encoder.layers.#.attention.out_proj.
layers.#.attention.gate. encoder.layers.#.self_attn.grep_linear. encoder.layers.#.attention.gru_rel_pos_linear.
layers.#.attention.gate_scale encoder.layers.#.self_attn.grep_a encoder.layers.#.attention.gru_rel_pos_const
layers.#.attention_norm. encoder.layers.#.self_attn_layer_norm. encoder.layers.#.layer_norm.
layers.#.ffn_in. encoder.layers.#.fc1. encoder.layers.#.feed_forward.intermediate_dense.
layers.#.ffn_out. encoder.layers.#.fc2. encoder.layers.#.feed_forward.output_dense.
layers.#.final_norm. encoder.layers.#.final_layer_norm. encoder.layers.#.final_layer_norm.
"""
_WEIGHT_NORM = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}

# Weights that only pre-training or another head needs.
PRETRAINING_ONLY = re.compile(
    r"mask_emb|label_embs_concat|final_proj\.|masked_spec_embed|lm_head\.|classifier\.|projector\.|layer_weights|aux\.|"
    r"mask_generator\.|logit_generator\.|adapter\."
)


def names_in_file(name: str, layout: str | None) -> list[str]:
    """The names that a file of a layout (FAIRSEQ, TRANSFORMERS, None: ours) may use for a parameter of an Encoder.

    >>> names_in_file("layers.3.ffn_in.bias", FAIRSEQ)
    ['encoder.layers.3.fc1.bias']
    """
    if layout is None:
        return [name]
    names = []
    for ours, fairseq, transformers in map(str.split, _NAMES.strip().splitlines()):
        match = re.match(re.escape(ours).replace(r"\#", r"(\d+)"), name)
        if match:
            template = fairseq if layout == FAIRSEQ else transformers
            names.append(template.replace("#", "".join(match.groups())) + name[match.end() :])
    leaf = name.rpartition(".")[2]
    if leaf in _WEIGHT_NORM:
        names.append(names[0].removesuffix(leaf) + _WEIGHT_NORM[leaf])
    return names


def fit(file: str, state: dict[str, Tensor], shape: EncoderShape, layout: str | None) -> Encoder:
    """An encoder with the weights of `state`, whose names are those of `layout`, in float32 and evaluation mode, on the CPU.

    CheckpointError names the first missing, unexpected, misshapen or non-finite parameter.
    """
    with torch.random.fork_rng(devices=[]):  # reading weights must not move the generator
        encoder = Encoder(shape)
    if layout == FAIRSEQ and shape.conv_channels[-1] == shape.dim and "post_extract_proj.weight" not in state:
        # fairseq leaves the projection out where the widths are equal already.
        state = state | {"post_extract_proj.weight": torch.eye(shape.dim), "post_extract_proj.bias": torch.zeros(shape.dim)}
    parameters = dict(encoder.named_parameters())
    candidates = {name: names_in_file(name, layout) for name in parameters}
    keys = {name: next((key for key in names if key in state), None) for name, names in candidates.items()}
    missing = next((candidates[name][0] for name, key in keys.items() if key is None), None)
    used = set(keys.values())
    unexpected = next((key for key in state if key not in used and not PRETRAINING_ONLY.match(key)), None)
    reject_mismatch(file, missing, unexpected)
    with torch.no_grad():
        for name, key in keys.items():  # copied: tensors of a file may share memory
            parameters[name].copy_(check_tensor(file, key, state[key], parameters[name].shape))
    return encoder.eval()


def check_tensor(file: str, key: str, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The tensor `key` of a file in float32 and the expected shape; axes of length 1 may differ.

    CheckpointError for another shape, or values that are infinite or NaN: their units would look like units.
    """
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        raise CheckpointError(file, found=f"{key!r} is not a tensor of floating-point numbers", expected="weights")
    if not bool(torch.isfinite(tensor).all()):
        cause, remedy = "a training that diverged, or a damaged file", "use an earlier checkpoint"
        raise CheckpointError(file, found=f"{key!r} has values that are not finite", cause=cause, remedy=remedy)
    if [size for size in tensor.shape if size != 1] != [size for size in shape if size != 1]:
        found, cause = f"{key!r} of shape {tuple(tensor.shape)}", "the configuration belongs to other weights"
        raise CheckpointError(file, found=found, expected=f"shape {tuple(shape)}", cause=cause)
    return tensor.detach().to(torch.float32).reshape(shape)


def reject_mismatch(file: str, missing: str | None, unexpected: str | None) -> None:
    """Raises CheckpointError when a file lacks a parameter, or has one too many."""
    found = [f"{fault} parameter {key!r}" for fault, key in (("missing", missing), ("unexpected", unexpected)) if key]
    if found:
        expected = "exactly the parameters of the configured model"
        cause = "another architecture, or a configuration that belongs to other weights"
        raise CheckpointError(file, found=" and ".join(found), expected=expected, cause=cause)


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(parameter name -> CPU tensor, metadata). Raises CheckpointError for a damaged file, or another format."""
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})
    except (SafetensorError, *DAMAGED) as error:
        raise damaged(path, error) from error


def write(path: str | Path, state: dict[str, Tensor], metadata: dict, dtype: str, notes: dict[str, str] | None) -> None:
    """Writes one of our files, which appears complete or not at all; CheckpointError for weights that are not finite in `dtype`.

    `dtype` is "float32" or "float16". `metadata` has `format` and what that format needs; `notes` is further metadata.
    """
    weights = {name: tensor.detach().to("cpu", getattr(torch, dtype)).contiguous().clone() for name, tensor in state.items()}
    write_finite(path, weights, {METADATA: json.dumps({**(notes or {}), **metadata}, sort_keys=True)})


def write_finite(path: str | Path, weights: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Writes finite weights with one metadata entry: the format orders several at random, and equal models give equal files."""
    broken = next((name for name, tensor in weights.items() if not bool(torch.isfinite(tensor).all())), None)
    if broken:
        found = f"{broken!r} is not finite as {weights[broken].dtype}"
        raise CheckpointError(str(path), found=found, expected="finite weights")
    with atomic_path(path) as temporary:
        save_file(weights, str(temporary), metadata=metadata)


def read(path: Path, kind: str) -> tuple[dict[str, Tensor], dict]:
    """Weights and metadata of one of our files of the format `kind`; CheckpointError for a damaged file or another format."""
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


def load_packaged(name: str) -> Encoder:
    """Loads a small encoder of this package, one of importers.PACKAGED."""
    path = ENCODERS / f"{name}.safetensors"
    if not path.exists():
        expected, remedy = "a file of this package", "git checkout -- spin/models/assets, or install the package again"
        raise CheckpointError(str(path), found="no such file", expected=expected, remedy=remedy)
    return load_encoder_file(path)
