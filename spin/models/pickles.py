"""Checkpoints in pickle files: those of fairseq, unilm and s3prl, read without running code from them.

torch.load(weights_only=True) builds tensors and plain containers only. Some public files also hold bookkeeping objects of
fairseq, omegaconf and the like (a token dictionary next to the weights). Those are neither imported nor built: an inert record
takes their place. Any other object in a file is an error that names it.
"""

import ast
import pickle
import re
from pathlib import Path

import torch
from torch import Tensor

from spin.errors import CheckpointError
from spin.models.architecture import LAYER_NORM_EPS, EncoderShape, require
from spin.models.encoder import Encoder
from spin.models.importers import DAMAGED, MODEL_REMEDY, damaged, known_formats
from spin.models.weights import FAIRSEQ, fit, names_in_file

# Bookkeeping in files of the known formats; nothing of these packages is imported.
BOOKKEEPING = ("fairseq.", "omegaconf.", "argparse.Namespace", "pytorch_lightning.", "lightning", "s3prl.", "typing.", "numpy.")

STRIDES = (5, 2, 2, 2, 2, 2, 2)  # of every public HuBERT and WavLM
HEADS = {768: 12, 1024: 16, 1280: 16}  # of HuBERT Base, Large, X-Large by width


class Record:
    """An inert record in place of an object whose class must not be run."""

    def __init__(self, *values, **named):
        self.values, self.state = values, named

    def __setstate__(self, state):
        self.values, self.state = (), state


def plain(value):
    """Containers with Records replaced by their content: attributes as a dict, an enum by its value, omegaconf's content."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(item) for item in value)
    if not isinstance(value, Record):
        return value
    state, values = getattr(value, "state", {}), getattr(value, "values", ())
    for key in ("_content", "_val"):
        if isinstance(state, dict) and key in state:
            return plain(state[key])
    return plain(values[0]) if len(values) == 1 and not state else plain(state)


def read_pickle(path: Path) -> dict:
    """A file of torch.save as plain containers, Records and CPU tensors; CheckpointError where it is damaged or needs code."""
    if not hasattr(torch.serialization, "safe_globals"):
        found = f"a pickle, which torch {torch.__version__} cannot read safely"
        raise CheckpointError(str(path), found=found, remedy="use torch 2.5 or later, as .venv has it")
    try:
        objects = _objects_in(path)
        foreign = [name for name in objects if not name.startswith(BOOKKEEPING)]
        if foreign:
            raise _needs_code(path, foreign[0])
        with torch.serialization.safe_globals([(_inert(name), name) for name in objects]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Of torch's message only the reason is told: the rest advises reading the file unsafely.
        refused = re.search(r"(?:GLOBAL |unrecognized function |but got <class ')([\w.]+)", str(error))
        reason = re.search(r"WeightsUnpickler error:\s*(.+)", str(error))
        reason = reason[1] if reason else "not a pickle of tensors"
        raise (_needs_code(path, refused[1]) if refused else damaged(path, reason)) from None
    except DAMAGED as error:
        raise damaged(path, error) from error
    if not isinstance(content, dict):
        expected = f"a dictionary; known formats: {known_formats()}"
        raise CheckpointError(str(path), found=f"a {type(content).__name__}", expected=expected)
    return content


def _inert(full_name: str) -> type:
    """A Record that error messages call by the name of the class that it replaces."""
    module, _, name = full_name.rpartition(".")
    return type(name, (Record,), {"__module__": module})


def _objects_in(path: Path) -> list[str]:
    """Names of the classes and functions that the file's pickle refers to and torch does not know as harmless; nothing is run."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
    except ValueError:
        return []  # a file of torch before 1.6, or of another program: torch.load decides


def _needs_code(path: Path, name: str) -> CheckpointError:
    found, expected = f"an object of {name!r} next to the weights", "tensors and plain containers"
    cause = "the whole model or trainer was pickled: reading it would run code from the file, which Spin never does"
    remedy = "if you trust the file, save its state dict alone with the program that made it"
    return CheckpointError(str(path), found=found, expected=expected, cause=cause, remedy=remedy)


def load_pickle(path: str) -> Encoder:
    """Loads fairseq ({"cfg" or "args", "model"}), s3prl ({"model_cfg", "task_cfg", "model_weight"}) or unilm (flat "cfg")."""
    content = read_pickle(Path(path))
    if any(str(key).endswith("codebook.weight") for key in content.get("state_dict") or {}):
        raise CheckpointError(path, found="a Spin or R-Spin checkpoint", expected="an encoder", remedy=MODEL_REMEDY)
    if {"model_cfg", "model_weight"} <= set(content):
        model, task, state = plain(content["model_cfg"]), plain(content.get("task_cfg", {})), content["model_weight"]
    else:
        config = plain(content.get("cfg") or content.get("args") or {})
        config = config if isinstance(config, dict) else {}
        model, task = (config[key] if isinstance(config.get(key), dict) else config for key in ("model", "task"))
        state = content.get("model")
    if all(isinstance(item, dict) and item for item in (model, state)) and isinstance(task, dict):
        return fit(path, state, from_config(path, model, task, state), FAIRSEQ)
    found = f"a dictionary with {', '.join(map(repr, list(content)[:6])) or 'nothing'}"
    expected = f"cfg and model, or model_cfg and model_weight; known formats: {known_formats()}"
    cause = "a bare state dict, or a checkpoint of another program"
    raise CheckpointError(path, found=found, expected=expected, cause=cause)


def from_config(file: str, model: dict, task: dict, state: dict[str, Tensor]) -> EncoderShape:
    """The shape by the model's configuration, the task's (for `normalize`) and the weights."""
    allowed = {
        "activation_fn": ("gelu",),
        "layer_type": ("transformer",),
        "pos_enc_type": ("abs",),
        "attn_type": ("", None),
        "pos_conv_depth": (1, None),
        "extractor_mode": ("default", "layer_norm"),
        "gru_rel_pos": (True,) if model.get("relative_position_embedding") else (True, False, None),
    }
    require(file, model, allowed)
    return from_weights(
        file,
        state,
        conv_strides=parse_strides(file, model.get("conv_feature_layers")),
        heads=model.get("encoder_attention_heads"),
        norm_first=bool(model.get("layer_norm_first")),
        waveform_norm_eps=LAYER_NORM_EPS if task.get("normalize", False) else None,
        position_max_distance=model.get("max_distance", 800),
    )


def parse_strides(file: str, text: object) -> tuple[int, ...]:
    """The strides of fairseq's (channels, kernel, stride) of each convolution; literals are read, nothing is evaluated.

    >>> parse_strides("file", "[(512,10,5), (512,3,2)] + [(512, 3, 2)] * 3 + [(512,2,2)] * 2")
    (5, 2, 2, 2, 2, 2, 2)
    """
    layers = []
    try:
        for term in str(text).split("+"):
            triples, _, times = term.partition("*")
            layers += ast.literal_eval(triples.strip()) * int(times or 1)
        return tuple(stride for _, _, stride in layers)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        expected = "[(channels,kernel,stride)] * n + ..."
        raise CheckpointError(file, found=f"conv_feature_layers = {text!r}", expected=expected) from error


def from_weights(file: str, state: dict[str, Tensor], layout: str = FAIRSEQ, **known) -> EncoderShape:
    """The shape of an encoder by its weights, whose names are those of `layout`, as in Spin's and R-Spin's checkpoints.

    `known` are fields of EncoderShape that a configuration states. Without it, the strides and HuBERT's number of heads, which
    weights do not show, are those of the public models. CheckpointError for missing parameters, or a width of no public model.
    """

    def has(name: str) -> bool:
        return any(key in state for key in names_in_file(name, layout))

    def size(name: str, axis: int) -> int:
        keys = names_in_file(name, layout)
        shape = next((getattr(state[key], "shape", ()) for key in keys if key in state), ())
        if axis >= len(shape):
            raise CheckpointError(file, found=f"missing parameter {keys[0]!r}", cause="another architecture")
        return shape[axis]

    kernels = [f"feature_extractor.layers.{i}.conv.weight" for i in range(len(known.get("conv_strides", STRIDES)))]
    positions, bias = "pos_conv.weight_v", "position_bias.table.weight"
    dim, wavlm, large = size("layer_norm.weight", 0), has(bias), has("feature_extractor.layers.1.norm.weight")
    values = {
        "arch": "wavlm" if wavlm else "hubert",
        "conv_channels": [size(kernel, 0) for kernel in kernels],
        "conv_kernels": [size(kernel, 2) for kernel in kernels],
        "conv_strides": STRIDES,
        "conv_bias": has("feature_extractor.layers.0.conv.bias"),
        "extractor_norm": "layer" if large else "group",
        "dim": dim,
        "layers": len({match[1] for key in state if (match := re.match(r"encoder\.layers\.(\d+)\.", str(key)))}),
        "ffn_dim": size("layers.0.ffn_in.weight", 0),
        "pos_conv_taps": size(positions, 2),
        "pos_conv_groups": dim // max(1, size(positions, 1)),
        "norm_first": large,
        "waveform_norm_eps": LAYER_NORM_EPS if large else None,
        "position_buckets": size(bias, 0) if wavlm else 320,
    }
    heads = known.get("heads") or (size(bias, 1) if wavlm else HEADS.get(dim))
    if heads is None:
        found, expected = f"a HuBERT of width {dim} without its configuration", f"a width of {', '.join(map(str, HEADS))}"
        remedy = "pass the checkpoint that Spin started from: spin.load_model(path, base=...), or copy it next to this file"
        raise CheckpointError(file, found=found, expected=expected, remedy=remedy)
    return EncoderShape.from_dict(values | known | {"heads": heads}, file)
