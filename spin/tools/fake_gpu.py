"""A GPU made of fake tensors: memory, operations and traffic of a computation, counted from its shapes without a GPU.

The code runs as it would on a GPU, autocast included, but tensors there have no data. Nothing may read one back, and nothing in
an update does. Attention kernels are chosen as torch does on Ampere and later: flash without a mask, memory-efficient with one.
"""

import contextlib
import heapq
import itertools
from collections.abc import Iterator
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

DEVICE = torch.device("cuda", 0)
ALLOCATION = 512  # bytes; torch's allocator rounds up to multiples
# Operators that start no kernel.
VIEWS = frozenset(
    "view _unsafe_view expand permute transpose t slice select unsqueeze squeeze detach detach_ alias split split_with_sizes "
    "as_strided unbind empty empty_like".split()
)


class FakeGpu(TorchDispatchMode):
    """Counts while it is active; see `fake_gpu`.

    Attributes:
        peak: most bytes allocated at the same time.
        operations: (FLOPs, bytes read and written) of every kernel.
    """

    def __init__(self):
        super().__init__()
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        self.peak, self.operations = 0, []
        self._storages: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        device = torch.device(kwargs.get("device") or "cpu")
        if device.type != "cuda" and not any(isinstance(tensor, FakeTensor) for tensor in tensors):
            return function(*args, **kwargs)
        with self.mode:
            result = function(*args, **kwargs)
        if function.namespace != "aten":  # questions about a tensor, such as its device
            return result
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, FakeTensor) and leaf.device.type == "cuda"]
        self._record(function, args, kwargs, result, tensors, outputs)
        return result

    def _record(self, function, args, kwargs, result, inputs: list[Tensor], outputs: list[FakeTensor]) -> None:
        self._forget_freed()
        for tensor in outputs:
            storage = tensor.untyped_storage()
            if storage._cdata not in self._storages:
                size = -(-storage.nbytes() // ALLOCATION) * ALLOCATION
                self._storages[storage._cdata] = StorageWeakRef(storage), size
        self.peak = max(self.peak, self.allocated)
        if function._schema.name.split("::")[1] not in VIEWS:
            count = flop_registry.get(function._overloadpacket)
            moved = sum(tensor.numel() * tensor.element_size() for tensor in (*inputs, *outputs))
            self.operations.append((count(*args, **kwargs, out_val=result) if count else 0, moved))

    @property
    def allocated(self) -> int:
        """Bytes allocated now."""
        self._forget_freed()
        return sum(size for _, size in self._storages.values())

    def _forget_freed(self) -> None:
        self._storages = {key: item for key, item in self._storages.items() if not item[0].expired()}

    @property
    def flops(self) -> int:
        """Operations of all matrix products and convolutions; a multiplication and an addition are two."""
        return sum(flops for flops, _ in self.operations)

    def seconds(self, flops_per_second: float, bytes_per_second: float) -> float:
        """Roofline: every kernel takes the longer of its arithmetic and its traffic."""
        return sum(max(flops / flops_per_second, moved / bytes_per_second) for flops, moved in self.operations)


@contextlib.contextmanager
def fake_gpu() -> Iterator[FakeGpu]:
    """Context in which tensors on `DEVICE` are fake and counted, and autocast and backward work on them without a GPU."""
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


def to_fake(module: nn.Module) -> nn.Module:
    """Replaces all parameters and buffers of a module by fake ones on the GPU; call it within fake_gpu."""
    for child in module.modules():
        for name, parameter in child._parameters.items():
            if parameter is not None:
                empty = torch.empty(parameter.shape, dtype=parameter.dtype, device=DEVICE)
                child._parameters[name] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
        for name, buffer in child._buffers.items():
            if buffer is not None:
                child._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device=DEVICE)
    return module


def _attend(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0) -> Tensor:
    if attn_mask is None:
        return torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, dropout_p)[0]
    if attn_mask.dtype == torch.bool:
        attn_mask = torch.zeros_like(attn_mask, dtype=q.dtype).masked_fill(~attn_mask, float("-inf"))
    bias = attn_mask.to(q.dtype).expand(*q.shape[:3], k.shape[2])
    return torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, bias, torch.is_grad_enabled(), dropout_p)[0]


def _backward(tensors, gradients) -> None:
    """As torch.autograd.backward, in Python, because the engine asks the driver for a device. It frees the graph as it goes."""
    tensors = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    gradients = [gradients] if isinstance(gradients, Tensor) else list(gradients)
    buffers: dict = {}
    for tensor, gradient in zip(tensors, gradients, strict=True):
        _add(buffers, tensor.grad_fn, tensor.output_nr, gradient)
    waiting, order = _count_inputs(list(buffers)), itertools.count()
    ready = [(-node._sequence_nr(), next(order), node) for node in buffers if not waiting.get(node)]
    heapq.heapify(ready)
    for tensor in tensors:
        if not tensor._is_view():
            tensor.detach_()  # the caller may hold it, and so would hold the graph
    with torch.no_grad(), torch.autocast("cuda", enabled=False):
        while ready:
            node = heapq.heappop(ready)[2]
            for successor in _run_node(node, buffers):
                waiting[successor] -= 1
                if not waiting[successor]:
                    del waiting[successor]
                    heapq.heappush(ready, (-successor._sequence_nr(), next(order), successor))
            del node


def _count_inputs(roots: list) -> dict:
    """Node -> number of edges that lead to it."""
    counts: dict = {}
    seen, stack = set(roots), list(roots)
    while stack:
        for successor, _ in stack.pop().next_functions:
            if successor is not None:
                counts[successor] = counts.get(successor, 0) + 1
                if successor not in seen:
                    seen.add(successor)
                    stack.append(successor)
    return counts


def _run_node(node, buffers: dict) -> list:
    """Runs one node of the graph, adds its results to the buffers of its successors, and returns these."""
    inputs = buffers.pop(node, {})
    if node.name().endswith("AccumulateGrad"):
        parameter = node.variable
        parameter.grad = inputs[0] if parameter.grad is None else parameter.grad + inputs[0]
        return []
    results = node(*(inputs.get(number) for number in range(len(node._input_metadata))))
    results = results if isinstance(results, tuple) else (results,)
    for (successor, number), result in zip(node.next_functions, results):
        if successor is not None and result is not None:
            _add(buffers, successor, number, result)
    return [successor for successor, _ in node.next_functions if successor is not None]


def _add(buffers: dict, node, number: int, gradient: Tensor) -> None:
    expected, slot = node._input_metadata[number], buffers.setdefault(node, {})
    if gradient.shape != expected.shape:  # the sum over what was broadcast is left to the engine
        gradient = gradient.sum_to_size(tuple(expected.shape))
    gradient = gradient.to(expected.dtype)
    slot[number] = gradient if number not in slot else slot[number] + gradient
