"""Pre-training of a small HuBERT-shaped encoder: labels, masked prediction, labels from a hidden layer, and again.

Masked prediction of cluster labels as in HuBERT (Hsu et al. 2021, arXiv 2106.07447, sections II-B and III-C). It resumes to the
bit on the CPU: every iteration keeps its labels and checkpoints in a folder of its own.

Legend: B utterances, S samples, T frames, D features, K clusters.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spin.config import Config, SpinConfig
from spin.data.audio import coloured_noise, mix
from spin.data.loader import BatchLoader, MicroBatch, pad
from spin.data.plan import BatchSampler, TrainingCuts, scan_training_cuts
from spin.errors import TrainingError
from spin.models.architecture import TINY_SHAPE
from spin.models.encoder import Encoder
from spin.models.importers import load_encoder
from spin.objectives import NO_LABEL
from spin.perturbation.equaliser import BANDS, design, equalise
from spin.runtime.checkpoints import CheckpointStore
from spin.runtime.devices import autocast_dtype
from spin.runtime.logs import get_logger, progress, summary_writer
from spin.runtime.process import StopRequest
from spin.runtime.seeding import generator, seed_torch
from spin.training.pretrain_labels import make_labels, mfcc

TEMPERATURE = 0.1  # of the cosine similarities, as in HuBERT
UNMASKED_WEIGHT = 0.5  # of the loss on frames that are not masked (HuBERT's alpha = 1 is 0 here); it shortens the first plateau
MASK_PROBABILITY, MASK_LENGTH = 0.08, 10
MIN_SAMPLES = 8_000
WARMUP_STEPS = 200
LAST_RATE = 0.05  # of the peak, at the last step
GRADIENT_CLIP, WEIGHT_DECAY, BETAS = 5.0, 1e-2, (0.9, 0.98)
CHECKPOINT_EVERY_STEPS, LOG_EVERY_STEPS = 250, 25
EQUALISER_SHARE, MAX_GAIN_IN_DB = 0.5, 8.0  # of the augmented utterances, and per band
NOISE_SHARE, SNRS_IN_DB = 0.3, (5.0, 30.0)


def pretrain(config: Config, manifests: dict[str, Path], folder: Path, tensorboard: Path, device: torch.device) -> Encoder:
    """Runs all iterations of config.pretrain on the manifests (part -> path), or resumes them; each has a folder of its own.

    Raises DataError where no utterance can be used, TrainingError for a loss that is not finite, and SystemExit (143 or 130)
    after SIGTERM or SIGINT, with a checkpoint saved.
    """
    settings = config.pretrain
    seed_torch("pretrain", config.seed)
    encoder = (load_encoder(settings.init) if settings.init else Encoder(TINY_SHAPE)).to(device)
    for iteration, clusters in enumerate(settings.clusters, start=1):
        own = folder / f"iteration{iteration}"
        get_logger("pretrain").info("iteration %d: labels of %d clusters", iteration, clusters)
        spectral = iteration == 1 and not settings.init
        extract = mfcc if spectral else hidden_states(encoder, settings.label_layer, device)
        labels = make_labels(own / "labels", manifests, extract, clusters, settings.kmeans_hours, config.seed + iteration - 1)
        shortest, seconds = min(MIN_SAMPLES, settings.max_samples), settings.batch_seconds
        lengths = SpinConfig(min_samples=shortest, max_samples=settings.max_samples, batch_seconds=seconds, equal_lengths=True)
        cuts = scan_training_cuts([*manifests.values()], lengths, labels)
        if not cuts.bins:  # too little speech for buckets: their lower boundary would be MIN_SAMPLES
            cuts = replace(cuts, settings=replace(lengths, equal_lengths=False))
        train(config, iteration, encoder, cuts, own, tensorboard / f"iteration{iteration}", device)
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


def augment(waveform: np.ndarray, cut, keys: tuple[int | str, ...]) -> np.ndarray:
    """A Transform of spin.data.loader: a random equaliser for half of the utterances, coloured noise for some."""
    random = generator("pretrain augment", *keys)
    if random.random() < EQUALISER_SHARE:
        gains, qualities = random.uniform(-MAX_GAIN_IN_DB, MAX_GAIN_IN_DB, BANDS), 2.0 * 2.5 ** random.random(BANDS)
        waveform = equalise(waveform, design(cut.sampling_rate, gains, qualities))
    if random.random() < NOISE_SHARE:
        noise = coloured_noise(random, len(waveform), random.uniform(0.0, 1.0))
        waveform = mix(waveform, noise, random.uniform(*SNRS_IN_DB))
    return waveform.astype(np.float32)


def train(
    config: Config, number: int, encoder: Encoder, cuts: TrainingCuts, folder: Path, tensorboard: Path, device: torch.device
) -> None:
    """Masked prediction of the labels of one iteration; trains the encoder in place, resuming from the latest checkpoint."""
    settings, store = config.pretrain, CheckpointStore(folder)
    seed_torch("pretrain head", config.seed, number - 1)
    model = MaskedPredictor(encoder, settings.clusters[number - 1]).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, betas=BETAS, weight_decay=WEIGHT_DECAY)
    first, state = store.load_latest() or (0, {"epoch": 0, "index": 0})
    if first:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    views, sampler = ((augment,) if settings.augment else (),), BatchSampler(cuts, config.seed + number - 1)
    loader = BatchLoader(views, sampler, config.seed, config.spin.workers, device)
    readable = (batch for batch in loader.batches(state["epoch"], state["index"]) if batch.micro_batches[0] is not None)
    steps, dtype, writer = settings.steps[number - 1], autocast_dtype("auto", device), summary_writer(tensorboard, first + 1)
    model.train()
    pending: list[tuple[Tensor, Tensor]] = []  # losses and accuracies since the last report
    with StopRequest() as stop:
        for done, batch in progress(zip(range(first + 1, steps + 1), readable), "pre-training", steps, first):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(done - 1, steps, settings.learning_rate)
            optimizer.zero_grad(set_to_none=True)
            random = generator("pretrain mask", config.seed, number, done - 1)
            loss, correct = predict(model, batch.micro_batches[0], random, dtype)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_CLIP)
            optimizer.step()
            pending.append((loss.detach(), correct))
            if done % LOG_EVERY_STEPS == 0 or done == steps:
                report(writer, number, done, pending, settings.learning_rate)
                pending = []
            if stop.signal or done % CHECKPOINT_EVERY_STEPS == 0 or done == steps:
                writer.flush()
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
                store.save(done, state | {"epoch": batch.epoch, "index": batch.index + 1})
            if stop.signal:
                get_logger("pretrain").warning("iteration %d: stopped at step %d; a checkpoint is saved", number, done)
                raise SystemExit(stop.status())
    writer.close()


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up, then linear decay to LAST_RATE of the peak at the last step."""
    if step < WARMUP_STEPS:
        return peak * (step + 1) / WARMUP_STEPS
    return peak * max(LAST_RATE, (steps - step) / max(1, steps - WARMUP_STEPS))


def report(writer, number: int, done: int, pending: list[tuple[Tensor, Tensor]], peak: float) -> None:
    """Logs the means of losses and accuracies; raises TrainingError for a loss that is not finite."""
    loss, accuracy = (float(torch.stack(values).mean()) for values in zip(*pending))
    if not math.isfinite(loss):
        subject = f"pre-training, iteration {number}, step {done}"
        cause, remedy = f"the learning rate {peak:g} is too high", f"--set pretrain.learning_rate={peak / 2:g}"
        raise TrainingError(subject, found=f"loss {loss}", expected="a finite loss", cause=cause, remedy=remedy)
    writer.add_scalar("loss", loss, done)
    writer.add_scalar("masked_accuracy", accuracy, done)
    get_logger("pretrain").info("iteration %d, step %d: loss %.3f, masked accuracy %.3f", number, done, loss, accuracy)


class MaskedPredictor(nn.Module):
    """An encoder of width D with a mask embedding and a cosine classifier over K cluster embeddings of width `dim`."""

    def __init__(self, encoder: Encoder, clusters: int, dim: int = 256):
        super().__init__()
        self.encoder = encoder
        self.mask_embedding = nn.Parameter(torch.empty(encoder.shape.dim).uniform_())
        self.projection = nn.Linear(encoder.shape.dim, dim)
        self.clusters = nn.Parameter(torch.empty(clusters, dim).normal_(0.0, 1.0))

    def forward(self, waveforms: Tensor, lengths: Tensor, mask: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """(loss, share of masked frames whose cluster is predicted correctly), two scalars.

        The loss is the mean cross-entropy over masked frames, plus UNMASKED_WEIGHT times that over the others.

        Args:
            waveforms: (B, S) float32, zeros beyond an utterance's end, of (B,) `lengths` in samples.
            mask: (B, T) bool; True frames are hidden from the encoder and predicted.
            labels: (B, T) int64 clusters; frames with NO_LABEL, as in padding, count in no loss.
        """
        features, frame_lengths = self.encoder.local_features(waveforms, lengths)
        features = torch.where(mask[..., None], self.mask_embedding.to(features.dtype), features)
        hidden = self.encoder.contextualise(features, frame_lengths)[-1]
        frames = F.normalize(self.projection(hidden).float(), dim=-1)
        logits = frames @ F.normalize(self.clusters.float(), dim=-1).T / TEMPERATURE
        masked, seen = torch.where(mask, labels, NO_LABEL), torch.where(mask, NO_LABEL, labels)
        loss = _mean_entropy(logits, masked) + UNMASKED_WEIGHT * _mean_entropy(logits, seen)
        return loss, (logits.detach().argmax(-1) == masked).sum() / (masked != NO_LABEL).sum().clamp(min=1)


def _mean_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy in nats of (..., K) logits over the labelled frames; 0 without any."""
    total = F.cross_entropy(logits.flatten(0, -2).float(), labels.flatten(), ignore_index=NO_LABEL, reduction="sum")
    return total / (labels != NO_LABEL).sum().clamp(min=1)


def predict(
    model: MaskedPredictor, batch: MicroBatch, random: np.random.Generator, dtype: torch.dtype | None
) -> tuple[Tensor, Tensor]:
    """(loss, accuracy) of a batch with masks drawn by `random`, on the model's device."""
    device = model.mask_embedding.device
    frames = model.encoder.feature_extractor.frame_lengths(batch.lengths)
    mask = pad([draw_mask(random, int(count)) for count in frames], 0)
    waveforms, mask, labels = (tensor.to(device, non_blocking=True) for tensor in (batch.waveforms, mask, batch.labels))
    with torch.autocast(device.type, dtype, enabled=dtype is not None):
        return model(waveforms, batch.lengths, mask, labels)


def draw_mask(
    random: np.random.Generator, frames: int, probability: float = MASK_PROBABILITY, length: int = MASK_LENGTH
) -> np.ndarray:
    """(T,) bool: spans of `length` frames, each frame being the start of a span with `probability`; at least one span.

    Spans may overlap, so about 1 - (1 - probability) ** length of the frames are masked.
    """
    starts = np.flatnonzero(random.random(frames) < probability)
    if len(starts) == 0:
        starts = np.array([int(random.integers(frames))])
    mask = np.zeros(frames, dtype=bool)
    covered = starts[:, None] + np.arange(min(length, frames))[None, :]
    mask[covered[covered < frames]] = True
    return mask
