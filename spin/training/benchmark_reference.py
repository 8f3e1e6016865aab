"""The official way of working, for comparison: how the published training was run, on the same pairs, model and machine.

From the description of the official implementation (github.com/vectominist/spin, configuration of the Interspeech paper):
utterances sorted by length and cut into batches once, padded, the padding handed to every layer as a mask; float16 autocast with
a scaled loss; an optimiser step in many small kernels; the loss read back and logged after every update.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from spin.config import SpinConfig
from spin.data.pair_cuts import PairCuts
from spin.data.pair_sampler import BatchPlan
from spin.data.pairs import PairPart
from spin.models.spin_model import SpinModel
from spin.runtime import seeding
from spin.training.spin_update import valid_frames
from spin.training.swapped_prediction import configured_prediction


class OfficialBatches:
    """BatchPlans without end: members fixed by length, order drawn anew in every epoch.

    Args:
        cuts: the utterances; cropped to at most max_samples.
        batch_seconds: audio of one view in a batch.
        seed: of the order.
    """

    def __init__(self, cuts: PairCuts, batch_seconds: float, seed: int):
        self.cuts, self.batch_seconds, self.seed = cuts, batch_seconds, seed

    def __iter__(self) -> Iterator[BatchPlan]:
        epoch = 0
        while True:
            batches = self._batches(epoch)
            for index, number in enumerate(seeding.generator(self.seed, epoch, "official order").permutation(len(batches))):
                yield BatchPlan(epoch, index, (tuple(batches[number]),))
            epoch += 1

    def _batches(self, epoch: int) -> list[list]:
        batches: list[list] = [[]]
        for cut in sorted(self.cuts.epoch(self.seed, epoch), key=lambda cut: (cut.duration, cut.id)):
            if batches[-1] and sum(item.duration for item in batches[-1]) + cut.duration > self.batch_seconds:
                batches.append([])
            batches[-1].append(cut)
        # The last batch of an epoch is seldom full; left in it would only flatter the other way of working.
        return batches[:-1] if len(batches) > 1 else batches


class OfficialUpdater:
    """Model, optimiser and loss scaler.

    Args:
        model: on its device, set_trainable done.
        settings: config.spin; the learning rate is constant, as it changes no time.

    Attributes:
        precision: "float16", or "float32" on a CPU, where float16 products are emulated and many times slower.
    """

    def __init__(self, model: SpinModel, settings: SpinConfig):
        self.model, self.settings = model, settings
        self.device = model.codebook.weight.device
        on_gpu = self.device.type == "cuda"
        self.precision = "float16" if on_gpu else "float32"
        self.parameters = model.trainable_parameters()
        self.optimiser = torch.optim.Adam(
            self.parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, foreach=False, fused=False
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=on_gpu)
        self.logged: list[float] = []

    def update(self, part: PairPart) -> None:
        """One update on a padded batch; appends its loss to `logged`, which waits for the device."""
        cast = torch.autocast("cuda", torch.float16) if self.device.type == "cuda" else contextlib.nullcontext()
        self.optimiser.zero_grad()
        with cast:
            waveforms = part.waveforms.to(self.device)
            hidden, frame_lengths = self.model.encoder(waveforms, part.lengths, self.model.layer, official_padding=True)
        projections = self.model.head(valid_frames(hidden[-1], frame_lengths).float())
        loss = configured_prediction(self.settings, projections, self.model.codebook.weight).loss
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimiser)
        torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.gradient_clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.model.normalise_codebook()
        self.logged.append(loss.item())
