"""The configurations of other programs -> EncoderShape."""

from __future__ import annotations

import re

from torch import Tensor

from spin.errors import CheckpointError
from spin.models.architecture import EncoderShape

FAIRSEQ_EXTRACTORS = {"default": "group", "layer_norm": "layer"}
TRANSFORMERS_WAVEFORM_EPS = 1e-7  # of transformers' feature extractor; fairseq, unilm and torchaudio use LayerNorm's 1e-5
LAYER_NORM_EPS = 1e-5
STRIDES = (5, 2, 2, 2, 2, 2, 2)  # of every public HuBERT and WavLM
HEADS = {768: 12, 1024: 16, 1280: 16}  # of HuBERT Base, Large, X-Large by width

# Fields of EncoderShape -> keys of the two kinds of configuration.
FAIRSEQ_KEYS = {
    "dim": "encoder_embed_dim",
    "layers": "encoder_layers",
    "heads": "encoder_attention_heads",
    "ffn_dim": "encoder_ffn_embed_dim",
    "pos_conv_taps": "conv_pos",
    "pos_conv_groups": "conv_pos_groups",
    "norm_first": "layer_norm_first",
}
TRANSFORMERS_KEYS = {
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


def require(file: str, config: dict, allowed: dict[str, tuple]) -> None:
    """Raises CheckpointError when a key that is present has a value which this code does not implement."""
    for key, values in allowed.items():
        if key in config and config[key] not in values:
            expected = " or ".join(repr(value) for value in values)
            raise CheckpointError(file, found=f"{key} = {config[key]!r}", expected=expected, cause="an unsupported architecture")


def _pick(file: str, config: dict, keys: dict[str, str]) -> dict:
    missing = next((key for key in keys.values() if key not in config), None)
    if missing:
        raise CheckpointError(
            file,
            found=f"no key {missing!r} in the model configuration",
            expected="the configuration of a HuBERT or WavLM encoder",
        )
    return {ours: config[theirs] for ours, theirs in keys.items()}


def from_fairseq(file: str, model: dict, task: dict, state: dict[str, Tensor]) -> EncoderShape:
    """Reads fairseq's and unilm's model configuration, and the task's for `normalize`."""
    allowed = {
        "activation_fn": ("gelu",),
        "layer_type": ("transformer",),
        "pos_enc_type": ("abs",),
        "attn_type": ("", None),
        "pos_conv_depth": (1, None),
        "extractor_mode": tuple(FAIRSEQ_EXTRACTORS),
        "gru_rel_pos": (True,) if model.get("relative_position_embedding") else (True, False, None),
    }
    require(file, model, allowed)
    values = _pick(file, model, FAIRSEQ_KEYS | {"extractor_norm": "extractor_mode", "convolutions": "conv_feature_layers"})
    values |= parse_convolutions(file, values.pop("convolutions"))
    values |= {
        "arch": "wavlm" if any(key.endswith("grep_linear.weight") for key in state) else "hubert",
        "extractor_norm": FAIRSEQ_EXTRACTORS[values["extractor_norm"]],
        "conv_bias": bool(model.get("conv_bias", False)),
        "norm_first": bool(values["norm_first"]),
        "waveform_norm_eps": LAYER_NORM_EPS if task.get("normalize", False) else None,
        "position_buckets": model.get("num_buckets", 320),
        "position_max_distance": model.get("max_distance", 800),
    }
    return EncoderShape.from_dict(values, file)


def parse_convolutions(file: str, text: str) -> dict[str, tuple[int, ...]]:
    """Reads fairseq's "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2" without evaluating it."""
    layers = []
    triple = r"\(\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,?\s*\)"
    for term in str(text).split("+"):
        match = re.fullmatch(rf"\s*\[\s*({triple}(?:\s*,\s*{triple})*)\s*,?\s*\]\s*(?:\*\s*(\d+)\s*)?", term)
        if not match:
            raise CheckpointError(file, found=f"conv_feature_layers = {text!r}", expected="[(channels,kernel,stride)] * n + ...")
        layers += [tuple(int(value) for value in found) for found in re.findall(triple, match[1])] * int(match.groups()[-1] or 1)
    channels, kernels, strides = zip(*layers, strict=True)
    return {"conv_channels": channels, "conv_kernels": kernels, "conv_strides": strides}


def from_transformers(file: str, config: dict, preprocessor: dict) -> EncoderShape:
    """Reads config.json of a HubertModel or WavLMModel, and preprocessor_config.json for `do_normalize` ({}: no such file)."""
    require(file, config, TRANSFORMERS_ONLY | {"model_type": ("hubert", "wavlm"), "feat_extract_norm": ("group", "layer")})
    values = _pick(file, config, TRANSFORMERS_KEYS) | {
        "norm_eps": config.get("layer_norm_eps", LAYER_NORM_EPS),
        "waveform_norm_eps": TRANSFORMERS_WAVEFORM_EPS if preprocessor.get("do_normalize") else None,
        "position_buckets": config.get("num_buckets", 320),
        "position_max_distance": config.get("max_bucket_distance", 800),
        "official_frames": "convolutions",
    }
    return EncoderShape.from_dict(values, file)


def from_weights(file: str, state: dict[str, Tensor]) -> EncoderShape:
    """The shape of a fairseq-style encoder that comes without its configuration, as in Spin's and R-Spin's checkpoints.

    Everything except the strides and HuBERT's number of heads can be read off the weights. Those two are the public models'.

    Raises:
        CheckpointError: missing parameters, or a width of no public model, so that the number of heads is unknown.
    """
    try:
        kernels = [state[f"feature_extractor.conv_layers.{i}.0.weight"] for i in range(len(STRIDES))]
        positions, dim = state["encoder.pos_conv.0.weight_v"], state["encoder.layer_norm.weight"].shape[0]
        ffn_dim = state["encoder.layers.0.fc1.weight"].shape[0]
    except KeyError as error:
        raise CheckpointError(file, found=f"missing parameter {error.args[0]!r}", cause="another architecture") from error
    bias = state.get("encoder.layers.0.self_attn.relative_attention_bias.weight")
    large = "feature_extractor.conv_layers.1.2.1.weight" in state
    values = {
        "arch": "hubert" if bias is None else "wavlm",
        "conv_channels": [kernel.shape[0] for kernel in kernels],
        "conv_kernels": [kernel.shape[2] for kernel in kernels],
        "conv_strides": STRIDES,
        "conv_bias": "feature_extractor.conv_layers.0.0.bias" in state,
        "extractor_norm": "layer" if large else "group",
        "dim": dim,
        "layers": 1 + max(int(key.split(".")[2]) for key in state if key.startswith("encoder.layers.")),
        "heads": _public_heads(file, dim) if bias is None else bias.shape[1],
        "ffn_dim": ffn_dim,
        "pos_conv_taps": positions.shape[2],
        "pos_conv_groups": dim // positions.shape[1],
        "norm_first": large,
        "waveform_norm_eps": LAYER_NORM_EPS if large else None,
        "position_buckets": 320 if bias is None else bias.shape[0],
    }
    return EncoderShape.from_dict(values, file)


def _public_heads(file: str, dim: int) -> int:
    if dim in HEADS:
        return HEADS[dim]
    raise CheckpointError(
        file,
        found=f"a HuBERT of width {dim} without its configuration",
        expected=f"a width of {', '.join(map(str, HEADS))}, or the checkpoint that Spin started from",
        remedy="pass that checkpoint: spin.load_model(path, base=...), or copy it next to this file under its own name",
    )
