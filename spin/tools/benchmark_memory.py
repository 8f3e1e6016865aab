"""python -m spin benchmark memory: peak memory and roofline of one update of stage 2 for each configuration, without a GPU.

Counted by fake tensors from the code that trains: the update of both views, bf16, and the optimizer. The CUDA context, cuDNN's
workspaces and fragmentation come on top: 1 to 3 GB. Eager kernels take about twice the roofline. With --device, the updates of
the GPU check run there and are measured next to these predictions.
"""

import contextlib
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakIdKeyDictionary

from spin.config import Config
from spin.config_io import load_config
from spin.runtime.devices import autocast_dtype, prepare_cpu, resolve_device
from spin.tools.benchmark import CONFIGURATIONS, Update, make_micro_batches, make_model, make_parser, show, synchronize
from spin.training.loop import compile_encoder

DEFAULT = ("hubert_base", "wavlm_base", "hubert_large")
# FLOPs per second of bf16 products and bytes per second that large kernels reach
GPUS = {"H100": (700e12, 2.9e12), "A100": (260e12, 1.7e12), "A5000": (75e12, 0.68e12)}
DEVICE = torch.device("cuda", 0)
ALLOCATION = 512  # bytes; torch's allocator rounds up to multiples
# Operators that start no kernel.
VIEWS = frozenset(
    "view _unsafe_view expand permute transpose t slice select unsqueeze squeeze detach detach_ alias split split_with_sizes "
    "as_strided unbind empty empty_like".split()
)
# What runs on a device: (configuration, overrides, with padding)
GPU_ROWS = (
    ("hubert_base", (), False),
    ("hubert_base", (), True),
    ("hubert_base", ("spin.accumulation=2",), False),
    ("hubert_base", ("spin.trainable_layers=6", "spin.accumulation=4"), False),
    ("hubert_base", ("spin.codebook_size=2048",), False),
    ("hubert_base", ("spin.precision=bf16_frozen",), False),
    ("wavlm_base", (), False),
    ("wavlm_base", (), True),
    ("hubert_large", (), False),
    ("hubert_base", ("spin.compile=true",), False),
)
CPU_ROWS = (("tiny", ("encoder.source=mini", "spin.batch_seconds=15"), False), ("tiny", ("spin.batch_seconds=30",), True))
UPDATES = {"cuda": 20, "cpu": 1}


def main(argv: list[str]) -> int:
    """Prints rows, one per configuration without and with padding; returns 0, or 1 where an update failed."""
    parser = make_parser("memory", __doc__)
    parser.add_argument("--conf", nargs="*", type=Path, help="configuration files (default: the shipped ones for GPUs)")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", dest="overrides")
    parser.add_argument("--device", choices=("cuda", "cpu"), help="run and measure a fixed list of updates there")
    parser.add_argument("--row", type=int, metavar="N", help="with --device: only this update of the list")
    arguments = parser.parse_args(argv)
    if arguments.device:
        return run_rows(arguments.device, arguments.row)
    paths = arguments.conf or [CONFIGURATIONS / f"{name}.yaml" for name in DEFAULT]
    configs = [load_config(path, arguments.overrides) for path in paths]
    show([predict(config, padded) for config in configs for padded in (False, True)], arguments.json)
    return 0


def predict(config: Config, padded: bool = False) -> dict:
    """Counts one update on a batch of spin.batch_seconds, of equal utterances or with a fifth of padding.

    Weights and optimizer take kept_gigabytes; matrix products and convolutions alone take product_ms of roofline_ms.
    """
    with fake_gpu() as gpu:
        update = Update(make_model(config).to_empty(device=DEVICE), config, torch.bfloat16, fused=True)
        micro_batches = make_micro_batches(config, padded)
        update(micro_batches)  # allocates the optimizer's state
        update.optimizer.zero_grad(set_to_none=True)
        kept = gpu.allocated
        gpu.operations.clear()
        update(micro_batches)
    return {
        "name": config.name,
        "layers": config.spin.trainable_layers,
        "accumulation": config.spin.accumulation,
        "padded": padded,
        "peak_gigabytes": round(gpu.peak / 1e9, 2),
        "kept_gigabytes": round(kept / 1e9, 2),
        "teraflops": round(gpu.flops / 1e12, 2),
        "terabytes": round(sum(moved for _, moved in gpu.operations) / 1e12, 3),
        "kernels": len(gpu.operations),
        "roofline_ms": {name: round(1e3 * gpu.seconds(*rates), 1) for name, rates in GPUS.items()},
        "product_ms": {name: round(1e3 * gpu.flops / rate, 1) for name, (rate, _) in GPUS.items()},
    }


class FakeGpu(TorchDispatchMode):
    """Counts memory, operations and traffic from shapes while it is active; see `fake_gpu`."""

    def __init__(self):
        super().__init__()
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        self.peak = 0  # most bytes allocated at the same time
        self.operations = []  # (FLOPs, bytes read and written) of every kernel
        self._sizes = WeakIdKeyDictionary()  # of every storage that exists

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        device = torch.device(kwargs.get("device") or "cpu")
        if device.type != "cuda" and not any(isinstance(tensor, FakeTensor) for tensor in inputs):
            return function(*args, **kwargs)
        with self.mode:
            result = function(*args, **kwargs)
        if function.namespace != "aten":  # questions about a tensor, such as its device
            return result
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, FakeTensor) and leaf.device.type == "cuda"]
        for storage in (tensor.untyped_storage() for tensor in outputs):
            self._sizes[storage] = -(-storage.nbytes() // ALLOCATION) * ALLOCATION
        self.peak = max(self.peak, self.allocated)
        if function._schema.name.split("::")[1] not in VIEWS:
            count = flop_registry.get(function._overloadpacket)
            moved = sum(tensor.numel() * tensor.element_size() for tensor in (*inputs, *outputs))
            self.operations.append((count(*args, **kwargs, out_val=result) if count else 0, moved))
        return result

    @property
    def allocated(self) -> int:
        """Bytes allocated now."""
        return sum(self._sizes.values())

    @property
    def flops(self) -> int:
        """Operations of all matrix products and convolutions; a multiplication and an addition are two."""
        return sum(flops for flops, _ in self.operations)

    def seconds(self, flops_per_second: float, bytes_per_second: float) -> float:
        """Roofline: every kernel takes the longer of its arithmetic and its traffic."""
        return sum(max(flops / flops_per_second, moved / bytes_per_second) for flops, moved in self.operations)


@contextlib.contextmanager
def fake_gpu() -> Iterator[FakeGpu]:
    """Context in which tensors on `DEVICE` have no data and are counted, and autocast and backward work on them without a GPU.

    Nothing may read such a tensor back, and nothing in an update does. Module.to_empty moves a model there.
    """
    gpu = FakeGpu()
    with contextlib.ExitStack() as stack:
        for name, value in {
            "torch.cuda._lazy_init": lambda: None,
            "torch.cuda.amp.common.amp_definitely_not_available": lambda: False,
            "torch.cuda.is_bf16_supported": lambda *_: True,
            "torch.nn.functional.scaled_dot_product_attention": _attend,
            "torch.Tensor.pin_memory": lambda tensor: tensor,
            "torch.Tensor.backward": lambda tensor: _backward([tensor], [torch.ones_like(tensor)]),
            "torch.autograd.backward": _backward,
        }.items():
            stack.enter_context(mock.patch(name, value))
        stack.enter_context(gpu)
        yield gpu


def _attend(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0) -> Tensor:
    """The kernel that torch chooses on Ampere and later: flash without a mask, memory-efficient with one."""
    if attn_mask is None:
        return torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, dropout_p)[0]
    if attn_mask.dtype == torch.bool:
        attn_mask = torch.zeros_like(attn_mask, dtype=q.dtype).masked_fill(~attn_mask, float("-inf"))
    bias = attn_mask.to(q.dtype).expand(*q.shape[:3], k.shape[2])
    return torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, bias, torch.is_grad_enabled(), dropout_p)[0]


def _backward(tensors: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    """As torch.autograd.backward, in Python, because the engine asks the driver for a device. It frees the graph as it goes."""
    pending: dict = {}  # node -> number of an output -> its gradient so far
    for tensor, gradient in zip(tensors, gradients, strict=True):
        _add(pending, tensor.grad_fn, tensor.output_nr, gradient)
    for tensor in tensors:
        if not tensor._is_view():
            tensor.detach_()  # the caller may hold it, and so would hold the graph
    with torch.no_grad(), torch.autocast("cuda", enabled=False):
        while pending:
            # Gradients go from nodes to those made before them, so the node made last has all of its own.
            node = max(pending, key=lambda node: node._sequence_nr())
            _run_node(node, pending.pop(node), pending)
            del node


def _run_node(node, gradients: dict[int, Tensor], pending: dict) -> None:
    """Runs one node of the graph on the gradients of its outputs, and adds its results to those of the nodes before it."""
    if node.name().endswith("AccumulateGrad"):
        parameter = node.variable
        parameter.grad = gradients[0] if parameter.grad is None else parameter.grad + gradients[0]
        return
    results = node(*(gradients.get(number) for number in range(len(node._input_metadata))))
    for (before, number), result in zip(node.next_functions, results if isinstance(results, tuple) else (results,)):
        if before is not None and result is not None:
            _add(pending, before, number, result)


def _add(pending: dict, node, number: int, gradient: Tensor) -> None:
    expected, own = node._input_metadata[number], pending.setdefault(node, {})
    if gradient.shape != expected.shape:  # the sum over what was broadcast is left to the engine
        gradient = gradient.sum_to_size(tuple(expected.shape))
    gradient = gradient.to(expected.dtype)
    own[number] = gradient if number not in own else own[number] + gradient


def run_rows(name: str, only: int | None = None) -> int:
    """Measures every row, then the first one by two processes at once; returns 0, or 1 where a row failed."""
    device = resolve_device(name)
    if device.type == "cpu":
        prepare_cpu(1)
    rows, times = GPU_ROWS if device.type == "cuda" else CPU_ROWS, []
    for row in rows if only is None else [rows[only]]:
        result = run_row(row, device)
        times.append(result.get("ms_per_update"))
        print(json.dumps(result), flush=True)
    if only is None:
        words = [sys.executable, "-m", "spin", "benchmark", "memory", "--device", name, "--row", "0"]
        both = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        outputs = [process.communicate()[0] for process in both]
        together = [json.loads(output or "{}").get("ms_per_update") for output in outputs]
        print(json.dumps({"name": "two processes at once", "ms_per_update": together}))
        times += together
    return int(None in times)


def run_row(row: tuple, device: torch.device) -> dict:
    """The row's setting and its figures, or the error that it ended with; the other rows still count."""
    name, overrides, padded = row
    setting = {"name": name, "overrides": list(overrides), "padded": padded}
    try:
        return setting | run_updates(load_config(CONFIGURATIONS / f"{name}.yaml", list(overrides)), padded, device)
    except RuntimeError as error:  # out of memory, or a kernel that fails
        return setting | {"error": " ".join(str(error).split())[:300]}


def run_updates(config: Config, padded: bool, device: torch.device) -> dict:
    """Mean time and peak memory of an update, and the prediction; RuntimeError where it fails or the loss is not finite."""
    predicted = predict(config, padded)
    torch.manual_seed(0)
    model = make_model(config).to(device)
    if config.spin.compile:
        compile_encoder(model.encoder)
    micro_batches = make_micro_batches(config, padded)
    for micro_batch in micro_batches:
        micro_batch.waveforms.normal_(0.0, 0.1)
    update = Update(model, config, autocast_dtype(config.spin.precision, device), fused=device.type == "cuda")
    first = update(micro_batches).item()  # chooses kernels, compiles
    update(micro_batches)
    synchronize(device)
    begun = time.perf_counter()
    for _ in range(UPDATES[device.type]):
        loss = update(micro_batches)
    synchronize(device)
    spent, last = (time.perf_counter() - begun) / UPDATES[device.type], loss.item()
    if not (math.isfinite(first) and math.isfinite(last)):
        raise RuntimeError(f"losses {first} and {last} are not finite")
    predicted = {"predicted_gigabytes": predicted["peak_gigabytes"], "roofline_ms": predicted["roofline_ms"]}
    row = {"ms_per_update": round(1e3 * spent, 2), "first_loss": first, "last_loss": last, **predicted}
    if device.type == "cuda":
        row["peak_gigabytes"] = round(torch.cuda.max_memory_allocated(device) / 1e9, 2)
        torch.cuda.reset_peak_memory_stats(device)
    return row
