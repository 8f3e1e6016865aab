"""Checkpoints of the official Spin code (PyTorch Lightning, .ckpt)."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from spin.errors import CheckpointError
from spin.models import shapes
from spin.models.encoder import Encoder
from spin.models.importers import load_encoder
from spin.models.names import FAIRSEQ, FORMATS, fit, mismatch, require_finite
from spin.models.reading import plain, read_pickled
from spin.models.shape import of_file

ENCODER_PREFIX = "encoder.model."
HEAD = ("pred_head.layers.0.weight", "pred_head.layers.0.bias")
CODEBOOK = "loss_module.codebook.weight"
DEFAULT_LAYER = 12  # of the official code


def read_checkpoint(path: Path, base: str | Path | None) -> tuple[Encoder, nn.Linear, nn.Linear, int]:
    """(encoder, head, codebook, layer) of an official checkpoint.

    Args:
        base: the checkpoint that the encoder started from, for its configuration; None: looked for beside `path`.

    Raises:
        CheckpointError: another file, a damaged one, or options that this code does not implement.
    """
    content = read_pickled(path)
    state = content.get("state_dict")
    if not isinstance(state, dict) or CODEBOOK not in state:
        keys = ", ".join(repr(key) for key in list(content)[:6])
        expected = f"state_dict with {CODEBOOK!r} (an official Spin checkpoint); formats known: {FORMATS}"
        raise CheckpointError(
            str(path), found=f"a dictionary with {keys}", expected=expected, remedy="for an encoder: spin.load_encoder"
        )
    config = plain(content.get("hyper_parameters") or {}).get("model", {})
    settings = _check_settings(path, config)
    weights = {key.removeprefix(ENCODER_PREFIX): value for key, value in state.items() if key.startswith(ENCODER_PREFIX)}
    shape = _shape(path, weights, settings.get("path_or_url"), base)
    encoder = fit(str(path), weights, shape, FAIRSEQ)
    rest = {key: value for key, value in state.items() if not key.startswith(ENCODER_PREFIX)}
    missing = next((key for key in HEAD if key not in rest), None)
    unexpected = next((key for key in rest if key not in (*HEAD, CODEBOOK)), None)
    if missing or unexpected:
        raise mismatch(str(path), missing, unexpected)
    for key, value in rest.items():
        require_finite(str(path), key, value)
    return encoder, _linear(rest[HEAD[0]], rest[HEAD[1]]), _linear(rest[CODEBOOK], None), settings.get("use_layer", DEFAULT_LAYER)


def _check_settings(path: Path, config: dict) -> dict:
    """The encoder's settings, after refusing those that change what the model computes and are not implemented."""
    settings = config.get("encoder", {})
    no = (False, None)
    shapes.require(str(path), config, {"normalize": no})
    shapes.require(str(path), settings, {"feat_select": ("x", None), "normalize": no, "pre_normalize": no, "disable_pos": no})
    shapes.require(str(path), config.get("loss", {}), {"l2_norm": (True,)})
    return settings


def _shape(path: Path, weights: dict[str, Tensor], started_from: str | None, base: str | Path | None):
    beside = path.parent / Path(started_from).name if started_from else None
    if base is None and beside is not None and beside.is_file() and beside != path:
        base = beside
    with of_file(str(path)):
        return shapes.from_weights(str(path), weights) if base is None else load_encoder(base).shape


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    linear.weight = nn.Parameter(weight.float().clone())
    if bias is not None:
        linear.bias = nn.Parameter(bias.float().clone())
    return linear
