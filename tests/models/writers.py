"""Writers of other programs' formats, for tests of the readers."""

import contextlib
import sys
import types
from pathlib import Path

import pytest
import torch

from spin.errors import CheckpointError
from spin.models.importers import load_encoder
from spin.models.model_files import RSPIN_NAMES, SPIN_NAMES
from spin.models.weights import FAIRSEQ, names_in_file


def fairseq_content(encoder) -> dict:
    """The encoder as fairseq would save it."""
    shape = encoder.shape
    layer_norm = shape.extractor_norm == "layer"
    names = {name: names_in_file(name, FAIRSEQ) for name in encoder.state_dict()}
    index = {name: -1 if layer_norm and len(keys) > 1 and "conv_layers" in keys[0] else 0 for name, keys in names.items()}
    model = {
        "extractor_mode": "layer_norm" if layer_norm else "default",
        "conv_feature_layers": "[(16,10,5)] + [(16,3,2)] * 4 + [(16,2,2)] * 2",
        "encoder_attention_heads": shape.heads,
        "layer_norm_first": shape.norm_first,
    }
    state = {names[name][index[name]]: tensor for name, tensor in encoder.state_dict().items()}
    return {"cfg": {"model": model, "task": {"normalize": shape.waveform_norm_eps is not None}}, "model": state}


def spin_content(model) -> dict:
    """The model as the official Spin code would save it."""
    state = {f"encoder.model.{name}": tensor for name, tensor in fairseq_content(model.encoder)["model"].items()}
    state |= {theirs: model.objective.state_dict()[ours] for ours, theirs in SPIN_NAMES.items()}
    return {"state_dict": state, "hyper_parameters": {"model": {"encoder": {"use_layer": model.layer}}}}


def rspin_content(model) -> dict:
    """The model as the official R-Spin code would save it."""
    state = {f"encoder.{name}": tensor for name, tensor in fairseq_content(model.encoder)["model"].items()}
    state |= {"encoder.mask_emb": torch.zeros(model.encoder.shape.dim)}
    state |= {theirs: model.objective.state_dict()[ours] for ours, theirs in RSPIN_NAMES.items()}
    size, dim = model.codebook.weight.shape
    return {"cfg": {"codebook_dim": dim, "codebook_size": size}, "state_dict": state}


@contextlib.contextmanager
def foreign_class(full_name: str, bases: tuple = ()):
    """A class of a package that exists only while a file is written; building it would fail."""

    def refuse(*_):
        raise AssertionError("the class of the file was run")

    module_name, name = full_name.rsplit(".", 1)
    parts = module_name.split(".")
    modules = {".".join(parts[: i + 1]): types.ModuleType(parts[i]) for i in range(len(parts))}
    foreign = type(name, bases, {"__module__": module_name, "__setstate__": refuse})
    setattr(modules[module_name], name, foreign)
    sys.modules |= modules
    try:
        yield foreign
    finally:
        for module in modules:
            sys.modules.pop(module)


def hidden(encoder) -> torch.Tensor:
    waveforms = torch.randn(1, 3000, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return encoder(waveforms, torch.tensor([3000]))[0][-1]


def error_of(path, load=load_encoder) -> str:
    with pytest.raises(CheckpointError) as caught:
        load(path)
    message = str(caught.value)
    assert Path(path).name in message
    return message
