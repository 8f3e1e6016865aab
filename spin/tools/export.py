"""python -m spin export: an encoder or a Spin model as a folder in transformers' layout.

The folder loads with transformers' HubertModel or WavLMModel and gives the same hidden states for an utterance by itself. Batches
with padding differ: in Base models transformers takes the first GroupNorm over the padding too, as the official code does
(Encoder.official_padding), so that the frames of an utterance depend on its batch. In models with norm_first, transformers'
last_hidden_state comes after the final LayerNorm, ours before it. spin.load_encoder and spin.load_model read the folder back as
the same model.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from spin.artifacts import SAMPLE_RATE
from spin.errors import CheckpointError
from spin.models import transformers_layout as layout
from spin.models import weights
from spin.models.architecture import EncoderShape
from spin.models.encoder import Encoder
from spin.models.importers import HEAD_FILE, load_encoder
from spin.models.model_files import MODEL_KEYS
from spin.models.weights import TRANSFORMERS, names_in_file
from spin.objectives.model import SpinModel, load_model
from spin.runtime.files import write_json

UNITS = "argmax over k of codebook.weight[k] . normalize(head.weight h + head.bias), h = hidden_states[layer]"


def main(argv: list[str] | None = None) -> None:
    """Reads one model and writes it; raises SpinError that names the file and what is wrong with it."""
    parser = argparse.ArgumentParser(prog="python -m spin export", description=__doc__.split(": ", 1)[1], allow_abbrev=False)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", help="a Spin or R-Spin model, by path or published name")
    source.add_argument("--encoder", help="an encoder alone, by path or name")
    parser.add_argument("--base", help="for an official .ckpt of an unusual shape: the checkpoint that its encoder started from")
    parser.add_argument("--output", required=True, metavar="PATH", help="the folder")
    arguments = parser.parse_args(argv)
    model = load_encoder(arguments.encoder) if arguments.encoder else load_model(arguments.model, arguments.base)
    export_transformers(Path(arguments.output), model)
    print(f"{arguments.output}: transformers")


def export_transformers(folder: Path, model: Encoder | SpinModel) -> None:
    """Writes config.json, model.safetensors and preprocessor_config.json, and for a Spin model its head and codebook.

    All layers are written, also those above the layer that Spin reads. The configuration comes last: every reader rejects the
    folder of a killed export. Files of an earlier export are replaced. Raises CheckpointError for weights that are not finite,
    or where `folder` is a file.
    """
    encoder = model.encoder if isinstance(model, SpinModel) else model
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(str(folder), found="a file", expected="a folder to write, or a name that does not exist yet")
    folder.mkdir(parents=True, exist_ok=True)
    for name in (layout.CONFIG, HEAD_FILE):
        (folder / name).unlink(missing_ok=True)
    # transformers rejects a file without this entry.
    weights.write_finite(folder / layout.WEIGHTS, transformers_state(encoder), {"format": "pt"})
    write_json(folder / layout.PREPROCESSOR, preprocessor_config(encoder.shape))
    if isinstance(model, SpinModel):
        state = {key: value for key, value in model.objective.state_dict().items() if key in MODEL_KEYS}
        metadata = {"format": layout.HEAD_FORMAT, "layer": model.layer}
        weights.write(folder / HEAD_FILE, state, metadata, "float32", {"units": UNITS})
    write_json(folder / layout.CONFIG, transformers_config(encoder.shape))


def transformers_state(encoder: Encoder) -> dict[str, Tensor]:
    """Float32 CPU tensors under the names that HubertModel and WavLMModel save (weight normalisation as a parametrization)."""
    state = {}
    for name, tensor in encoder.state_dict().items():
        key = names_in_file(name, TRANSFORMERS)[-1]  # the current version's name
        tensor = tensor.detach().to("cpu", torch.float32).contiguous().clone()
        state[key] = tensor.reshape(1, -1, 1, 1) if key.endswith("gru_rel_pos_const") else tensor
    return state


def transformers_config(shape: EncoderShape) -> dict:
    """config.json. Dropout and masking are off: they belong to a training, and the weights have no mask embedding."""
    values = shape.as_dict()
    config = {"architectures": [{"hubert": "HubertModel", "wavlm": "WavLMModel"}[shape.arch]], "torch_dtype": "float32"}
    config |= {theirs: values[ours] for ours, theirs in layout.TRANSFORMERS_KEYS.items()}
    config |= {name: values[name] for name in layout.SPIN_KEYS}
    config |= {key: allowed[0] for key, allowed in layout.TRANSFORMERS_ONLY.items()}
    config |= {"num_feat_extract_layers": len(shape.conv_channels), "layer_norm_eps": shape.norm_eps, "layerdrop": 0.0}
    config |= {f"mask_{axis}_prob": 0.0 for axis in ("time", "feature")}
    config |= {f"{part}_dropout": 0.0 for part in ("hidden", "attention", "activation", "feat_proj", "final")}
    if shape.arch == "wavlm":
        config |= {"num_buckets": shape.position_buckets, "max_bucket_distance": shape.position_max_distance}
    return config


def preprocessor_config(shape: EncoderShape) -> dict:
    """preprocessor_config.json of Wav2Vec2FeatureExtractor; it adds 1e-7 to the variance, we add `waveform_norm_eps`."""
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
