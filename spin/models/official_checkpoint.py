"""Checkpoints of the authors: Spin (PyTorch Lightning, .ckpt) and R-Spin (.pt)."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from spin.errors import CheckpointError
from spin.models.architecture import EncoderShape
from spin.models.architecture_import import from_weights, require
from spin.models.encoder import Encoder
from spin.models.importers import load_encoder
from spin.models.safe_load import plain, read_pickle
from spin.models.sources import known_formats
from spin.models.state_dict_names import FAIRSEQ
from spin.models.weights import fit, reject_mismatch

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

Parts = tuple[Encoder, dict[str, Tensor], int]


def read_official(path: Path, base: str | Path | None = None) -> Parts:
    """Reads an official Spin or R-Spin checkpoint.

    Args:
        path: a pickle file.
        base: for Spin, the checkpoint that the encoder started from, for its configuration; None: looked for in the same folder.

    Returns:
        encoder: in float32 and evaluation mode.
        state: our names of head and codebook -> tensor.
        layer: the encoder layer that the head reads.

    Raises:
        CheckpointError: another file, a damaged one, or options that this code does not implement.
    """
    content = read_pickle(path)
    state = content.get("state_dict")
    if isinstance(state, dict) and SPIN_NAMES["codebook.weight"] in state:
        return _read_spin(path, content, base)
    if isinstance(state, dict) and RSPIN_NAMES["codebook.weight"] in state:
        return _read_rspin(path, content)
    raise CheckpointError(
        str(path),
        found=f"a dictionary with {', '.join(repr(key) for key in list(content)[:6])}",
        expected=(
            f"a state_dict with {SPIN_NAMES['codebook.weight']!r} (Spin) or {RSPIN_NAMES['codebook.weight']!r} (R-Spin); "
            f"known formats of encoders: {known_formats()}"
        ),
        remedy="for an encoder: spin.load_encoder",
    )


def _read_spin(path: Path, content: dict, base: str | Path | None) -> Parts:
    hyper_parameters = plain(content.get("hyper_parameters") or {})
    config = hyper_parameters.get("model", {}) if isinstance(hyper_parameters, dict) else {}
    settings = config.get("encoder", {})
    off = (False, None)
    require(str(path), config, {"normalize": off})
    require(str(path), settings, {"feat_select": ("x", None), "normalize": off, "pre_normalize": off, "disable_pos": off})
    require(str(path), config.get("loss", {}), {"l2_norm": (True,)})
    weights, state = _split(path, content["state_dict"], SPIN_ENCODER, SPIN_NAMES)
    encoder = fit(str(path), weights, _shape(path, weights, settings.get("path_or_url"), base), FAIRSEQ)
    return encoder, state, settings.get("use_layer", DEFAULT_LAYER)


def _read_rspin(path: Path, content: dict) -> Parts:
    """WavLM Base, whose last layer the head reads; `cfg` repeats the sizes of the codebook."""
    weights, state = _split(path, content["state_dict"], RSPIN_ENCODER, RSPIN_NAMES)
    config, shape = plain(content.get("cfg") or {}), tuple(state["codebook.weight"].shape)
    sizes = (config.get("codebook_size", shape[0]), config.get("codebook_dim", shape[-1]))
    if sizes != shape:
        raise CheckpointError(
            str(path),
            found=f"a codebook of shape {shape}",
            expected=f"{sizes}, as its cfg says",
            cause="files of two models mixed",
        )
    encoder = fit(str(path), weights, from_weights(str(path), weights), FAIRSEQ)
    return encoder, state, encoder.shape.layers


def _split(path: Path, state: dict[str, Tensor], prefix: str, names: dict[str, str]) -> tuple[dict, dict]:
    """(the encoder's tensors without their prefix, head and codebook under our names)."""
    weights = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    rest = [key for key in state if not key.startswith(prefix)]
    missing = next((key for key in names.values() if key not in state), None)
    reject_mismatch(str(path), missing, next((key for key in rest if key not in names.values()), None))
    return weights, {ours: state[theirs] for ours, theirs in names.items()}


def _shape(path: Path, weights: dict[str, Tensor], started_from: str | None, base: str | Path | None) -> EncoderShape:
    neighbour = path.parent / Path(started_from).name if started_from else None
    if base is None and neighbour is not None and neighbour.is_file() and neighbour != path:
        base = neighbour
    return from_weights(str(path), weights) if base is None else load_encoder(base).shape
