"""Training of one CTC model: steps, validation, the best checkpoint or mean of several, resuming after any interruption.

On a CPU a resumed training gives the same bits. On a GPU it agrees up to rounding: k2 adds the gradients of arcs in any order.
"""

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from lhotse.cut import Cut

from spin import artifacts
from spin.asr.batches import Batch, BatchSampler, collate, spec_augment, text_of
from spin.asr.decoders import best_path
from spin.asr.inputs import CACHE_BYTES, INVENTORY_FILE, MASK, THREADS, UNITS, InputReader, Recogniser, TrainJob, prepare_data
from spin.asr.lang import Lang, load_lang
from spin.asr.model import CtcModel, ctc_loss, load_weights
from spin.asr.scoring import ErrorCounts, count_characters, count_words
from spin.asr.tokens import UNKNOWN_ID, count_needed_frames
from spin.config import AsrConfig
from spin.errors import TrainingError
from spin.runtime import seeding
from spin.runtime.checkpoints import CheckpointStore, read_checkpoint, write_checkpoint
from spin.runtime.devices import prepare_cpu, resolve_device, sent
from spin.runtime.files import append_jsonl, read_jsonl, write_json, write_jsonl
from spin.runtime.logs import get_logger, summary_writer
from spin.runtime.process import StopRequest
from spin.runtime.product import Context
from spin.runtime.workers import prefetch, run_jobs
from spin.systems import System

PER_GPU = 2  # trainings at a time on one GPU
LOG_EVERY_STEPS = 10
TEXTS_SHOWN = 3  # in TensorBoard, of each validation
FINAL_RATE = 0.02  # the learning rate at the last step, as a share of the peak


def train_recognisers(context: Context, lang: Lang, systems: Sequence[System]) -> None:
    """Trains every recogniser that is missing or stale: one per system, input and seed."""
    asr, jobs = context.config.asr, []
    for input_kind in asr.inputs:
        for system in systems:
            recognisers = [Recogniser(context, system, input_kind, seed) for seed in asr.seeds]
            due = [recogniser for recogniser in recognisers if recogniser.product.needs_build()]
            data = prepare_data(due[0], lang) if due else ()
            jobs += [TrainJob(*recogniser.identity, *data) for recogniser in due]
    jobs.sort(key=lambda job: asr.seeds.index(job.seed))  # the first results of all systems come first
    context.log.info("%d trainings of %d steps", len(jobs), asr.max_steps)
    for line in run_jobs(context.config, train_recogniser, jobs, PER_GPU):
        context.log.info("%s", line)


def train_recogniser(job: TrainJob) -> str:
    """Builds the product of one recogniser, or resumes an interrupted training; returns a line for the log."""
    prepare_cpu(THREADS)
    with job.product.building() as folder:
        return Training(job, folder).run()


def learning_rate(step: int, config: AsrConfig) -> float:
    """Linear warm-up, then a cosine down to FINAL_RATE of the peak at the last step; `step` counts from 1."""
    if step <= config.warmup_steps:
        return config.learning_rate * step / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.max_steps - config.warmup_steps)
    return config.learning_rate * (FINAL_RATE + (1.0 - FINAL_RATE) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress))))


class Training:
    """Model, optimizer and position in the data; the folder may hold checkpoints and history of an interrupted run."""

    def __init__(self, job: TrainJob, folder: Path):
        self.job, self.folder, self.context = job, folder, job.context
        self.config, self.log = self.context.config.asr, get_logger("asr.training")
        self.device = resolve_device(self.context.config.runtime.device)
        self.lang = load_lang(artifacts.lang_folder(self.context.exp))
        inventory = job.inputs if job.input_kind == UNITS else None
        if inventory is not None:
            write_json(folder / INVENTORY_FILE, vars(inventory))
        self.mask_value = job.inputs.mean if inventory is None else MASK
        self.reader = InputReader(inventory, CACHE_BYTES)
        self.store = CheckpointStore(folder)
        seeding.seed_torch("asr model", job.seed)
        inputs = job.inputs if inventory is None else inventory.symbols
        self.model = CtcModel(self.config, inputs, self.lang.vocabulary_size).to(self.device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=self.config.learning_rate, weight_decay=self.config.weight_decay
        )
        self.step, self.epoch, self.batch = 0, 0, 0  # finished steps, and the position of the next batch
        self.losses: list[float] = []  # since the last validation
        self.history_path = artifacts.history_in(folder)

    def run(self) -> str:
        """Trains the remaining steps; returns a line about the best checkpoint."""
        self.resume()
        if self.step < self.config.max_steps:
            folder = self.context.tensorboard / self.job.system.name / self.job.input_kind / f"seed{self.job.seed}"
            self.writer = summary_writer(folder, self.step + 1 if self.step else 0)
            self.train()
            self.writer.close()
        if self.config.average > 1:
            self.average_checkpoints()
        best, state = read_checkpoint(artifacts.asr_model_in(self.folder))
        return f"{self.job.name}: best at step {best}, valid {format_rates(self.lang, state['valid'])}"

    def train(self) -> None:
        """The loop over steps; a signal ends the process between two of them, with a checkpoint."""
        with StopRequest() as stop:
            for epoch, number, batch in self.batches():
                metrics = self.update(batch)
                self.losses.append(metrics["loss"])
                self.epoch, self.batch = epoch, number + 1
                if self.step % LOG_EVERY_STEPS == 0 or self.step == self.config.max_steps:
                    recent = self.losses[-LOG_EVERY_STEPS:]
                    metrics |= {"loss": sum(recent) / len(recent), "epoch": epoch}
                    for name, value in metrics.items():
                        self.writer.add_scalar(f"train/{name}", value, self.step)
                saved = self.validate_and_save()
                if self.step >= self.config.max_steps:
                    return
                if stop.signal is not None:
                    if not saved:
                        self.store.save(self.step, self.state(None))
                    self.writer.close()
                    self.log.warning("%s: stopped by a signal at step %d; checkpoint saved", self.job.name, self.step)
                    raise SystemExit(stop.status())

    def batches(self) -> Iterator[tuple[int, int, Batch]]:
        """(epoch, number in the epoch, batch) without end; with a GPU the next batch is prefetched."""
        cuts = self.job.cuts(self.context.config.corpus.asr_train).filter(self.is_usable)
        sampler = BatchSampler(cuts, self.config.batch_seconds, self.job.seed)
        places = ([place] for place in sampler.repeat(self.epoch, self.batch))
        threads = 0 if self.device.type == "cpu" else 1
        for (place,), (batch,) in prefetch(places, lambda place: self.read(place[2], place[0]), threads):
            yield place[0], place[1], batch

    def is_usable(self, cut: Cut) -> bool:
        return cut.id not in self.job.left_out

    def read(self, cuts: list[Cut], epoch: int) -> Batch:
        """A batch, augmented if the configuration says so."""

        def augment(name, inputs):
            return spec_augment(inputs, self.mask_value, self.job.seed, epoch, name)

        return collate(cuts, self.reader.read, augment if self.config.spec_augment else None)

    def update(self, batch: Batch) -> dict[str, float]:
        """One optimizer step; returns the loss in nats per token, the norm of the gradient, and the learning rate.

        Raises TrainingError where one of them is not finite.
        """
        step = self.step + 1
        seeding.seed_torch("asr dropout", self.job.seed, step)
        self.model.train()
        tokens = [self.lang.tokens.encode(text) for text in batch.texts]
        log_probs = self.model(sent(batch.inputs, self.device), batch.lengths)
        loss = ctc_loss(log_probs, batch.lengths, tokens).sum() / sum(map(len, tokens))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
        metrics = {"loss": float(loss), "gradient_norm": float(norm), "learning_rate": learning_rate(step, self.config)}
        bad = next((name for name, value in metrics.items() if not math.isfinite(value)), None)
        if bad is not None:
            raise TrainingError(
                f"{self.job.name}, step {step}",
                found=f"{bad} {metrics[bad]}, utterances {', '.join(batch.ids[:3])} ...",
                expected="finite numbers",
                cause="a learning rate that is too high, or features that are not finite",
                remedy=f"--set asr.learning_rate={self.config.learning_rate / 3:g}",
            )
        for group in self.optimizer.param_groups:
            group["lr"] = metrics["learning_rate"]
        self.optimizer.step()
        self.step = step
        return metrics

    def validate_and_save(self) -> bool:
        """Validates and saves when it is time to; returns whether a checkpoint was saved."""
        valid = None
        if self.step == self.config.max_steps or self.step % self.config.valid_every_steps == 0:
            valid = self.validate(sum(self.losses) / len(self.losses))
            self.losses.clear()
        if valid is None and self.step % self.config.checkpoint_every_steps:
            return False
        self.writer.flush()  # a resumed training draws no curve before its checkpoint again
        if valid is not None and self.config.average > 1:
            self.keep_weights()
        # CER chooses the best: with few valid utterances WER is too coarse to rank neighbouring checkpoints.
        self.store.save(self.step, self.state(valid), None if valid is None else -valid["cer"])
        return True

    def validate(self, train_loss: float) -> dict:
        """Measures loss and error rates of the best path on the valid parts; adds a line to the history."""
        valid, texts = self.measure(self.model)
        record = {"step": self.step, "loss": train_loss, **{f"valid_{name}": value for name, value in valid.items()}}
        append_jsonl(self.history_path, record)
        for name, value in valid.items():
            self.writer.add_scalar(f"valid/{name}", value, self.step)
        self.writer.add_text("valid/texts", "\n\n".join(f"`{reference}`  \n`{text}`" for reference, text in texts), self.step)
        progress = f"{self.job.name}: step {self.step} of {self.config.max_steps}"
        self.log.info("%s, loss %.3f, valid loss %.3f, %s", progress, train_loss, valid["loss"], format_rates(self.lang, valid))
        return valid

    def measure(self, model: CtcModel) -> tuple[dict, list[tuple[str, str]]]:
        """evaluate() on the valid parts."""
        cuts = self.job.cuts(self.context.config.corpus.valid).filter(text_of)
        sampler = BatchSampler(cuts, self.config.batch_seconds)
        return evaluate(model, self.lang, (collate(batch, self.reader.read) for batch in sampler.batches()), self.device)

    def keep_weights(self) -> None:
        """Keeps the weights of the last asr.average validations; a signal adds checkpoints, which must not change their mean."""
        write_checkpoint(self.folder / f"weights-{self.step:09d}.safetensors", self.step, self.model.state_dict())
        for old in self.kept_weights()[: -self.config.average]:
            old.unlink(missing_ok=True)

    def kept_weights(self) -> list[Path]:
        """Files of weights up to this step, oldest first; later ones belong to an interrupted run."""
        paths = sorted(self.folder.glob(f"weights-{'[0-9]' * 9}.safetensors"))
        return [path for path in paths if path.stem <= f"weights-{self.step:09d}"]

    def average_checkpoints(self) -> None:
        """Replaces the best checkpoint by the mean of the last validated weights where the mean is better on valid."""
        paths = self.kept_weights()[-self.config.average :]
        if len(paths) < 2:
            return
        states = [read_checkpoint(path)[1] for path in paths]
        weights = {
            name: (sum(state[name].double() for state in states) / len(states)).to(first.dtype)
            for name, first in states[0].items()
        }
        valid, _ = self.measure(load_weights(copy.deepcopy(self.model), weights, str(self.folder)))
        rates = format_rates(self.lang, valid)
        self.log.info("%s: mean of the last %d validated models, valid %s", self.job.name, self.config.average, rates)
        best = self.store.best_score()
        if best is None or -valid["cer"] > best:
            self.store.save_best(self.step, {"model": weights, "valid": valid}, -valid["cer"])

    def state(self, valid: dict | None) -> dict:
        """The state that a resume needs; settings of the optimizer come from the configuration."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict()["state"],
            "epoch": self.epoch,
            "batch": self.batch,
            "losses": self.losses,
            "valid": valid,
        }

    def resume(self) -> None:
        """Loads the latest checkpoint; later lines of the history are dropped."""
        latest = self.store.load_latest()
        if latest is None:
            self.history_path.unlink(missing_ok=True)
            return
        self.step, state = latest
        load_weights(self.model, state["model"], str(self.folder))
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state["optimizer"]})
        self.epoch, self.batch, self.losses = state["epoch"], state["batch"], list(state["losses"])
        write_jsonl(self.history_path, [record for record in list(read_jsonl(self.history_path)) if record["step"] <= self.step])
        self.log.info("%s: resuming after step %d", self.job.name, self.step)


@torch.no_grad()
def evaluate(model: CtcModel, lang: Lang, batches: Iterable[Batch], device: torch.device) -> tuple[dict, list[tuple[str, str]]]:
    """({"loss": nats per token, "wer": percent, "cer": percent}, some pairs of reference and text); ends in evaluation mode.

    Utterances that are too short for their text, or have a word or character outside the tokens, have no loss, but count as
    errors. With phones both rates are the phone error rate.
    """
    model.eval()
    words, characters, loss, tokens, texts = ErrorCounts(), ErrorCounts(), 0.0, 0, []
    for batch in batches:
        log_probs = model(batch.inputs.to(device), batch.lengths)
        encoded = [lang.tokens.encode(text) for text in batch.texts]
        needed = [math.inf if UNKNOWN_ID in ids else count_needed_frames(ids) for ids in encoded]
        rows = [row for row, length in enumerate(batch.lengths.tolist()) if needed[row] <= length]
        if rows:
            loss += float(ctc_loss(log_probs[rows], batch.lengths[rows], [encoded[row] for row in rows]).double().sum())
            tokens += sum(len(encoded[row]) for row in rows)
        for reference, ids in zip(map(lang.reference, batch.texts), best_path(log_probs, batch.lengths)):
            text = lang.tokens.decode(ids)
            counted = count_words(reference, text)
            words += counted
            characters += counted if lang.tokens.kind == "phone" else count_characters(reference, text)
            texts.append((reference, text))
    return {"loss": loss / max(1, tokens), "wer": words.rate, "cer": characters.rate}, texts[:TEXTS_SHOWN]


def format_rates(lang: Lang, valid: dict) -> str:
    """The error rates of `evaluate` for the log."""
    return f"PER {valid['wer']:.2f} %" if lang.tokens.kind == "phone" else f"CER {valid['cer']:.2f} %, WER {valid['wer']:.2f} %"
