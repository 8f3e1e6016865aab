"""GradCache: gradients of a loss that needs all frames of a batch, in bounded memory (Gao et al. 2021, arXiv 2101.06983).

Accumulating plain micro-batch gradients would change the Spin loss, because its targets use all frames of the batch. GradCache is
exact: it computes the representations of all micro-batches without a graph, then the loss and its gradient for the
representations, and then runs each micro-batch again with a graph to pass that gradient on. Frozen layers run once.
"""

import contextlib
from collections.abc import Sequence

import torch
from torch import Tensor

from spin.data.loader import MicroBatch
from spin.objectives.model import Frames, SpinModel
from spin.objectives.spin import Loss
from spin.runtime.devices import sent


def backward(
    model: SpinModel, micro_batches: Sequence[MicroBatch | None], dtype: torch.dtype | None = None, with_sums: bool = False
) -> Loss:
    """Adds this rank's part of the gradient of the whole batch's loss to the parameters' grad. Nothing in it waits for a GPU.

    Returns the loss of this rank, without its graph.

    Args:
        model: without dropout, so that both runs of a micro-batch agree.
        micro_batches: this rank's share of the batch; None where it has no utterance.
        dtype: of autocast for the encoder; None: float32.
        with_sums: see Spin.forward.
    """
    device = model.codebook.weight.device
    autocast = torch.autocast(device.type, dtype) if dtype else contextlib.nullcontext()
    labels = _labels(model, micro_batches, device)
    if len(micro_batches) == 1:
        with autocast:
            loss = model.objective(_trainable(model, _frozen(model, micro_batches[0], device)), labels, with_sums)
        loss.value.backward()
        return Loss(loss.value.detach(), loss.sums)
    with torch.no_grad(), autocast:
        frozen = [_frozen(model, micro_batch, device) for micro_batch in micro_batches]
        cached = [_trainable(model, frames) for frames in frozen]
    whole = tuple(torch.cat(tensors, dim=1).requires_grad_() for tensors in zip(*cached, strict=True))
    with autocast:
        loss = model.objective(whole, labels, with_sums)
    loss.value.backward()
    sizes = [represented[0].shape[1] for represented in cached]
    gradients = zip(*(tensor.grad.split(sizes, dim=1) for tensor in whole), strict=True)
    for frames, gradient in zip(frozen, gradients, strict=True):
        if frames is not None:
            with autocast:
                represented = _trainable(model, frames)
            graph = [pair for pair in zip(represented, gradient, strict=True) if pair[0].requires_grad]
            torch.autograd.backward(*zip(*graph, strict=True))
    return Loss(loss.value.detach(), loss.sums)


def _frozen(model: SpinModel, micro_batch: MicroBatch | None, device: torch.device) -> Frames | None:
    if micro_batch is None:
        return None
    return model.run_frozen(micro_batch.waveforms.to(device, non_blocking=True), micro_batch.lengths)


def _trainable(model: SpinModel, frozen: Frames | None) -> tuple[Tensor, ...]:
    if frozen is not None:
        return model.run_trainable(frozen)
    return model.objective.represent(model.head.weight.new_zeros(2, 0, model.head.in_features))


def _labels(model: SpinModel, micro_batches: Sequence[MicroBatch | None], device: torch.device) -> Tensor | None:
    """(N,) int64 labels of the valid frames of one view; None for an objective without labels."""
    if not model.objective.needs_labels:
        return None
    valid = [torch.zeros(0, dtype=torch.int64)]
    for micro_batch in filter(None, micro_batches):
        frames, labels = model.encoder.feature_extractor.frame_lengths(micro_batch.lengths.chunk(2)[0]), micro_batch.labels
        valid.append(labels[torch.arange(labels.shape[1]) < frames[:, None]])
    return sent(torch.cat(valid), device)
