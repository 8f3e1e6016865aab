"""One update of the Spin model: forward, loss, backward, gradient sum over ranks, clip, Adam, codebook rows back to length 1."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import torch
from torch import Tensor

from spin.config import SpinConfig
from spin.data.pairs import PairPart
from spin.models.encoder import Encoder
from spin.models.spin_model import SpinModel
from spin.runtime.devices import sent
from spin.training import ranks
from spin.training.schedule import learning_rate
from spin.training.swapped_prediction import SwappedPrediction, configured_prediction


@dataclass(frozen=True)
class Update:
    """Tensors on the device; reading them waits for it.

    Attributes:
        loss: scalar, this rank's part of the batch's loss.
        gradient_norm: scalar, before clipping, over all ranks.
        statistics: see SwappedPrediction; None unless asked for.
        rate: learning rate.
    """

    loss: Tensor
    gradient_norm: Tensor
    statistics: Tensor | None
    rate: float


class Updater:
    """Model and optimiser.

    Args:
        model: on its device, with set_trainable done.
        settings: config.spin.
        official_padding: see Encoder.forward.
    """

    def __init__(self, model: SpinModel, settings: SpinConfig, official_padding: bool = False):
        self.model, self.settings, self.official_padding = model, settings, official_padding
        self.device = model.codebook.weight.device
        self.names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        self.parameters = model.trainable_parameters()
        on_gpu = self.device.type == "cuda"
        self.optimiser = torch.optim.Adam(self.parameters, lr=0.0, weight_decay=settings.weight_decay, fused=on_gpu)
        self.frozen_layers = model.frozen_layers()
        if settings.speed_up == "compile":
            compile_parts(model.encoder)
        bf16 = settings.precision == "bf16" or (settings.precision == "auto" and multiplies_bf16(self.device))
        self._dtype = torch.bfloat16 if bf16 else None

    def update(self, parts: list[PairPart | None], step: int, with_statistics: bool = False) -> Update:
        """Makes update number `step` (from 0) from this rank's share of a batch; nothing in it waits for the GPU."""
        settings = self.settings
        rate = learning_rate(
            step,
            warmup_steps=settings.warmup_steps,
            max_steps=settings.max_steps,
            peak=settings.learning_rate,
            lowest=settings.min_learning_rate,
        )
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        result = self.gradients(parts, with_statistics)
        ranks.sum_gradients(self.parameters)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, settings.gradient_clip)
        self.optimiser.step()
        self.model.normalise_codebook()
        return Update(result.loss.detach(), norm.detach(), result.statistics, rate)

    def gradients(self, parts: list[PairPart | None], with_statistics: bool = False) -> SwappedPrediction:
        """Leaves this rank's part of the gradient of the whole batch's loss in the parameters' grad."""
        if len(parts) == 1:
            result = self._loss(self.projections(parts[0]), with_statistics)
            result.loss.backward()
            return result
        # Several parts make one batch, not several: the targets need all frames. So first the projections of all parts without
        # graph, then their gradients, then what learns again, part by part, with graph. Exact, and what is frozen runs once.
        with torch.no_grad():
            frozen = [self.frozen(part) for part in parts]
            projected = [self.learned(part) for part in frozen]
        whole = torch.cat(projected, dim=1).requires_grad_()
        result = self._loss(whole, with_statistics)
        result.loss.backward()
        gradients = whole.grad.split([part.shape[1] for part in projected], dim=1)
        for part, gradient in zip(frozen, gradients, strict=True):
            if part is not None:
                self.learned(part).backward(gradient)
        return result

    def _loss(self, projections: Tensor, with_statistics: bool) -> SwappedPrediction:
        codebook = self.model.codebook.weight
        return configured_prediction(self.settings, projections, codebook, with_statistics=with_statistics)

    def projections(self, part: PairPart | None) -> Tensor:
        """(2, N, codebook_dim) float32: the head's output for the N valid frames of either view; N = 0 without a part."""
        return self.learned(self.frozen(part))

    def frozen(self, part: PairPart | None) -> tuple[Tensor, Tensor] | None:
        """(2B, T, D) output of the highest frozen layer and (2B,) frames on the CPU; None without a part."""
        if part is None:
            return None
        waveforms = part.waveforms.to(self.device, non_blocking=True)
        with self._cast():
            hidden, frame_lengths = self.model.encoder(waveforms, part.lengths, self.frozen_layers, self.official_padding)
        return hidden[-1], frame_lengths

    def learned(self, frozen: tuple[Tensor, Tensor] | None) -> Tensor:
        """What comes after `frozen`: the layers that learn, and the head; see projections."""
        if frozen is None:
            return self.model.codebook.weight.new_zeros(2, 0, self.model.codebook.in_features)
        with self._cast():
            hidden = self.model.encoder.deepen(*frozen, self.frozen_layers, self.model.layer)
        return self.model.head(valid_frames(hidden, frozen[1]).float())

    def _cast(self) -> contextlib.AbstractContextManager:
        return torch.autocast(self.device.type, self._dtype) if self._dtype else contextlib.nullcontext()


def compile_parts(encoder: Encoder) -> None:
    """Compiles the convolutions and each layer in place, for batches of any size.

    Not the encoder as a whole: it looks at the lengths to see whether a batch has padding, where compiled code would break off.
    """
    for part in (encoder.feature_extractor, *encoder.layers):
        part.compile(dynamic=True)


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bf16 products: newer GPUs (others emulate them), CPUs with AVX512-BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def valid_frames(hidden: Tensor, frame_lengths: Tensor) -> Tensor:
    """(2B, T, D) with the two views side by side, and (2B,) frames on the CPU -> (2, N, D) without padding."""
    frames = hidden.shape[1]
    flat = hidden.flatten(0, 1)
    if bool((frame_lengths < frames).any()):
        index = (torch.arange(frames) < frame_lengths[:, None]).flatten().nonzero().squeeze(1)
        flat = flat.index_select(0, sent(index, hidden.device))
    return flat.view(2, -1, hidden.shape[-1])
