"""torchaudio's pre-trained HuBERT and WavLM models, by name."""

import re

import torch
from torch import Tensor

from spin.errors import CheckpointError
from spin.models.architecture import LAYER_NORM_EPS, EncoderShape
from spin.models.encoder import Encoder
from spin.models.weights import TRANSFORMERS, fit


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
        raise CheckpointError(
            name,
            found=f"the weights could not be downloaded or read ({error})",
            expected=f"{bundle._path} from https://download.pytorch.org/torchaudio/models/",
            cause="no network, or an interrupted download",
            remedy=f"download it elsewhere and copy it to {torch.hub.get_dir()}/checkpoints/",
        ) from error
    return from_torchaudio(model, name)


def from_torchaudio(model: torch.nn.Module, subject: str = "torchaudio model") -> Encoder:
    """Converts a torchaudio Wav2Vec2Model (of a bundle, or from torchaudio.models.hubert_*, wavlm_*, wav2vec2_model)."""
    normalize = bool(getattr(model, "normalize_waveform", False))
    model = getattr(model, "model", model)
    transformer, convolutions = model.encoder.transformer, model.feature_extractor.conv_layers
    first = transformer.layers[0]
    positions = transformer.pos_conv_embed
    wavlm = hasattr(first.attention, "gru_rel_pos_const")
    shape = EncoderShape(
        arch="wavlm" if wavlm else "hubert",
        conv_channels=tuple(layer.conv.out_channels for layer in convolutions),
        conv_kernels=tuple(layer.kernel_size for layer in convolutions),
        conv_strides=tuple(layer.stride for layer in convolutions),
        conv_bias=convolutions[0].conv.bias is not None,
        extractor_norm="group" if isinstance(convolutions[0].layer_norm, torch.nn.GroupNorm) else "layer",
        dim=model.encoder.feature_projection.projection.out_features,
        layers=len(transformer.layers),
        heads=first.attention.num_heads,
        ffn_dim=first.feed_forward.intermediate_dense.out_features,
        pos_conv_taps=positions.conv.kernel_size[0],
        pos_conv_groups=positions.conv.groups,
        norm_first=first.layer_norm_first,
        waveform_norm_eps=LAYER_NORM_EPS if normalize else None,
        position_buckets=first.attention.num_buckets if wavlm else 320,
        position_max_distance=first.attention.max_distance if wavlm else 800,
        official_frames="convolutions",
    )
    return fit(subject, rename(model.state_dict()), shape, TRANSFORMERS)


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
