"""A GPU made of fake tensors: memory, operations and traffic of a computation, counted from its shapes without a GPU.

The code runs as it would on a GPU, autocast included, but tensors there have no data. Nothing may read one back, and nothing in
an update does. Attention kernels are chosen as torch does on Ampere and later: flash without a mask, memory-efficient with one.
"""

import contextlib
from collections.abc import Iterator, Sequence
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakIdKeyDictionary

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
    """Context in which tensors on `DEVICE` are fake and counted, and autocast and backward work on them without a GPU.

    Module.to_empty moves a model there.
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
