"""Several processes that train one model: each has a share of every batch, sums are reduced over all.

With one process every function here does nothing, and costs nothing. Gradients are reduced by one flat all-reduce instead of by
torch's DistributedDataParallel wrapper: only the top layers train, so there is little to overlap, and a plain sum of the ranks'
shares is exactly the gradient of the whole batch, whatever number of frames each rank has, and with gradient accumulation too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor


def start(device: torch.device) -> tuple[int, int]:
    """Joins the ranks that torchrun started (WORLD_SIZE above 1): NCCL between GPUs, gloo on the CPU. Returns (rank, size)."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size > 1 and not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return rank(), world_size()


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
        dist.all_reduce(value)
    return value


def largest(value: Tensor) -> Tensor:
    """The elementwise maximum over all ranks (in place)."""
    if world_size() > 1:
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return value


def log_sum_exp(value: Tensor) -> Tensor:
    """log of the sum over ranks of exp(value), the same bits on every rank."""
    if world_size() == 1:
        return value
    parts = [torch.empty_like(value) for _ in range(world_size())]
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
    dist.broadcast_object_list(box, src=0)
    return box[0]
