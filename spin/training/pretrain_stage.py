"""Pre-training of a HuBERT-shaped encoder: labels from MFCCs, masked prediction, labels from a hidden layer, and again.

Resumable: every iteration keeps its labels and checkpoints under exp/<name>/pretrain/iteration<n>.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch

from spin.config import Config
from spin.errors import DataError, TrainingError
from spin.models.encoder import TINY_SHAPE, Encoder
from spin.models.storage import save_encoder
from spin.runtime.checkpoints import CheckpointStore
from spin.runtime.devices import prepare_cpu, resolve_device
from spin.runtime.logs import board
from spin.runtime.provenance import commit
from spin.runtime.seeding import seed_torch
from spin.runtime.signals import StopRequest
from spin.training.masked_prediction import MaskedPredictor
from spin.training.pretrain_data import MaskedBatches
from spin.training.pretrain_labels import MFCC_DIM, Utterance, make_labels, mfcc, read_utterances
from spin.training.pretrain_note import take_up

MIN_SAMPLES = 8_000


def pretrain(context) -> Path:
    """All iterations of config.pretrain; returns the path of encoder.safetensors (float16).

    Raises:
        DataError: no utterance, or the folder holds a pre-training that was begun with something else.
        TrainingError: a loss that is no number.
        SystemExit: 143 or 130 after SIGTERM or SIGINT, with a checkpoint written.
    """
    config, settings = context.config, context.config.pretrain
    device = resolve_device(config.runtime.device)
    prepare_cpu(config.runtime.threads)
    utterances = read_utterances(context.corpus, settings.parts, MIN_SAMPLES)
    if not utterances:
        raise DataError(f"parts {', '.join(settings.parts)}", found="no utterance", remedy="run stage 0 with the same --conf")
    hours = sum(utterance.samples for utterance in utterances) / 16_000 / 3600
    take_up(context.exp / "pretrain", config, context.corpus, context.force)
    context.log.info("pre-training on %d utterances, %.1f h, on %s", len(utterances), hours, device)
    seed_torch("pretrain", config.seed)
    encoder = Encoder(TINY_SHAPE).to(device)
    for iteration in range(len(settings.steps)):
        folder = context.exp / "pretrain" / f"iteration{iteration + 1}"
        labels = _labels(context, folder, utterances, encoder, iteration, device)
        encoder = _train(context, folder, utterances, labels, encoder, iteration, device)
    path = context.exp / "pretrain" / "encoder.safetensors"
    save_encoder(path, encoder.cpu(), dtype="float16", notes=_notes(config, hours))
    context.log.info("pre-training done: %s (%.1f MB)", path, path.stat().st_size / 1e6)
    return path


def _notes(config: Config, hours: float) -> dict[str, str]:
    """Where the weights come from, for the file's metadata."""
    settings = config.pretrain
    plan = ", ".join(f"{steps} steps on {clusters} clusters" for steps, clusters in zip(settings.steps, settings.clusters))
    return {"made_from": f"{config.corpus.kind} corpus, {hours:.1f} h; {plan}; seed {config.seed}", "commit": commit()}


def _labels(context, folder: Path, utterances, encoder, iteration: int, device) -> Path:
    settings = context.config.pretrain
    context.log.info("iteration %d: labels, %d clusters", iteration + 1, settings.clusters[iteration])

    def spoken(chosen: list[Utterance]) -> Iterator[np.ndarray]:
        for utterance in chosen:
            yield mfcc(torch.from_numpy(read_audio(utterance))).numpy()

    def hidden(chosen: list[Utterance]) -> Iterator[np.ndarray]:
        yield from hidden_states(encoder, chosen, settings.label_layer, device)

    source, dim = (spoken, MFCC_DIM) if iteration == 0 else (hidden, encoder.shape.dim)
    return make_labels(
        folder,
        utterances,
        source,
        dim,
        settings.clusters[iteration],
        settings.kmeans_hours,
        settings.speaker_normalised_labels,
        context.config.seed + iteration,
    )


def read_audio(utterance: Utterance) -> np.ndarray:
    """(S,) float32."""
    return soundfile.read(utterance.path, dtype="float32")[0]


@torch.no_grad()
def hidden_states(encoder: Encoder, utterances: list[Utterance], layer: int, device) -> Iterator[np.ndarray]:
    """(T, D) float32 of one layer for each utterance, one at a time, so that nothing is padded."""
    encoder.eval()
    for utterance in utterances:
        waveform = torch.from_numpy(read_audio(utterance))[None].to(device)
        with torch.autocast(device.type, torch.bfloat16):
            states, _ = encoder(waveform, torch.tensor([waveform.shape[1]]), last_layer=layer)
        yield states[layer][0].float().cpu().numpy()


def learning_rate(step: int, steps: int, settings) -> float:
    """Linear warm-up, then linear decay to a twentieth at the last step."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    left = (steps - step) / max(1, steps - settings.warmup_steps)
    return settings.learning_rate * max(0.05, left)


def _train(context, folder: Path, utterances, labels: Path, encoder: Encoder, iteration: int, device) -> Encoder:
    config: Config = context.config
    settings, steps = config.pretrain, config.pretrain.steps[iteration]
    content = np.load(labels)
    seed_torch("pretrain head", config.seed, iteration)
    model = MaskedPredictor(encoder, settings.clusters[iteration], settings.unmasked_weight).to(device)
    optimiser = torch.optim.AdamW(
        model.parameters(), settings.learning_rate, betas=(0.9, 0.98), weight_decay=settings.weight_decay
    )
    store = CheckpointStore(folder)
    start = _resume(store, model, optimiser, device)
    batches = MaskedBatches(utterances, content["labels"], content["offsets"], settings, config.seed, iteration, start, steps)
    loader = torch.utils.data.DataLoader(batches, batch_size=None, num_workers=settings.workers)
    writer = board(context.exp / "tensorboard" / f"pretrain{iteration + 1}", start)
    model.train()
    losses, shares, begun = [], [], time.monotonic()
    with StopRequest() as stop:
        for step, batch in enumerate(loader, start):
            loss, correct = _update(model, optimiser, batch, learning_rate(step, steps, settings), settings, device)
            losses.append(loss)
            shares.append(correct)
            if (step + 1) % settings.log_every_steps == 0:
                _log(context.log, writer, iteration, step, losses, shares, begun, settings)
                losses, shares, begun = [], [], time.monotonic()
            stopped = stop.signal is not None
            if stopped or (step + 1) % settings.checkpoint_every_steps == 0 or step + 1 == steps:
                writer.flush()
                store.save(step + 1, {"model": model.state_dict(), "optimiser": optimiser.state_dict()})
            if stopped:
                context.log.warning("iteration %d: stopped at step %d; a checkpoint is written", iteration + 1, step + 1)
                raise SystemExit(stop.status())
    writer.close()
    return model.encoder


def _resume(store: CheckpointStore, model, optimiser, device) -> int:
    latest = store.load_latest()
    if latest is None:
        return 0
    step, state = latest
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    return step


def _update(model, optimiser, batch, rate: float, settings, device):
    waveforms, mask, labels = (tensor.to(device, non_blocking=True) for tensor in batch)
    with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
        loss, correct = model(waveforms, mask, labels)
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_clip)
    optimiser.step()
    return loss.detach(), correct


def _log(log, writer, iteration: int, step: int, losses, shares, begun: float, settings) -> None:
    loss, share = float(torch.stack(losses).mean()), float(torch.stack(shares).mean())
    if not np.isfinite(loss):
        raise TrainingError(
            f"pre-training, iteration {iteration + 1}, step {step + 1}",
            found=f"loss {loss}",
            remedy="lower pretrain.learning_rate",
        )
    seconds = (time.monotonic() - begun) / len(losses)
    writer.add_scalar("loss", loss, step + 1)
    writer.add_scalar("masked_accuracy", share, step + 1)
    writer.add_scalar("seconds_per_step", seconds, step + 1)
    log.info(
        "iteration %d step %d: loss %.3f, masked accuracy %.3f, %.2f s a step", iteration + 1, step + 1, loss, share, seconds
    )
