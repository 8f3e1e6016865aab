"""Pre-training of a small HuBERT-shaped encoder: labels, masked prediction, labels from a hidden layer, and again.

Resumable to the bit on the CPU: every iteration keeps its labels and checkpoints in a folder of its own.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from spin.config import Config
from spin.data.crops import scan_training_cuts
from spin.data.dataset import NO_LABEL, Batch, ViewDataset, pad
from spin.data.loader import BatchLoader
from spin.data.noise import coloured_noise, mix
from spin.data.sampler import BatchSampler
from spin.data.views import Draw
from spin.errors import TrainingError
from spin.models.encoder import TINY_SHAPE, Encoder
from spin.models.importers import load_encoder
from spin.perturbation.equaliser import BANDS, design, equalise
from spin.runtime.checkpoints import CheckpointStore
from spin.runtime.logs import get_logger, summary_writer
from spin.runtime.process import StopRequest
from spin.runtime.progress import progress
from spin.runtime.seeding import generator, seed_torch
from spin.training.masked_prediction import MaskedPredictor, draw_mask
from spin.training.precision import autocast_dtype
from spin.training.pretrain_labels import make_labels, mfcc

MIN_SAMPLES = 8_000
WARMUP_STEPS = 200
LAST_RATE = 0.05  # of the peak, at the last step
GRADIENT_CLIP, WEIGHT_DECAY, BETAS = 5.0, 1e-2, (0.9, 0.98)
CHECKPOINT_EVERY_STEPS, LOG_EVERY_STEPS = 250, 25
EQUALISER_SHARE, MAX_GAIN_IN_DB = 0.5, 8.0  # of the augmented utterances, and per band
NOISE_SHARE, SNRS_IN_DB = 0.3, (5.0, 30.0)


def pretrain(config: Config, manifests: dict[str, Path], folder: Path, tensorboard: Path, device: torch.device) -> Encoder:
    """Runs all iterations of config.pretrain, or resumes them.

    Args:
        config: the whole configuration.
        manifests: part -> manifest of cuts.
        folder: folder of labels and checkpoints.
        tensorboard: folder of the event files, one subfolder per iteration.
        device: where to compute.

    Raises:
        DataError: no utterance can be used.
        TrainingError: a loss that is not finite.
        SystemExit: 143 or 130 after SIGTERM or SIGINT, with a checkpoint saved.
    """
    settings = config.pretrain
    seed_torch("pretrain", config.seed)
    encoder = (load_encoder(settings.init) if settings.init else Encoder(TINY_SHAPE)).to(device)
    for iteration, (clusters, steps) in enumerate(zip(settings.clusters, settings.steps), start=1):
        own = folder / f"iteration{iteration}"
        get_logger("pretrain").info("iteration %d: labels of %d clusters", iteration, clusters)
        spectral = iteration == 1 and not settings.init
        extract = mfcc if spectral else hidden_states(encoder, settings.label_layer, device)
        labels = make_labels(own / "labels", manifests, extract, clusters, settings.kmeans_hours, config.seed + iteration - 1)
        encoder = Iteration(config, iteration, own, tensorboard / f"iteration{iteration}", device).train(
            encoder, make_dataset(config, list(manifests.values()), labels), steps
        )
    return encoder.cpu().eval()


def hidden_states(encoder: Encoder, layer: int, device: torch.device) -> Callable[[Tensor], Tensor]:
    """A function (S,) -> (T, D) float32 on the CPU: one layer of the encoder, one utterance at a time, so without padding."""
    encoder.eval()

    @torch.no_grad()
    def extract(waveform: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast_dtype("auto", device) is not None):
            states, _ = encoder(waveform[None].to(device), torch.tensor([len(waveform)]), layer)
        return states[layer][0].float().cpu()

    return extract


def make_dataset(config: Config, manifests: list[Path], labels: list[Path]) -> Callable[..., BatchLoader]:
    """A function (iteration, epoch, index, device) -> loader of labelled batches with little padding, from that batch on."""
    settings = config.pretrain
    cuts = scan_training_cuts(
        manifests,
        min_samples=MIN_SAMPLES,
        max_samples=settings.max_samples,
        batch_seconds=settings.batch_seconds,
        equal_lengths=True,
        labels=labels,
    )
    if not cuts.bins:  # too little speech for buckets, whose lower boundary would be MIN_SAMPLES
        cuts = dataclasses.replace(cuts, equal_lengths=False)
    dataset = ViewDataset(((augment,) if settings.augment else (),), config.seed)

    def start(iteration: int, epoch: int, index: int, device: torch.device) -> BatchLoader:
        sampler = BatchSampler(cuts, settings.batch_seconds, config.seed + iteration - 1, epoch=epoch, index=index)
        return BatchLoader(dataset, sampler, config.spin.workers, device)

    return start


def augment(waveform: np.ndarray, cut, draw: Draw) -> tuple[np.ndarray, bool]:
    """A transform of spin.data.views: a random equaliser for half of the utterances, coloured noise for some."""
    random = generator("pretrain augment", *draw.keys)
    if random.random() < EQUALISER_SHARE:
        gains, qualities = random.uniform(-MAX_GAIN_IN_DB, MAX_GAIN_IN_DB, BANDS), 2.0 * 2.5 ** random.random(BANDS)
        waveform = equalise(waveform, design(cut.sampling_rate, gains, qualities))
    if random.random() < NOISE_SHARE:
        noise = coloured_noise(random, len(waveform), random.uniform(0.0, 1.0))
        waveform = mix(waveform, noise, random.uniform(*SNRS_IN_DB))
    return waveform.astype(np.float32), True


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up, then linear decay to LAST_RATE of the peak at the last step."""
    if step < WARMUP_STEPS:
        return peak * (step + 1) / WARMUP_STEPS
    return peak * max(LAST_RATE, (steps - step) / max(1, steps - WARMUP_STEPS))


class Iteration:
    """Masked prediction of one set of labels.

    Args:
        config: the whole configuration.
        number: iteration, from 1.
        folder: folder of its checkpoints.
        tensorboard: folder of its event files.
        device: where to compute.
    """

    def __init__(self, config: Config, number: int, folder: Path, tensorboard: Path, device: torch.device):
        self.config, self.number, self.tensorboard, self.device = config, number, tensorboard, device
        self.store, self.log = CheckpointStore(folder), get_logger("pretrain")
        self.dtype = autocast_dtype("auto", device)

    def train(self, encoder: Encoder, make_loader: Callable[..., BatchLoader], steps: int) -> Encoder:
        """Trains the encoder in place for `steps` updates in all, resuming from the latest checkpoint; see pretrain."""
        settings = self.config.pretrain
        seed_torch("pretrain head", self.config.seed, self.number - 1)
        model = MaskedPredictor(encoder, settings.clusters[self.number - 1]).to(self.device)
        optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, betas=BETAS, weight_decay=WEIGHT_DECAY)
        first, epoch, index = self._resume(model, optimizer)
        writer = summary_writer(self.tensorboard, first + 1)
        model.train()
        pending, since = [], time.monotonic()
        batches = self._batches(make_loader(self.number, epoch, index, self.device), range(first, steps))
        with StopRequest() as stop:
            for done, batch in batches:
                rate = learning_rate(done - 1, steps, settings.learning_rate)
                pending.append(self._update(model, optimizer, batch, done - 1, rate))
                if done % LOG_EVERY_STEPS == 0 or done == steps:
                    self._report(writer, done, pending, time.monotonic() - since)
                    pending, since = [], time.monotonic()
                if stop.signal or done % CHECKPOINT_EVERY_STEPS == 0 or done == steps:
                    writer.flush()
                    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
                    self.store.save(done, state | {"epoch": batch.epoch, "index": batch.index + 1})
                if stop.signal:
                    self.log.warning("iteration %d: stopped at step %d; a checkpoint is saved", self.number, done)
                    raise SystemExit(stop.status())
        writer.close()
        return model.encoder

    def _batches(self, loader: BatchLoader, steps: range) -> Iterator[tuple[int, Batch]]:
        """(updates made after it, batch) for the remaining updates; batches without a readable utterance are skipped."""
        if not steps:
            return
        readable = (batch for batch in loader if batch.micro_batches[0] is not None)
        yield from progress(zip(range(steps.start + 1, steps.stop + 1), readable), "pre-training", steps.stop, steps.start)

    def _resume(self, model: MaskedPredictor, optimizer: torch.optim.Optimizer) -> tuple[int, int, int]:
        """(updates made, epoch and index of the next batch)."""
        latest = self.store.load_latest()
        if latest is None:
            return 0, 0, 0
        step, state = latest
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        return step, state["epoch"], state["index"]

    def _update(self, model: MaskedPredictor, optimizer, batch: Batch, step: int, rate: float) -> tuple[Tensor, Tensor]:
        """(loss, accuracy) of one update, on the device."""
        data = batch.micro_batches[0]
        frames = model.encoder.feature_extractor.frame_lengths(data.lengths)
        random = generator("pretrain mask", self.config.seed, self.number, step)
        mask = pad([draw_mask(random, int(count)) for count in frames], False, bool)
        labels = torch.full(mask.shape, NO_LABEL)
        labels[:, : data.labels.shape[1]] = data.labels
        inputs = (tensor.to(self.device, non_blocking=True) for tensor in (mask, labels))
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            loss, correct = model(data.waveforms.to(self.device, non_blocking=True), data.lengths, *inputs)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_CLIP)
        optimizer.step()
        return loss.detach(), correct

    def _report(self, writer, done: int, pending: list[tuple[Tensor, Tensor]], seconds: float) -> None:
        loss, accuracy = (float(torch.stack(values).mean()) for values in zip(*pending))
        if not math.isfinite(loss):
            subject = f"pre-training, iteration {self.number}, step {done}"
            raise TrainingError(subject, found=f"loss {loss}", remedy="rerun with a lower pretrain.learning_rate")
        for name, value in (("loss", loss), ("masked_accuracy", accuracy), ("seconds_per_step", seconds / len(pending))):
            writer.add_scalar(name, value, done)
        pace = seconds / len(pending)
        self.log.info(
            "iteration %d, step %d: loss %.3f, masked accuracy %.3f, %.2f s/step", self.number, done, loss, accuracy, pace
        )
