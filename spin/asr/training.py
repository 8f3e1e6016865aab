"""Training of one CTC model: steps, validation, the best checkpoint, and going on after any interruption.

On a CPU with the same bits. On a GPU to rounding: k2 adds the arcs' gradients in whatever order they are ready.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import torch
from lhotse import CutSet

from spin import artifacts
from spin.asr.augment import concatenate, spec_augment
from spin.asr.averaging import WeightStore, again, validations_without_gain
from spin.asr.features import Batch, collate, endless, open_cuts, sample_batches, text_of
from spin.asr.lang import load_lang
from spin.asr.loss import ctc_loss
from spin.asr.model import CtcModel, load_weights
from spin.asr.readers import open_reader
from spin.asr.training_job import TrainJob, as_tensors, learning_rate
from spin.asr.validation import evaluate, rates
from spin.errors import TrainingError
from spin.runtime import seeding
from spin.runtime.ahead import read_ahead
from spin.runtime.checkpoints import CheckpointStore, read_checkpoint
from spin.runtime.devices import prepare_cpu, resolve_device
from spin.runtime.files import append_jsonl, read_jsonl, write_jsonl
from spin.runtime.logs import board, get_logger
from spin.runtime.signals import StopRequest


def train_one(job: TrainJob) -> dict:
    """Trains, or goes on with, one model.

    Returns:
        {"system", "seed", "step", "wer", "cer"} of the best checkpoint on the valid parts.

    Raises:
        TrainingError: loss or gradient is not a number.
    """
    threads = torch.get_num_threads()
    prepare_cpu(job.config.asr.threads)
    try:
        return Training(job).run()
    finally:
        torch.set_num_threads(threads)


class Training:
    """One training: model, optimiser, position in the data, and where its products go."""

    def __init__(self, job: TrainJob):
        self.job, self.config = job, job.config.asr
        self.log = get_logger("asr.training")
        self.device = resolve_device(job.config.runtime.device)
        self.lang = load_lang(artifacts.lang_folder(job.exp))
        self.reader = open_reader(job.config, job.exp, job.system, self.config.feature_cache_in_mib << 20)
        self.store = CheckpointStore(artifacts.asr_seed_folder(job.exp, job.system, job.seed))
        seeding.seed_torch("asr model", job.seed)
        self.model = CtcModel(self.config, job.statistics, self.lang.vocabulary_size).to(self.device)
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=self.config.learning_rate, weight_decay=self.config.weight_decay
        )
        self.averages = WeightStore(self.store.folder, self.config.average)
        self.step, self.epoch, self.batch = 0, 0, 0  # done steps, and the position of the next batch
        self.losses: list[float] = []  # since the last validation
        self.history_path = artifacts.asr_history(job.exp, job.system, job.seed)

    def run(self) -> dict:
        """All steps that are left; the summary of the best checkpoint."""
        self.resume()
        if self.step < self.config.max_steps and not self.exhausted():
            self.board = board(self.job.tensorboard / self.job.system / f"seed{self.job.seed}", self.step + 1)
            self.train()
            self.board.close()
        if self.config.average > 1:
            self.average()
        model = artifacts.asr_model(self.job.exp, self.job.system, self.job.seed)
        best, state = read_checkpoint(model, again(self.store.folder))
        valid = {name: float(state["valid"][name]) for name in ("wer", "cer")}
        self.log.info("%s: best at step %d, valid %s", self.job.name, best, rates(self.lang, valid))
        return {"system": self.job.system, "seed": self.job.seed, "step": best, **valid}

    def train(self) -> None:
        """The loop over steps."""
        cuts = open_cuts(self.job.exp, self.job.system, self.job.config.corpus.asr_train).filter(self._usable)
        sampler = sample_batches(cuts, self.job.train_count, self.config.batch_seconds, self.job.seed)
        begun, seconds = time.monotonic(), 0.0
        with StopRequest() as stop:
            for (place,), (batch,) in self.batches(endless(sampler, self.epoch, self.batch)):
                epoch, number, _ = place
                self.losses.append(self.update(batch))
                seconds += batch.seconds
                self.epoch, self.batch = epoch, number + 1
                if self.step % self.config.log_every_steps == 0 or self.step == self.config.max_steps:
                    speed = seconds / max(1e-9, time.monotonic() - begun)
                    recent = self.losses[-self.config.log_every_steps :]
                    self.board.add_scalar("train/loss", sum(recent) / len(recent), self.step)
                    self.board.add_scalar("train/epoch", epoch, self.step)
                    self.board.add_scalar("train/seconds_of_audio_per_second", speed, self.step)
                kept = self.keep()
                if self.step >= self.config.max_steps or (kept and self.exhausted()):
                    return
                if stop.signal is not None:
                    self.leave(stop, kept)

    def batches(self, places: Iterator[tuple[int, int, CutSet]]) -> Iterator[tuple[list, list[Batch]]]:
        """Each place of the data with its batch, singly in lists; beside a GPU the next one is read meanwhile."""
        threads = 0 if self.device.type == "cpu" else 1
        return read_ahead(([place] for place in places), lambda place: self.read(place[2], place[0]), threads)

    def leave(self, stop: StopRequest, kept: bool) -> None:
        """Ends this process between two steps, with a checkpoint."""
        if not kept:
            self.store.save(self.step, self.state(None))
        self.board.close()
        self.log.warning("%s: stopped at step %d by signal; a checkpoint is written", self.job.name, self.step)
        raise SystemExit(stop.status())

    def _usable(self, cut) -> bool:
        return cut.id not in self.job.left_out

    def read(self, cuts: CutSet, epoch: int) -> Batch:
        """A batch, augmented if the configuration says so."""
        if self.config.spec_augment:
            fill = self.job.statistics.mean
            batch = collate(cuts, self.reader, lambda name, features: spec_augment(features, fill, self.job.seed, epoch, name))
        else:
            batch = collate(cuts, self.reader)
        return concatenate(batch, self.job.statistics.mean) if self.config.concatenate else batch

    def update(self, batch: Batch) -> float:
        """One optimiser step; returns the loss in nats a token."""
        step = self.step + 1
        seeding.seed_torch("asr dropout", self.job.seed, step)
        self.model.train()
        loss, tokens = self.loss(batch)
        loss = loss.sum() / tokens
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
        self._check(step, batch, loss=float(loss), gradient=float(norm))
        rate = learning_rate(step, self.config)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        self.step = step
        if step % self.config.log_every_steps == 0:
            self.board.add_scalar("train/gradient_norm", float(norm), step)
            self.board.add_scalar("train/learning_rate", rate, step)
        return float(loss)

    def loss(self, batch: Batch) -> tuple[torch.Tensor, int]:
        """(B,) losses in nats, and the number of tokens."""
        tokens = [self.lang.encode(text) for text in batch.texts]
        log_probs, lengths = self.model(batch.features.to(self.device), batch.lengths)
        return ctc_loss(log_probs, lengths, tokens), sum(map(len, tokens))

    def _check(self, step: int, batch: Batch, **values: float) -> None:
        for name, value in values.items():
            if not math.isfinite(value):
                raise TrainingError(
                    f"ASR training ({self.job.name}), step {step}",
                    found=f"{name} {value}; utterances {', '.join(batch.ids[:3])}, ...",
                    expected="a finite number",
                    cause="too high a learning rate, or features that are not finite",
                    remedy="--set asr.learning_rate=<lower>, or stage 3 with --force",
                )

    def keep(self) -> bool:
        """Validates and writes a checkpoint where it is time; says whether it did."""
        last = self.step == self.config.max_steps
        valid = None
        if last or self.step % self.config.valid_every_steps == 0:
            valid = self.validate(sum(self.losses) / len(self.losses))
            self.losses.clear()
        saves = valid is not None or self.step % self.config.checkpoint_every_steps == 0
        if saves:
            self.board.flush()  # a kill after this point must not lose curves that will not be drawn again
            if valid is not None and self.config.average > 1:
                self.averages.keep(self.step, self.model)
            # CER chooses the best: of few valid utterances WER is too coarse to tell neighbouring checkpoints apart.
            self.store.save(self.step, self.state(valid), None if valid is None else -valid["cer"])
        return saves

    def exhausted(self) -> bool:
        """Whether `patience` validations have passed without a better WER."""
        rates = [record["valid_wer"] for record in read_jsonl(self.history_path)] if self.history_path.exists() else []
        return 0 < self.config.patience <= validations_without_gain(rates)

    def average(self) -> None:
        """Where the mean of the last validated weights is better on valid than the best checkpoint, it takes its place."""
        weights = self.averages.mean(self.step)
        if weights is None:
            return
        model = CtcModel(self.config, self.job.statistics, self.lang.vocabulary_size).to(self.device)
        load_weights(model, weights, str(self.store.folder))
        valid, _ = self.measure(model)
        score, best = -valid["cer"], self.store.best_score()
        values = (self.job.name, self.config.average, rates(self.lang, valid))
        self.log.info("%s: mean of the last %d validated models, valid %s", *values)
        if best is None or score > best:
            self.store.save_best(self.step, {"model": weights, "valid": as_tensors(valid)}, score)

    def validate(self, train_loss: float) -> dict:
        """Measures loss and error rates of the best path on the valid parts; adds a line to the history."""
        valid, texts = self.measure(self.model)
        record = {"step": self.step, "loss": train_loss, **{f"valid_{name}": value for name, value in valid.items()}}
        if self.model.layer_sum is not None:
            record["layer_weights"] = self.layer_weights()
        append_jsonl(self.history_path, record)
        for name, value in valid.items():
            self.board.add_scalar(f"valid/{name}", value, self.step)
        self.board.add_text("valid/texts", "\n\n".join(f"`{reference}`  \n`{text}`" for reference, text in texts), self.step)
        progress = f"{self.job.name}: step {self.step} of {self.config.max_steps}"
        self.log.info("%s, loss %.3f, valid loss %.3f, %s", progress, train_loss, valid["loss"], rates(self.lang, valid))
        return valid

    def layer_weights(self) -> list[float]:
        """What share each layer has in the learned sum; shown on the way."""
        shares = [round(share, 6) for share in self.model.layer_sum.shares().tolist()]
        for layer, share in enumerate(shares):
            self.board.add_scalar(f"layer_weights/{layer}", share, self.step)
        self.log.info("%s: shares of layers 0, 1, ...: %s", self.job.name, " ".join(f"{share:.2f}" for share in shares))
        return shares

    def measure(self, model: CtcModel) -> tuple[dict, list[tuple[str, str]]]:
        """evaluate() on the valid parts."""
        cuts = open_cuts(self.job.exp, self.job.system, self.job.config.corpus.valid).filter(text_of)
        sampler = sample_batches(cuts, self.job.valid_count, self.config.batch_seconds, None)
        return evaluate(model, self.lang, (collate(batch, self.reader) for batch in sampler), self.device)

    def state(self, valid: dict | None) -> dict:
        """All that going on needs.

        Numbers with a point are tensors, because torch 1.13 reads no others without running code; so of the optimiser only its
        state by parameter is kept, and its settings come from the configuration.
        """
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict()["state"],
            "epoch": self.epoch,
            "batch": self.batch,
            "losses": torch.tensor(self.losses, dtype=torch.float64),
            "valid": None if valid is None else as_tensors(valid),
        }

    def resume(self) -> None:
        """Takes up the latest checkpoint; lines of the history after it are dropped."""
        latest = self.store.load_latest()
        if latest is None:
            self.history_path.unlink(missing_ok=True)
            return
        self.step, state = latest
        load_weights(self.model, state["model"], str(self.store.folder))
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": state["optimiser"]})
        self.epoch, self.batch, self.losses = state["epoch"], state["batch"], state["losses"].tolist()
        if state["valid"] is not None:
            # A kill may have fallen between the checkpoint and the note that it is the best.
            self.store.save(self.step, state, -float(state["valid"]["cer"]))
        write_jsonl(self.history_path, [record for record in list(read_jsonl(self.history_path)) if record["step"] <= self.step])
        self.log.info("%s: going on after step %d", self.job.name, self.step)
