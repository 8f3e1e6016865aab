"""Where torch computes, and the settings that make the CPU give the same bits every time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

from spin.errors import ConfigError


def resolve_device(name: str) -> torch.device:
    """'auto' takes CUDA where a GPU answers, else the CPU; 'cuda' without one is an error.

    Under torchrun the local rank picks the GPU.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ConfigError(
            "runtime.device",
            found="cuda, but torch sees no GPU",
            expected="a CUDA GPU and its driver",
            cause="no GPU in this machine, or a driver older than the CUDA version of torch",
            remedy="--device cpu, or install the driver",
        )
    if name == "cpu" or not available:
        return torch.device("cpu")
    number, count = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if number >= count:
        raise ConfigError(
            "runtime.gpus",
            found=f"process {number + 1} of this machine, but torch sees {count} GPU(s)",
            expected="a GPU for each process",
            cause="--gpus above the number of GPUs, or CUDA_VISIBLE_DEVICES hides some",
            remedy=f"--gpus {count}",
        )
    return torch.device("cuda", number)


def device_name(device: torch.device) -> str:
    """'cpu', or the GPU's product name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A small CPU tensor on `device`; a GPU is not waited for, as a plain copy would do."""
    if device.type == "cuda" and not tensor.is_cuda:
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device, non_blocking=True)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread of torch inside, for numbers that must be those of any other machine; the number before afterwards."""
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def prepare_cpu(threads: int) -> None:
    """Fixes the number of threads (sums over threads round differently) and asks for deterministic kernels, of a GPU too."""
    torch.set_num_threads(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS may sum in another order each time
    torch.set_deterministic_debug_mode("warn")  # as use_deterministic_algorithms, which first imports torch's compiler, 2 s
    deterministic = getattr(torch.utils, "deterministic", None)  # not in torch 1.13.1, which does not fill
    if deterministic is not None:
        deterministic.fill_uninitialized_memory = False  # writing NaN into every new tensor first takes an eighth of a Spin step
