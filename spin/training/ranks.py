"""Several processes that train one model: each has a share of every batch, sums are reduced over all.

With one process every function here does nothing, and costs nothing. Gradients are reduced by one flat all-reduce instead of by
torch's DistributedDataParallel wrapper, with the same result (a test compares them) and for these reasons:

- It is exact. A plain sum of the ranks' shares is the gradient of the whole batch whatever number of frames each rank has, none
  included. The wrapper takes the mean over ranks, and waits for ever for a rank whose share is empty.
- It fits gradient accumulation, where the loss reaches the parameters in several backward passes from given gradients.
- It is deterministic: one buffer, one order. The wrapper's buckets are laid out anew after the first step.
- There is little for the wrapper to overlap: the top two layers and the head train, 57 MB of HuBERT Base's 380 MB.
- Names in checkpoints stay those of the model.

A rank that dies ends the training of all others: those that wait for it see the connection close, or their patience ends after
`patience` seconds, and raise a TrainingError. torchrun then ends what is left and names the first that failed.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterable, Iterator

import torch
import torch.distributed as dist
from torch import Tensor

from spin.errors import TrainingError


def start(device: torch.device, patience: float = 600.0) -> tuple[int, int]:
    """Joins the ranks that torchrun started (WORLD_SIZE above 1): NCCL between GPUs, gloo on the CPU.

    A WORLD_SIZE that something else has left in the environment (a pod, a job manager) is not looked at.

    Args:
        device: of this rank.
        patience: seconds that a rank waits for the others, at the start and in every sum; more than rank 0 takes to validate.

    Returns:
        (rank, number of ranks).

    Raises:
        TrainingError: not all ranks have come in time.
    """
    size = int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1
    if size > 1 and not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        with _answered():
            backend = "nccl" if device.type == "cuda" else "gloo"
            dist.init_process_group(backend, timeout=datetime.timedelta(seconds=patience))
    return rank(), world_size()


@contextlib.contextmanager
def _answered() -> Iterator[None]:
    """Says what it means when the other ranks do not answer."""
    try:
        yield
    except RuntimeError as error:  # what torch.distributed raises is derived from it
        own = f"rank {rank()} of {world_size()}" if dist.is_initialized() else f"rank {os.environ.get('RANK', '?')}"
        raise TrainingError(
            f"{own} of the Spin training",
            found=" ".join(str(error).split())[:300],
            expected="an answer from every other rank",
            cause="another rank has failed (its own message comes first), was killed, hangs, or cannot be reached",
            remedy="mend what that rank complains of; the same command goes on from the last checkpoint, on any number of ranks",
        ) from error


def finish() -> None:
    """Leaves the group, if there is one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def total(value: Tensor) -> Tensor:
    """The sum of `value` over all ranks (in place)."""
    if world_size() > 1:
        with _answered():
            dist.all_reduce(value)
    return value


def largest(value: Tensor) -> Tensor:
    """The elementwise maximum over all ranks (in place)."""
    if world_size() > 1:
        with _answered():
            dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return value


def log_sum_exp(value: Tensor) -> Tensor:
    """log of the sum over ranks of exp(value), the same bits on every rank."""
    if world_size() == 1:
        return value
    parts = [torch.empty_like(value) for _ in range(world_size())]
    with _answered():
        dist.all_gather(parts, value.contiguous())
    return torch.logsumexp(torch.stack(parts), dim=0)


def sum_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replaces each gradient by its sum over ranks; a rank without a share of the batch counts as zero."""
    if world_size() == 1:
        return
    parameters = list(parameters)
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    flat = total(torch.cat([parameter.grad.reshape(-1) for parameter in parameters]))
    start = 0
    for parameter in parameters:
        stop = start + parameter.numel()
        parameter.grad.copy_(flat[start:stop].view_as(parameter))
        start = stop


def from_first(content):
    """Rank 0's `content` (tensors, numbers, strings, lists, dicts) on every rank."""
    if world_size() == 1:
        return content
    box = [content]
    with _answered():
        dist.broadcast_object_list(box, src=0)
    return box[0]


def from_all(content) -> list:
    """Every rank's `content` on every rank, in the order of ranks; what it may be: see from_first."""
    if world_size() == 1:
        return [content]
    box = [None] * world_size()
    with _answered():
        dist.all_gather_object(box, content)
    return box
