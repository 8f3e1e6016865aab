"""Checkpoints of the authors: Spin (PyTorch Lightning, .ckpt) and R-Spin (.pt)."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from spin.errors import CheckpointError
from spin.models.architecture_import import from_weights, require
from spin.models.encoder import Encoder
from spin.models.importers import load_encoder
from spin.models.safe_load import plain, read_pickle
from spin.models.sources import known_formats
from spin.models.state_dict_names import FAIRSEQ
from spin.models.weights import fit

# Our names of head and codebook -> those of the two layouts.
SPIN_ENCODER = "encoder.model."
SPIN_NAMES = {
    "head.weight": "pred_head.layers.0.weight",
    "head.bias": "pred_head.layers.0.bias",
    "codebook.weight": "loss_module.codebook.weight",
}
RSPIN_ENCODER = "encoder."
RSPIN_NAMES = {"head.weight": "pred_head.weight", "head.bias": "pred_head.bias", "codebook.weight": "codebook.weight"}
DEFAULT_LAYER = 12  # of both official codes

Contents = tuple[Encoder, dict[str, Tensor], dict]


def read_official(path: Path, base: str | Path | None = None) -> Contents:
    """Reads an official Spin or R-Spin checkpoint.

    Args:
        path: a pickle file.
        base: for Spin, the checkpoint that the encoder started from, for its configuration; None: looked for in the same folder.

    Returns:
        encoder: in float32 and evaluation mode.
        state: our names of head and codebook -> tensor, not yet checked.
        config: `layer`, and for R-Spin `codebook_size` and `codebook_dim`.

    Raises:
        CheckpointError: another file, a damaged one, or options that this code does not implement.
    """
    content = read_pickle(path)
    state = content.get("state_dict")
    if isinstance(state, dict) and SPIN_NAMES["codebook.weight"] in state:
        return _read_spin(path, content, base)
    if isinstance(state, dict) and RSPIN_NAMES["codebook.weight"] in state:
        return _read_rspin(path, content)
    codebooks = f"{SPIN_NAMES['codebook.weight']!r} (Spin) or {RSPIN_NAMES['codebook.weight']!r} (R-Spin)"
    raise CheckpointError(
        str(path),
        found=f"a dictionary with {', '.join(repr(key) for key in list(content)[:6])}",
        expected=f"a state_dict with {codebooks}; known formats of encoders: {known_formats()}",
        remedy="for an encoder: spin.load_encoder",
    )


def _read_spin(path: Path, content: dict, base: str | Path | None) -> Contents:
    config = _object(_object(plain(content.get("hyper_parameters"))).get("model"))
    settings, off = _object(config.get("encoder")), (False, None)
    require(str(path), config, {"normalize": off})
    require(str(path), settings, {"feat_select": ("x", None), "normalize": off, "pre_normalize": off, "disable_pos": off})
    require(str(path), _object(config.get("loss")), {"l2_norm": (True,)})
    weights, state = _split(content["state_dict"], SPIN_ENCODER, SPIN_NAMES)
    neighbour = path.parent / Path(str(settings.get("path_or_url"))).name
    if base is None and neighbour.is_file() and neighbour != path:
        base = neighbour
    shape = from_weights(str(path), weights) if base is None else load_encoder(base).shape
    return fit(str(path), weights, shape, FAIRSEQ), state, {"layer": settings.get("use_layer", DEFAULT_LAYER)}


def _read_rspin(path: Path, content: dict) -> Contents:
    """WavLM Base, whose last layer the head reads."""
    weights, state = _split(content["state_dict"], RSPIN_ENCODER, RSPIN_NAMES)
    encoder = fit(str(path), weights, from_weights(str(path), weights), FAIRSEQ)
    return encoder, state, _object(plain(content.get("cfg"))) | {"layer": encoder.shape.layers}


def _object(value) -> dict:
    return value if isinstance(value, dict) else {}


def _split(state: dict[str, Tensor], prefix: str, names: dict[str, str]) -> tuple[dict, dict]:
    """(the encoder's tensors without their prefix, the others under our names where there is one)."""
    ours = {theirs: name for name, theirs in names.items()}
    weights = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    return weights, {ours.get(key, key): value for key, value in state.items() if not key.startswith(prefix)}
