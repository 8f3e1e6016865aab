"""What every parameter of an Encoder is called in the checkpoints of others.

A rule is a pattern for our name and the names that a file may use for it; the first name is the one that error messages show.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from spin.errors import CheckpointError
from spin.models.encoder import Encoder
from spin.models.shape import EncoderShape

FORMATS = (
    "torchaudio bundle name, fairseq HuBERT .pt, s3prl-converted .pt, unilm WavLM .pt, transformers folder (HubertModel or "
    "WavLMModel; safetensors or bin), Spin's own .safetensors or exported folder; official Spin .ckpt by spin.load_model"
)

FAIRSEQ = (
    (r"feature_extractor\.layers\.(\d+)\.conv\.", ("feature_extractor.conv_layers.{}.0.",)),
    (
        r"feature_extractor\.layers\.(\d+)\.norm\.",
        ("feature_extractor.conv_layers.{}.2.", "feature_extractor.conv_layers.{}.2.1."),
    ),
    (r"feature_projection\.norm\.", ("layer_norm.",)),
    (r"feature_projection\.linear\.", ("post_extract_proj.",)),
    (r"pos_conv\.weight_g", ("encoder.pos_conv.0.weight_g", "encoder.pos_conv.0.parametrizations.weight.original0")),
    (r"pos_conv\.weight_v", ("encoder.pos_conv.0.weight_v", "encoder.pos_conv.0.parametrizations.weight.original1")),
    (r"pos_conv\.", ("encoder.pos_conv.0.",)),
    (r"layer_norm\.", ("encoder.layer_norm.",)),
    (r"position_bias\.table\.", ("encoder.layers.0.self_attn.relative_attention_bias.",)),
    (r"layers\.(\d+)\.attention\.([qkv]|out)\.", ("encoder.layers.{}.self_attn.{}_proj.",)),
    (r"layers\.(\d+)\.attention\.gate\.", ("encoder.layers.{}.self_attn.grep_linear.",)),
    (r"layers\.(\d+)\.attention\.gate_scale", ("encoder.layers.{}.self_attn.grep_a",)),
    (r"layers\.(\d+)\.attention_norm\.", ("encoder.layers.{}.self_attn_layer_norm.",)),
    (r"layers\.(\d+)\.ffn_in\.", ("encoder.layers.{}.fc1.",)),
    (r"layers\.(\d+)\.ffn_out\.", ("encoder.layers.{}.fc2.",)),
    (r"layers\.(\d+)\.final_norm\.", ("encoder.layers.{}.final_layer_norm.",)),
)
TRANSFORMERS = (
    (r"feature_extractor\.layers\.(\d+)\.conv\.", ("feature_extractor.conv_layers.{}.conv.",)),
    (r"feature_extractor\.layers\.(\d+)\.norm\.", ("feature_extractor.conv_layers.{}.layer_norm.",)),
    (r"feature_projection\.norm\.", ("feature_projection.layer_norm.",)),
    (r"feature_projection\.linear\.", ("feature_projection.projection.",)),
    (
        r"pos_conv\.weight_g",
        ("encoder.pos_conv_embed.conv.weight_g", "encoder.pos_conv_embed.conv.parametrizations.weight.original0"),
    ),
    (
        r"pos_conv\.weight_v",
        ("encoder.pos_conv_embed.conv.weight_v", "encoder.pos_conv_embed.conv.parametrizations.weight.original1"),
    ),
    (r"pos_conv\.", ("encoder.pos_conv_embed.conv.",)),
    (r"layer_norm\.", ("encoder.layer_norm.",)),
    (r"position_bias\.table\.", ("encoder.layers.0.attention.rel_attn_embed.",)),
    (r"layers\.(\d+)\.attention\.([qkv]|out)\.", ("encoder.layers.{}.attention.{}_proj.",)),
    (r"layers\.(\d+)\.attention\.gate\.", ("encoder.layers.{}.attention.gru_rel_pos_linear.",)),
    (r"layers\.(\d+)\.attention\.gate_scale", ("encoder.layers.{}.attention.gru_rel_pos_const",)),
    (r"layers\.(\d+)\.attention_norm\.", ("encoder.layers.{}.layer_norm.",)),
    (r"layers\.(\d+)\.ffn_in\.", ("encoder.layers.{}.feed_forward.intermediate_dense.",)),
    (r"layers\.(\d+)\.ffn_out\.", ("encoder.layers.{}.feed_forward.output_dense.",)),
    (r"layers\.(\d+)\.final_norm\.", ("encoder.layers.{}.final_layer_norm.",)),
)

# Weights that only pre-training or another head needs.
PRETRAINING_ONLY = re.compile(
    r"mask_emb|label_embs_concat|final_proj\.|masked_spec_embed|lm_head\.|classifier\.|projector\.|layer_weights|aux\.|"
    r"mask_generator\.|logit_generator\.|adapter\."
)


_DRAWS = (
    nn.init.kaiming_uniform_,
    nn.init.kaiming_normal_,
    nn.init.uniform_,
    nn.init.normal_,
    Tensor.normal_,
    Tensor.uniform_,
)


class _Undrawn(TorchFunctionMode):
    """Modules made in this context keep what their memory held: no time and no random draws for weights about to be replaced.

    (The meta device would do, but its first random operation imports a compiler, which takes seconds.)
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in _DRAWS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def names_in_file(name: str, rules: tuple) -> list[str]:
    """Our parameter name -> the names that a file with these rules may use."""
    for pattern, templates in rules:
        match = re.match(pattern, name)
        if match:
            return [template.format(*match.groups()) + name[match.end() :] for template in templates]
    raise KeyError(name)


def fit(subject: str, state: dict[str, Tensor], shape: EncoderShape, rules: tuple | None) -> Encoder:
    """An Encoder in evaluation mode, float32, with the weights of `state`.

    Args:
        subject: the file, for messages.
        state: parameter name -> tensor, as the file has them.
        shape: of the encoder.
        rules: FAIRSEQ, TRANSFORMERS, or None when the names are ours.

    Raises:
        CheckpointError: names the first missing, unexpected, or misshapen parameter.
    """
    with _Undrawn():
        encoder = Encoder(shape)
    wanted = {name: names_in_file(name, rules) if rules else [name] for name in encoder.state_dict()}
    found = {name: next((key for key in keys if key in state), None) for name, keys in wanted.items()}
    state = dict(state)
    if rules is FAIRSEQ and shape.conv_channels[-1] == shape.dim and "post_extract_proj.weight" not in state:
        # fairseq leaves the projection out where the widths are equal already.
        state |= {"post_extract_proj.weight": torch.eye(shape.dim), "post_extract_proj.bias": torch.zeros(shape.dim)}
        found |= {f"feature_projection.linear.{part}": f"post_extract_proj.{part}" for part in ("weight", "bias")}
    missing = next((wanted[name][0] for name, key in found.items() if key is None), None)
    used = set(found.values())
    unexpected = next((key for key in state if key not in used and not PRETRAINING_ONLY.match(key)), None)
    if missing or unexpected:
        raise mismatch(subject, missing, unexpected)
    weights = {name: _fit_one(subject, found[name], state[found[name]], like) for name, like in encoder.state_dict().items()}
    put(encoder, weights)
    return encoder.requires_grad_(True).eval()


def put(module: torch.nn.Module, weights: dict[str, Tensor]) -> None:
    """Gives a module these tensors themselves, not copies of them.

    (load_state_dict can do so since torch 2.1; where k2 is an old one, torch is 1.13.)

    Args:
        module: with no buffers in its state.
        weights: parameter name -> tensor of its shape, all of them.
    """
    for name, tensor in weights.items():
        home, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(home), leaf, torch.nn.Parameter(tensor))


def mismatch(subject: str, missing: str | None, unexpected: str | None) -> CheckpointError:
    """The error for a file whose parameters are not those of the model that its configuration describes."""
    parts = [f"missing parameter {missing!r}" if missing else "", f"unexpected parameter {unexpected!r}" if unexpected else ""]
    return CheckpointError(
        subject,
        found=" and ".join(part for part in parts if part),
        expected=f"all parameters of a HuBERT or WavLM encoder, in one of these formats: {FORMATS}",
        cause="another architecture, or a configuration that belongs to other weights",
    )


def require_finite(subject: str, key: str, tensor: Tensor) -> None:
    """Raises CheckpointError for weights that are infinite or no numbers: units made with them would look like units."""
    if not bool(torch.isfinite(tensor).all()):
        raise CheckpointError(
            subject,
            found=f"{key!r} has values that are not finite",
            expected="weights that are numbers",
            cause="a training that diverged, or a damaged file",
            remedy="take an earlier checkpoint",
        )


def _fit_one(subject: str, key: str, tensor: Tensor, like: Tensor) -> Tensor:
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        raise CheckpointError(subject, found=f"{key!r} is no tensor of floating-point numbers", expected=FORMATS)
    require_finite(subject, key, tensor)
    squeezed = [size for size in tensor.shape if size != 1] == [size for size in like.shape if size != 1]
    if not squeezed:
        raise CheckpointError(
            subject,
            found=f"{key!r} of shape {tuple(tensor.shape)}",
            expected=f"shape {tuple(like.shape)}; formats known: {FORMATS}",
            cause="the configuration belongs to other weights",
        )
    return nn.Parameter(tensor.detach().to(torch.float32).reshape(like.shape).clone())
