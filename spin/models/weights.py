"""Tensors of a file -> the parameters of a module, each one checked."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from spin.errors import CheckpointError
from spin.models.architecture import EncoderShape
from spin.models.encoder import Encoder
from spin.models.state_dict_names import FAIRSEQ, PRETRAINING_ONLY, names_in_file

_DRAWS = (nn.init.kaiming_uniform_, nn.init.kaiming_normal_, nn.init.uniform_, nn.init.normal_, Tensor.normal_, Tensor.uniform_)


class _WithoutDraws(TorchFunctionMode):
    """Skips random initialisation: modules built in this context take no time and no draws for weights about to be replaced.

    The meta device would do the same, but its first random operation imports a compiler, which takes seconds.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in _DRAWS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def fit(file: str, state: dict[str, Tensor], shape: EncoderShape, layout: str | None) -> Encoder:
    """Builds an encoder with the weights of `state`.

    Args:
        file: subject of errors.
        state: parameter name -> tensor, as the file has them.
        shape: shape of the encoder.
        layout: FAIRSEQ, TRANSFORMERS, or None when the names are ours.

    Returns:
        The encoder in float32 and evaluation mode, on the CPU.

    Raises:
        CheckpointError: names the first missing, unexpected, misshapen or non-finite parameter.
    """
    with _WithoutDraws():
        encoder = Encoder(shape)
    if layout == FAIRSEQ and shape.conv_channels[-1] == shape.dim and "post_extract_proj.weight" not in state:
        # fairseq leaves the projection out where the widths are equal already.
        state = state | {"post_extract_proj.weight": torch.eye(shape.dim), "post_extract_proj.bias": torch.zeros(shape.dim)}
    parameters = dict(encoder.named_parameters())
    candidates = {name: names_in_file(name, layout) for name in parameters}
    keys = {name: next((key for key in names if key in state), None) for name, names in candidates.items()}
    missing = next((candidates[name][0] for name, key in keys.items() if key is None), None)
    used = set(keys.values())
    unexpected = next((key for key in state if key not in used and not PRETRAINING_ONLY.match(key)), None)
    reject_mismatch(file, missing, unexpected)
    for name, key in keys.items():
        _replace(encoder, name, check_tensor(file, key, state[key], parameters[name].shape))
    return encoder.eval()


def _replace(module: nn.Module, name: str, tensor: Tensor) -> None:
    """Makes the tensor itself the parameter. (load_state_dict can do so since torch 2.1; the k2 environment may have 1.13.)"""
    home, _, leaf = name.rpartition(".")
    setattr(module.get_submodule(home), leaf, nn.Parameter(tensor))


def check_tensor(file: str, key: str, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A float32 copy of a tensor.

    Args:
        file: subject of errors.
        key: name of the parameter in the file.
        tensor: the file's tensor.
        shape: expected shape; axes of length 1 may differ.

    Raises:
        CheckpointError: not a tensor, another shape, or values that are infinite or NaN: their units would look like units.
    """
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        raise CheckpointError(file, found=f"{key!r} is not a tensor of floating-point numbers", expected="weights")
    if not bool(torch.isfinite(tensor).all()):
        raise CheckpointError(
            file,
            found=f"{key!r} has values that are not finite",
            expected="finite weights",
            cause="a training that diverged, or a damaged file",
            remedy="use an earlier checkpoint",
        )
    if [size for size in tensor.shape if size != 1] != [size for size in shape if size != 1]:
        raise CheckpointError(
            file,
            found=f"{key!r} of shape {tuple(tensor.shape)}",
            expected=f"shape {tuple(shape)}",
            cause="the configuration belongs to other weights",
        )
    return tensor.detach().to(torch.float32).reshape(shape).clone()


def reject_mismatch(file: str, missing: str | None, unexpected: str | None) -> None:
    """Raises CheckpointError when a file lacks a parameter, or has one too many."""
    if not missing and not unexpected:
        return
    found = [f"missing parameter {missing!r}"] if missing else []
    found += [f"unexpected parameter {unexpected!r}"] if unexpected else []
    raise CheckpointError(
        file,
        found=" and ".join(found),
        expected="exactly the parameters of the configured model",
        cause="another architecture, or a configuration that belongs to other weights",
    )
