"""The official way of working, for comparison: how the published training was run, on the same audio, model and machine.

After the description of the official implementation (github.com/vectominist/spin, configuration of the Interspeech paper).
Utterances are sorted by length and divided into batches once. Batches are padded, and every layer gets the padding as a mask.
float16 autocast with a scaled loss; an optimizer step in many small kernels; the loss is read back after every update.
"""

from __future__ import annotations

import contextlib

import torch

from spin.config import SpinConfig
from spin.data.crops import Crop, TrainingCuts
from spin.data.dataset import MicroBatch
from spin.objectives.model import SpinModel


def official_batches(cuts: TrainingCuts, batch_seconds: float) -> list[list[Crop]]:
    """The batches of an epoch: utterances sorted by length, then divided.

    Args:
        cuts: the utterances, cropped to at most max_samples.
        batch_seconds: audio of one view in a batch.
    """
    batches: list[list[Crop]] = [[]]
    for crop in sorted(cuts.epoch(0, 0), key=lambda crop: (crop.duration, crop.id)):
        if batches[-1] and sum(item.duration for item in batches[-1]) + crop.duration > batch_seconds:
            batches.append([])
        batches[-1].append(crop)
    # The last batch of an epoch is seldom full. Without it the reference looks better, if anything.
    return batches[:-1] if len(batches) > 1 else batches


class OfficialUpdater:
    """Model, optimizer and loss scaler.

    Args:
        model: on its device, set_trainable done; its encoder is switched to official padding.
        settings: config.spin; the learning rate is constant, as it changes no time.

    Attributes:
        precision: "float16", or "float32" on a CPU, where float16 products are emulated and many times slower.
        losses: of all updates.
    """

    def __init__(self, model: SpinModel, settings: SpinConfig):
        self.model, self.settings = model, settings
        model.encoder.official_padding = True
        self.device = model.codebook.weight.device
        on_gpu = self.device.type == "cuda"
        self.precision = "float16" if on_gpu else "float32"
        self.parameters = list(model.trainable_parameters().values())
        rates = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
        self.optimizer = torch.optim.Adam(self.parameters, **rates, foreach=False, fused=False)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=on_gpu)
        self.losses: list[float] = []

    def update(self, micro_batch: MicroBatch) -> None:
        """One update on a padded batch. It reads the loss, and so waits for the device."""
        model, on_gpu = self.model, self.device.type == "cuda"
        self.optimizer.zero_grad()
        with torch.autocast("cuda", torch.float16) if on_gpu else contextlib.nullcontext():
            frozen = model.run_frozen(micro_batch.waveforms.to(self.device), micro_batch.lengths)
            loss = model.objective(model.run_trainable(frozen)).value
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.gradient_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        model.objective.after_step()
        self.losses.append(loss.item())
