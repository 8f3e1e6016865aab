"""Where torch computes, and the settings that make the CPU give the same bits every time."""

import os

import torch

from spin.errors import ConfigError
from spin.runtime.process import DRIVER, local_rank


def resolve_device(name: str) -> torch.device:
    """'auto' takes CUDA where a GPU answers, otherwise the CPU. Under torchrun the local rank picks the GPU.

    Raises ConfigError for 'cuda' without a usable GPU, for an NVIDIA GPU that torch cannot use, and for more processes than GPUs.
    """
    available = torch.cuda.is_available()
    if name != "cpu" and not available and (name == "cuda" or DRIVER.exists()):
        driver = DRIVER.read_text(errors="replace").partition("\n")[0] if DRIVER.exists() else "none"
        raise ConfigError(
            "runtime.device",
            found=f"{name}, but torch {torch.__version__} cannot use a GPU; driver: {' '.join(driver.split())}",
            expected=f"a CUDA GPU with a driver for CUDA {torch.version.cuda}",
            cause="no GPU, or a driver older than the CUDA version of torch",
            remedy="pass --device cpu, update the driver, or run utils/setup_env.sh --rebuild for a matching torch",
        )
    if name == "cpu" or not available:
        return torch.device("cpu")
    number, count = local_rank(), torch.cuda.device_count()
    if number >= count:
        raise ConfigError(
            "runtime.gpus",
            found=f"process {number + 1} of this machine, but torch sees {count} GPU(s)",
            expected="one GPU per process",
            cause="--gpus is larger than the number of GPUs, or CUDA_VISIBLE_DEVICES hides some",
            remedy=f"--gpus {count}",
        )
    device = torch.device("cuda", number)
    _require_kernels(device)
    if hasattr(torch.backends.cuda, "enable_cudnn_sdp"):
        torch.backends.cuda.enable_cudnn_sdp(False)  # it rejects a mask that needs a gradient, as WavLM's does
    return device


def _require_kernels(device: torch.device) -> None:
    """Runs one product on the GPU, so that a torch without kernels for it fails before the work."""
    try:
        (torch.ones(2, 2, device=device) @ torch.ones(2, 2, device=device)).sum().item()
    except RuntimeError as error:
        major, minor = torch.cuda.get_device_capability(device)
        raise ConfigError(
            "runtime.device",
            found=f"{device_name(device)} ({major}.{minor}): {' '.join(str(error).split())[:200]}",
            expected=f"one of {', '.join(torch.cuda.get_arch_list())}, which torch {torch.__version__} was built for",
            remedy="--device cpu, or run utils/setup_env.sh --rebuild for a torch that supports this GPU",
        ) from error


def device_name(device: torch.device) -> str:
    """'cpu', or the GPU's product name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """bfloat16 for "bf16" and "bf16_frozen", and for "auto" where the device has instructions for it; None: float32."""
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:  # without AVX512-BF16 or AMX, products are emulated
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if precision.startswith("bf16") or (precision == "auto" and native) else None


def sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A small CPU tensor on `device`; a GPU is not waited for, as a plain copy would do."""
    pinned = tensor.pin_memory() if device.type == "cuda" and not tensor.is_cuda else tensor
    return pinned.to(device, non_blocking=True)


def prepare_cpu(threads: int) -> None:
    """Fixes the number of threads (sums over threads round differently) and asks for deterministic kernels, of a GPU too."""
    torch.set_num_threads(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS may sum in another order each time
    torch.set_deterministic_debug_mode("warn")  # as use_deterministic_algorithms, which first imports torch's compiler, 2 s
    if hasattr(torch.utils, "deterministic"):  # not in torch 1.13.1, which does not fill
        torch.utils.deterministic.fill_uninitialized_memory = False  # NaN into every new tensor takes an eighth of a Spin step
