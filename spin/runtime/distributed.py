"""Several processes that train one model: each has a share of every batch, and sums are reduced over all.

With one process every function here does nothing. Gradients are reduced by one flat all-reduce instead of torch's
DistributedDataParallel, to which a test compares it: the sum of the ranks' shares is exact, also where one has no frames. It fits
GradCache, where the loss reaches the parameters in several backward passes. It is deterministic: one buffer, one order.

A rank that dies ends the training of all. The others see the connection close, or wait for at most PATIENCE_IN_S, and raise a
TrainingError. torchrun then ends what is left and names the first rank that failed.
"""

import datetime
import os
from collections.abc import Callable, Iterable

import torch
import torch.distributed as dist
from torch import Tensor

from spin.errors import TrainingError
from spin.runtime.process import rank

PATIENCE_IN_S = 600.0  # longer than rank 0 takes to validate


def start(device: torch.device, patience: float = PATIENCE_IN_S) -> tuple[int, int]:
    """Joins the processes that torchrun started: NCCL between GPUs, gloo on the CPU. Returns (rank, number of ranks).

    A WORLD_SIZE that something else left in the environment (a pod, a job manager) is ignored. A rank that waits longer than
    `patience` seconds for the others, here and in every reduction, raises TrainingError.
    """
    size = int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1
    if size > 1 and not _in_group():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        backend = "nccl" if device.type == "cuda" else "gloo"
        _call(dist.init_process_group, backend, timeout=datetime.timedelta(seconds=patience))
    return rank(), world_size()


def _call(operation: Callable, *arguments, **more) -> None:
    """Calls torch.distributed, and turns its error into one that says what it means when the other ranks do not answer."""
    try:
        operation(*arguments, **more)
    except RuntimeError as error:  # torch.distributed's errors derive from it
        raise TrainingError(
            f"distributed training, rank {os.environ.get('RANK', '?')} of {os.environ.get('WORLD_SIZE', '?')}",
            found=" ".join(str(error).split())[:300],
            expected="an answer from every other rank",
            cause="another rank failed (its own message comes first), was killed, hangs, or cannot be reached",
            remedy="fix the error printed by the failed rank (search log/ for 'failed'), then rerun; any number of ranks resumes",
        ) from error


def _in_group() -> bool:
    return dist.is_available() and dist.is_initialized()


def finish() -> None:
    """Leaves the group, if there is one."""
    if _in_group():
        dist.destroy_process_group()


def world_size() -> int:
    """Number of ranks; 1 without a group."""
    return dist.get_world_size() if _in_group() else 1


def all_reduce_sum(value: Tensor) -> Tensor:
    """The sum of `value` over all ranks (in place)."""
    if world_size() > 1:
        _call(dist.all_reduce, value)
    return value


def log_sum_exp(value: Tensor) -> Tensor:
    """log of the sum over ranks of exp(value), the same bits on every rank."""
    if world_size() == 1:
        return value
    gathered = [torch.empty_like(value) for _ in range(world_size())]
    _call(dist.all_gather, gathered, value.contiguous())
    return torch.logsumexp(torch.stack(gathered), dim=0)


def sum_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replaces each gradient by its sum over ranks; a rank without a share of the batch counts as zero."""
    if world_size() == 1:
        return
    parameters = list(parameters)
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    flat = all_reduce_sum(torch.cat([parameter.grad.reshape(-1) for parameter in parameters]))
    sizes = [parameter.numel() for parameter in parameters]
    for parameter, gradient in zip(parameters, flat.split(sizes), strict=True):
        parameter.grad.copy_(gradient.view_as(parameter))


def broadcast(content):
    """Rank 0's `content` (tensors, numbers, strings, lists, dicts) on every rank."""
    box = [content]
    if world_size() > 1:
        _call(dist.broadcast_object_list, box, src=0)
    return box[0]


def gather_all(content) -> list:
    """Every rank's `content` on every rank, in the order of ranks; see broadcast for the types."""
    box = [content] * world_size()
    if world_size() > 1:
        _call(dist.all_gather_object, box, content)
    return box
