"""Models in the formats of others: a transformers folder, and programs that run without this package.

The folder loads with transformers' HubertModel or WavLMModel and gives the same hidden states for an utterance by itself. Batches
with padding are another matter: in Base models transformers takes the first GroupNorm over the padding too, as the official code
does (Encoder.forward's official_padding), so that there the frames of an utterance depend on the batch. In models with norm_first
transformers' last_hidden_state is behind the final LayerNorm (in its older versions the last of its hidden_states too), ours is
before it. `spin.load_encoder` and `spin.load_model` read the folder back as the same model.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from spin.artifacts import SAMPLE_RATE
from spin.errors import CheckpointError
from spin.models import export_folder, storage
from spin.models.encoder import Encoder
from spin.models.export_folder import DESCRIPTION, DIM_KEY, HEAD_FILE, HEAD_KEYS, LAYER_KEY, SIZE_KEY
from spin.models.names import TRANSFORMERS, names_in_file
from spin.models.shape import EncoderShape
from spin.models.spin_model import SpinModel
from spin.runtime.files import atomic_path, write_json

CLASSES = {"hubert": "HubertModel", "wavlm": "WavLMModel"}
CONFIG, PREPROCESSOR, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"


def export_transformers(folder: str | Path, model: SpinModel | Encoder) -> Path:
    """Writes config.json, model.safetensors and preprocessor_config.json, and for a Spin model its head and codebook beside.

    The configuration comes last: a folder that a kill left half written is refused by every reader. Files of an earlier export
    in the folder are replaced.

    Args:
        model: in float32; all layers of the encoder are written, those above the layer that Spin reads too.

    Raises:
        CheckpointError: weights that are no finite numbers, or `folder` is a file.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(str(folder), found="a file", expected="a folder to write, or one that does not exist yet")
    folder.mkdir(parents=True, exist_ok=True)
    for name in (CONFIG, DESCRIPTION, HEAD_FILE):
        (folder / name).unlink(missing_ok=True)
    encoder = model.encoder if isinstance(model, SpinModel) else model
    _write_weights(folder / WEIGHTS, encoder)
    write_json(folder / PREPROCESSOR, preprocessor_config(encoder.shape))
    _write_head(folder, model)
    write_json(folder / CONFIG, transformers_config(encoder.shape))
    return folder


def _write_weights(path: Path, encoder: Encoder) -> None:
    state = transformers_state(encoder)
    broken = next((name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())), None)
    if broken:
        raise CheckpointError(str(path), found=f"{broken!r} is infinite or no number", expected="finite weights")
    with atomic_path(path) as temporary:
        save_file(state, str(temporary), metadata={"format": "pt"})  # transformers refuses a file without it


def _write_head(folder: Path, model: SpinModel | Encoder) -> None:
    if not isinstance(model, SpinModel):
        write_json(folder / DESCRIPTION, export_folder.describe(model.shape, None))
        return
    state = {key: tensor for key, tensor in model.state_dict().items() if key in HEAD_KEYS}
    storage.write(folder / HEAD_FILE, state, {"format": export_folder.HEAD}, "float32", None)
    sizes = {LAYER_KEY: model.layer, SIZE_KEY: model.codebook.out_features, DIM_KEY: model.codebook.in_features}
    write_json(folder / DESCRIPTION, export_folder.describe(model.encoder.shape, sizes))


def transformers_state(encoder: Encoder) -> dict[str, Tensor]:
    """Float32 CPU tensors under the names that HubertModel and WavLMModel save (weight normalisation as a parametrization)."""
    state = {}
    for name, tensor in encoder.state_dict().items():
        # The last name of a rule is that of the current version; all of them are read.
        key = names_in_file(name, TRANSFORMERS)[-1]
        tensor = tensor.detach().to("cpu", torch.float32).contiguous().clone()
        state[key] = tensor.reshape(1, -1, 1, 1) if key.endswith("gru_rel_pos_const") else tensor
    return state


def transformers_config(shape: EncoderShape) -> dict:
    """config.json. Dropout and masking are off: they belong to a training, and the weights carry no mask embedding."""
    config = {
        "architectures": [CLASSES[shape.arch]],
        "model_type": shape.arch,
        "torch_dtype": "float32",
        "conv_dim": list(shape.conv_channels),
        "conv_kernel": list(shape.conv_kernels),
        "conv_stride": list(shape.conv_strides),
        "conv_bias": shape.conv_bias,
        "num_feat_extract_layers": len(shape.conv_channels),
        "feat_extract_norm": shape.extractor_norm,
        "feat_extract_activation": "gelu",
        "feat_proj_layer_norm": True,
        "hidden_size": shape.dim,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.ffn_dim,
        "hidden_act": "gelu",
        "layer_norm_eps": shape.norm_eps,
        "num_conv_pos_embeddings": shape.pos_conv_taps,
        "num_conv_pos_embedding_groups": shape.pos_conv_groups,
        "conv_pos_batch_norm": False,
        "do_stable_layer_norm": shape.norm_first,
        "layerdrop": 0.0,
        "mask_time_prob": 0.0,
        "mask_feature_prob": 0.0,
    }
    config |= {f"{part}_dropout": 0.0 for part in ("hidden", "attention", "activation", "feat_proj", "final")}
    if shape.arch == "wavlm":
        config |= {"num_buckets": shape.position_buckets, "max_bucket_distance": shape.position_max_distance}
    return config


def preprocessor_config(shape: EncoderShape) -> dict:
    """preprocessor_config.json of Wav2Vec2FeatureExtractor; its variance has 1e-7 added, ours what `waveform_norm_eps` says."""
    return {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "sampling_rate": SAMPLE_RATE,
        "do_normalize": shape.waveform_norm_eps is not None,
        "padding_side": "right",
        "padding_value": 0.0,
        # As in the public models: those with a GroupNorm were trained without a mask.
        "return_attention_mask": shape.extractor_norm == "layer",
    }
