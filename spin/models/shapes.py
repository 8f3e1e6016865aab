"""The configurations of other programs -> EncoderShape."""

from __future__ import annotations

import re

from torch import Tensor

from spin.errors import CheckpointError
from spin.models.names import FORMATS
from spin.models.shape import EncoderShape

FAIRSEQ_EXTRACTORS = {"default": "group", "layer_norm": "layer"}
TRANSFORMERS_WAVEFORM_EPS = 1e-7  # of transformers' feature extractor; fairseq, unilm and torchaudio use LayerNorm's 1e-5
LAYER_NORM_EPS = 1e-5
STRIDES = (5, 2, 2, 2, 2, 2, 2)  # of every public HuBERT and WavLM
HEADS = {768: 12, 1024: 16, 1280: 16}  # of HuBERT Base, Large, X-Large by width


def require(subject: str, config: dict, allowed: dict[str, tuple]) -> None:
    """Raises CheckpointError when a key that is there has a value which this code does not implement."""
    for key, values in allowed.items():
        if key in config and config[key] not in values:
            expected = f"{' or '.join(repr(value) for value in values)}; formats known: {FORMATS}"
            raise CheckpointError(
                subject, found=f"{key} = {config[key]!r}", expected=expected, cause="an unsupported architecture"
            )


def from_fairseq(subject: str, model: dict, task: dict, state: dict[str, Tensor]) -> EncoderShape:
    """fairseq's and unilm's model configuration (and the task's, for `normalize`)."""
    require(
        subject,
        model,
        {
            "activation_fn": ("gelu",),
            "layer_type": ("transformer",),
            "pos_enc_type": ("abs",),
            "attn_type": ("", None),
            "pos_conv_depth": (1, None),
            "extractor_mode": tuple(FAIRSEQ_EXTRACTORS),
            "gru_rel_pos": (True,) if model.get("relative_position_embedding") else (True, False, None),
        },
    )
    try:
        convolutions = parse_convolutions(subject, model["conv_feature_layers"])
        return EncoderShape(
            arch="wavlm" if any(key.endswith("grep_linear.weight") for key in state) else "hubert",
            **convolutions,
            conv_bias=bool(model.get("conv_bias", False)),
            extractor_norm=FAIRSEQ_EXTRACTORS[model["extractor_mode"]],
            dim=model["encoder_embed_dim"],
            layers=model["encoder_layers"],
            heads=model["encoder_attention_heads"],
            ffn_dim=model["encoder_ffn_embed_dim"],
            pos_conv_taps=model["conv_pos"],
            pos_conv_groups=model["conv_pos_groups"],
            norm_first=bool(model["layer_norm_first"]),
            waveform_norm_eps=LAYER_NORM_EPS if task.get("normalize", False) else None,
            position_buckets=model.get("num_buckets", 320),
            position_max_distance=model.get("max_distance", 800),
        )
    except KeyError as error:
        found, expected = f"no key {error.args[0]!r} in the model configuration", f"formats known: {FORMATS}"
        raise CheckpointError(subject, found=found, expected=expected) from error


def parse_convolutions(subject: str, text: str) -> dict[str, tuple[int, ...]]:
    """fairseq's notation for the extractor, "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2", read without evaluating it."""
    layers = []
    triple = r"\(\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,?\s*\)"
    for term in str(text).split("+"):
        match = re.fullmatch(rf"\s*\[\s*({triple}(?:\s*,\s*{triple})*)\s*,?\s*\]\s*(?:\*\s*(\d+)\s*)?", term)
        if not match:
            raise CheckpointError(
                subject, found=f"conv_feature_layers = {text!r}", expected="[(channels,kernel,stride)] * n + ..."
            )
        layers += [tuple(int(value) for value in found) for found in re.findall(triple, match[1])] * int(match.groups()[-1] or 1)
    channels, kernels, strides = zip(*layers, strict=True)
    return {"conv_channels": channels, "conv_kernels": kernels, "conv_strides": strides}


def from_transformers(subject: str, config: dict, preprocessor: dict) -> EncoderShape:
    """config.json of a HubertModel or WavLMModel, and preprocessor_config.json for `do_normalize` ({} where there is none)."""
    require(
        subject,
        config,
        {
            "model_type": ("hubert", "wavlm"),
            "hidden_act": ("gelu",),
            "feat_extract_activation": ("gelu",),
            "feat_extract_norm": ("group", "layer"),
            "conv_pos_batch_norm": (False,),
            "feat_proj_layer_norm": (True,),
        },
    )
    try:
        return EncoderShape(
            arch=config["model_type"],
            conv_channels=config["conv_dim"],
            conv_kernels=config["conv_kernel"],
            conv_strides=config["conv_stride"],
            conv_bias=bool(config["conv_bias"]),
            extractor_norm=config["feat_extract_norm"],
            dim=config["hidden_size"],
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            ffn_dim=config["intermediate_size"],
            pos_conv_taps=config["num_conv_pos_embeddings"],
            pos_conv_groups=config["num_conv_pos_embedding_groups"],
            norm_first=bool(config["do_stable_layer_norm"]),
            norm_eps=config.get("layer_norm_eps", LAYER_NORM_EPS),
            waveform_norm_eps=TRANSFORMERS_WAVEFORM_EPS if preprocessor.get("do_normalize") else None,
            position_buckets=config.get("num_buckets", 320),
            position_max_distance=config.get("max_bucket_distance", 800),
            official_frames="convolutions",
        )
    except KeyError as error:
        expected = f"config.json of HuBERT or WavLM; formats known: {FORMATS}"
        raise CheckpointError(subject, found=f"no key {error.args[0]!r}", expected=expected) from error


def from_weights(subject: str, state: dict[str, Tensor]) -> EncoderShape:
    """The shape of a fairseq-style encoder that comes without its configuration, as in official Spin checkpoints.

    Everything but the strides and HuBERT's number of heads can be read off the weights; for those two the values of the public
    models are taken.

    Raises:
        CheckpointError: weights of no public model, so that the number of heads cannot be known.
    """
    try:
        kernels = [state[f"feature_extractor.conv_layers.{i}.0.weight"] for i in range(len(STRIDES))]
        positions, dim = state["encoder.pos_conv.0.weight_v"], state["encoder.layer_norm.weight"].shape[0]
        ffn_dim = state["encoder.layers.0.fc1.weight"].shape[0]
    except KeyError as error:
        raise CheckpointError(subject, found=f"missing parameter {error.args[0]!r}", cause="another architecture") from error
    bias = state.get("encoder.layers.0.self_attn.relative_attention_bias.weight")
    heads = HEADS.get(dim) if bias is None else bias.shape[1]
    if heads is None:
        raise CheckpointError(
            subject,
            found=f"a HuBERT {dim} wide, without its configuration",
            expected=f"a width of {', '.join(str(width) for width in HEADS)}, or the checkpoint that Spin started from",
            remedy="pass that checkpoint: spin.load_model(path, base=...), or lay it beside this file under its own name",
        )
    large = "feature_extractor.conv_layers.1.2.1.weight" in state
    return EncoderShape(
        arch="hubert" if bias is None else "wavlm",
        conv_channels=tuple(kernel.shape[0] for kernel in kernels),
        conv_kernels=tuple(kernel.shape[2] for kernel in kernels),
        conv_strides=STRIDES,
        conv_bias="feature_extractor.conv_layers.0.0.bias" in state,
        extractor_norm="layer" if large else "group",
        dim=dim,
        layers=1 + max(int(key.split(".")[2]) for key in state if key.startswith("encoder.layers.")),
        heads=heads,
        ffn_dim=ffn_dim,
        pos_conv_taps=positions.shape[2],
        pos_conv_groups=dim // positions.shape[1],
        norm_first=large,
        waveform_norm_eps=LAYER_NORM_EPS if large else None,
        position_buckets=320 if bias is None else bias.shape[0],
    )
