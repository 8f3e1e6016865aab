"""The training loop of stage 2. It knows nothing of a particular objective.

A training that is interrupted anywhere and resumed ends with the same weights, on the CPU to the last bit. The number of ranks
and micro-batches may change in between; then the weights agree up to rounding.
"""

import time
from pathlib import Path

import torch

from spin import artifacts
from spin.config import Config, SpinConfig
from spin.data.loader import BatchLoader
from spin.data.plan import TrainingCuts
from spin.errors import CheckpointError, rerun
from spin.models.encoder import Encoder
from spin.objectives.model import SpinModel
from spin.runtime import distributed
from spin.runtime.checkpoints import CheckpointStore
from spin.runtime.devices import autocast_dtype
from spin.runtime.files import append_jsonl, read_jsonl, write_jsonl
from spin.runtime.logs import get_logger, progress, summary_writer
from spin.runtime.process import StopRequest
from spin.training import grad_cache
from spin.training.monitor import LOG_EVERY_STEPS, Monitor, Validation, check_collapse

AGREE_EVERY_STEPS = 3  # several GPUs, whether to stop


class Training:
    """The training of a model on its device, in place; creating it resumes from the latest checkpoint in `folder`."""

    def __init__(
        self,
        config: Config,
        folder: Path,
        tensorboard: Path,
        model: SpinModel,
        loader: BatchLoader,
        validation: Validation,
        cuts: TrainingCuts,
    ):
        self.settings, self.model, self.loader, self.validation, self.cuts = config.spin, model, loader, validation, cuts
        self.is_rank_zero, self.history = distributed.rank() == 0, artifacts.history_in(folder)
        self.device = model.codebook.weight.device
        self.parameters = model.trainable_parameters()
        rates = {"lr": 0.0, "weight_decay": self.settings.weight_decay}
        self.optimizer = torch.optim.Adam(self.parameters.values(), **rates, fused=self.device.type == "cuda")
        if self.settings.compile:
            compile_encoder(model.encoder)
        self.monitor = Monitor(model.objective, config, folder, cuts.count)
        self.store = CheckpointStore(folder / "checkpoints") if self.is_rank_zero else None
        self.step, self.epoch, self.index = 0, 0, 0  # updates made, and the next batch
        self.state = distributed.broadcast(self.store.load_latest() if self.is_rank_zero else None)
        if self.state is not None:
            self._restore(*self.state)
        if self.is_rank_zero:
            self.monitor.writer = summary_writer(tensorboard, self.step + 1)  # points count the updates made

    def run(self) -> None:
        """Trains up to spin.max_steps.

        Raises TrainingError for a loss that is not finite or a collapsed codebook, and SystemExit (143 or 130) after SIGTERM or
        SIGINT, with a checkpoint saved.
        """
        settings, model, monitor = self.settings, self.model, self.monitor
        dtype = autocast_dtype(settings.precision, self.device)
        self._catch_up()
        if self.step == settings.max_steps:
            return
        model.train()
        if settings.precision == "bf16_frozen":
            model.run_frozen_in(dtype)
        batches = self.loader.batches(self.epoch, self.index)
        batches = progress(batches, "training", settings.max_steps, self.step) if self.is_rank_zero else batches
        with StopRequest() as stop:
            for batch in batches:
                step, done = self.step, self.step + 1
                validate_now = self._is_due(done, settings.valid_every_steps)
                save_now = validate_now or self._is_due(done, settings.checkpoint_every_steps)
                report_now = save_now or self._is_due(done, LOG_EVERY_STEPS)

                rate = self._set_learning_rate(step)
                self.optimizer.zero_grad(set_to_none=True)
                loss = grad_cache.backward(model, batch.micro_batches, dtype, with_sums=report_now)
                distributed.sum_gradients(self.parameters.values())
                norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), settings.gradient_clip)
                self.optimizer.step()
                model.objective.after_step()

                self.step, self.epoch, self.index = done, batch.epoch, batch.index + 1
                monitor.add(step, rate, loss, norm, batch)
                stopped = all_stop(stop, self.device, done)
                if report_now:
                    monitor.report(self.loader.waited)
                if save_now or stopped:
                    self._save()
                if stopped:
                    monitor.log.warning("stopped at step %d by a signal; a checkpoint is saved", done)
                    raise SystemExit(stop.status())
                if validate_now:
                    self._validate()
                if done == settings.max_steps:
                    return

    def _is_due(self, done: int, every: int) -> bool:
        return done % every == 0 or done == self.settings.max_steps

    def _set_learning_rate(self, step: int) -> float:
        rate = learning_rate(step, self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _save(self) -> None:
        """Saves a checkpoint, before any validation: whatever happens there, the updates are kept."""
        monitor = self.monitor.state()
        if not self.is_rank_zero:
            return
        self.monitor.writer.flush()  # a resumed run does not draw these points again
        trained = {name: parameter.detach() for name, parameter in self.parameters.items()}
        state = {"trained": trained, "optimizer": self.optimizer.state_dict(), "monitor": monitor}
        self.state = self.step, state | {"epoch": self.epoch, "index": self.index}
        self.store.save(*self.state)

    def _validate(self) -> None:
        """Validates the state saved last, and marks its checkpoint if it is the best."""
        if not self.is_rank_zero:
            return
        begun = time.monotonic()
        measured = self.validation.measure(self.model)
        self.monitor.report_validation(self.step, measured, time.monotonic() - begun)
        if measured["pnmi"] is not None:
            self.store.save(*self.state, measured["pnmi"])
        append_jsonl(self.history, {"step": self.step, "loss": self.monitor.loss, **measured})
        check_collapse(list(read_jsonl(self.history)), self.model.codebook_size)

    def _restore(self, step: int, state: dict) -> None:
        shapes = {name: parameter.shape for name, parameter in self.parameters.items()}
        if {name: value.shape for name, value in state["trained"].items()} != shapes:
            raise CheckpointError(
                f"checkpoint of step {step} in {self.history.parent}",
                found="other trained parameters",
                expected="those of this configuration",
                cause="a checkpoint that was copied from another training",
                remedy=rerun(2),
            )
        with torch.no_grad():
            for name, value in state["trained"].items():
                self.parameters[name].copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        self.monitor.restore(state["monitor"])
        self.step, self.epoch, self.index = step, state["epoch"], state["index"]
        if self.is_rank_zero:
            write_jsonl(self.history, [record for record in read_jsonl(self.history) if record["step"] <= step])
            get_logger("training").info("resuming from step %d of %d", step, self.settings.max_steps)

    def _catch_up(self) -> None:
        """Runs the validation that an interrupted run saved for but did not finish."""
        if not self.is_rank_zero or self.step == 0:
            return
        history = list(read_jsonl(self.history))
        if self._is_due(self.step, self.settings.valid_every_steps) and (not history or history[-1]["step"] != self.step):
            self._validate()
        else:
            check_collapse(history, self.model.codebook_size)


def compile_encoder(encoder: Encoder) -> None:
    """Compiles the convolutions and each layer in place: the encoder as a whole reads lengths, which would break the graph."""
    for module in (encoder.feature_extractor, *encoder.layers):
        module.compile(dynamic=True)


def learning_rate(step: int, settings: SpinConfig) -> float:
    """Linear warm-up from the lowest rate to the peak, then linear decay to the lowest (Spin paper, section 3.1).

    `step` counts the updates before this one. The peak is at warmup_steps, the lowest rate at the last update, max_steps - 1.
    """
    peak, warmup_steps = settings.learning_rate, settings.warmup_steps
    if peak <= 0:
        return 0.0
    floor = settings.min_learning_rate / peak
    if step < warmup_steps:
        return peak * (floor + (1 - floor) * step / warmup_steps)
    decay_steps = settings.max_steps - 1 - warmup_steps
    if decay_steps <= 0:
        return peak
    return peak * (1 - (1 - floor) * (step - warmup_steps) / decay_steps)


def all_stop(stop: StopRequest, device: torch.device, step: int) -> bool:
    """Whether all ranks stop after this step, because one of them got a signal; every rank asks after every step.

    Several GPUs agree every few steps: the answer waits for them, and torchrun gives them 30 s after a signal.
    """
    if distributed.world_size() == 1:
        return stop.signal is not None
    if device.type == "cuda" and step % AGREE_EVERY_STEPS:
        return False
    return bool(distributed.all_reduce_sum(torch.full((), float(stop.signal or 0), device=device)) > 0)
