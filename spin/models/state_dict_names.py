"""The names of an Encoder's parameters in the checkpoints of other programs."""

from __future__ import annotations

import re

FAIRSEQ, TRANSFORMERS = "fairseq", "transformers"  # unilm and s3prl use fairseq's names, torchaudio those of transformers

# Our name, fairseq's, transformers'; # is a number. Of several names all are read; the last is the current version's.
_WEIGHT_NORM = ("weight_g", "parametrizations.weight.original0"), ("weight_v", "parametrizations.weight.original1")
_RULES = (
    ("feature_extractor.layers.#.conv.", "feature_extractor.conv_layers.#.0.", "feature_extractor.conv_layers.#.conv."),
    (
        "feature_extractor.layers.#.norm.",
        ("feature_extractor.conv_layers.#.2.", "feature_extractor.conv_layers.#.2.1."),
        "feature_extractor.conv_layers.#.layer_norm.",
    ),
    ("feature_projection.norm.", "layer_norm.", "feature_projection.layer_norm."),
    ("feature_projection.linear.", "post_extract_proj.", "feature_projection.projection."),
    *(
        (
            f"pos_conv.{names[0]}",
            tuple(f"encoder.pos_conv.0.{name}" for name in names),
            tuple(f"encoder.pos_conv_embed.conv.{name}" for name in names),
        )
        for names in _WEIGHT_NORM
    ),
    ("pos_conv.", "encoder.pos_conv.0.", "encoder.pos_conv_embed.conv."),
    ("layer_norm.", "encoder.layer_norm.", "encoder.layer_norm."),
    ("position_bias.table.", "encoder.layers.0.self_attn.relative_attention_bias.", "encoder.layers.0.attention.rel_attn_embed."),
    *(
        (f"layers.#.attention.{name}.", f"encoder.layers.#.self_attn.{name}_proj.", f"encoder.layers.#.attention.{name}_proj.")
        for name in ("q", "k", "v", "out")
    ),
    ("layers.#.attention.gate.", "encoder.layers.#.self_attn.grep_linear.", "encoder.layers.#.attention.gru_rel_pos_linear."),
    ("layers.#.attention.gate_scale", "encoder.layers.#.self_attn.grep_a", "encoder.layers.#.attention.gru_rel_pos_const"),
    ("layers.#.attention_norm.", "encoder.layers.#.self_attn_layer_norm.", "encoder.layers.#.layer_norm."),
    ("layers.#.ffn_in.", "encoder.layers.#.fc1.", "encoder.layers.#.feed_forward.intermediate_dense."),
    ("layers.#.ffn_out.", "encoder.layers.#.fc2.", "encoder.layers.#.feed_forward.output_dense."),
    ("layers.#.final_norm.", "encoder.layers.#.final_layer_norm.", "encoder.layers.#.final_layer_norm."),
)

# Weights that only pre-training or another head needs.
PRETRAINING_ONLY = re.compile(
    r"mask_emb|label_embs_concat|final_proj\.|masked_spec_embed|lm_head\.|classifier\.|projector\.|layer_weights|aux\.|"
    r"mask_generator\.|logit_generator\.|adapter\."
)


def names_in_file(name: str, layout: str | None) -> list[str]:
    """The names that a file may use for one of our parameters.

    Args:
        name: parameter name of an Encoder.
        layout: FAIRSEQ or TRANSFORMERS; None: our own names.

    Raises:
        KeyError: no parameter of an Encoder.
    """
    if layout is None:
        return [name]
    for ours, fairseq, transformers in _RULES:
        match = re.match(re.escape(ours).replace(r"\#", r"(\d+)"), name)
        if match:
            templates = fairseq if layout == FAIRSEQ else transformers
            templates = (templates,) if isinstance(templates, str) else templates
            return [template.replace("#", "".join(match.groups())) + name[match.end() :] for template in templates]
    raise KeyError(name)
