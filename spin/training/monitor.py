"""Log lines and TensorBoard curves of a training, and the check that every loss is finite.

Figures stay on the device between two reports, so that the GPU never waits for them.
"""

import math
import time
from resource import RUSAGE_SELF, getrusage
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from spin.config import Config
from spin.data.loader import Batch
from spin.errors import DataError, TrainingError
from spin.objectives.spin import Loss, Spin
from spin.runtime import distributed
from spin.runtime.logs import get_logger

LOG_EVERY_STEPS = 10
NAMED = 5  # utterances named in a log line


class _Step(NamedTuple):
    """One update; its tensors are on the device."""

    step: int  # from 0
    rate: float
    loss: Tensor  # this rank's part
    sums: dict[str, Tensor]
    gradient_norm: Tensor  # before clipping, over all ranks
    ids: list[str]  # utterances of this rank's share


class Monitor:
    """Collects updates and reports them every LOG_EVERY_STEPS.

    Args:
        writer: TensorBoard; None on ranks above 0.
        objective: computes metrics from the sums of its losses.
        utterances: number of utterances of the training set, for shares.
    """

    def __init__(self, writer: SummaryWriter | None, objective: Spin, config: Config, utterances: int):
        self.writer, self.objective, self.settings = writer, objective, config.spin
        self.utterances, self.max_bad_share = utterances, config.corpus.max_bad_share
        self.log = get_logger("training")
        self.loss: float | None = None  # mean over the steps of the last report
        self.unchanged: set[str] = set()  # ids of utterances without a voiced frame, whose perturbed view is only equalised
        self.unreadable: dict[str, str] = {}  # id -> reason for utterances whose audio cannot be read
        self._steps: list[_Step] = []
        self._restored: list[list[float]] = []  # loss and gradient norm of updates that an interrupted run had not reported
        self._seconds, self._since, self._waited = 0.0, time.monotonic(), 0.0

    def add(self, step: int, rate: float, loss: Loss, gradient_norm: Tensor, batch: Batch) -> None:
        """Records update number `step` (from 0) on a batch; raises DataError when too many utterances are unreadable."""
        self._steps.append(_Step(step, rate, loss.value.detach(), loss.sums, gradient_norm.detach(), batch.ids))
        self._seconds += batch.seconds
        new = [name for name in batch.unchanged if name not in self.unchanged]
        self.unchanged.update(new)
        if new and len(self.unchanged) - len(new) < NAMED:
            self.log.warning("no voiced frames; only the equaliser is applied to: %s", ", ".join(new[:NAMED]))
        for name, reason in batch.unreadable:
            if name not in self.unreadable:
                self.unreadable[name] = reason
                self.log.warning("%s is skipped: %s", name, reason)
        self._check_share()

    def _check_share(self) -> None:
        if len(self.unreadable) > self.max_bad_share * self.utterances:
            raise DataError(
                "training data",
                found=f"{len(self.unreadable)} unreadable of {self.utterances} utterances, first {next(iter(self.unreadable))}",
                expected=f"a share of at most {self.max_bad_share:g} (corpus.max_bad_share)",
                cause="recordings that were moved or damaged after stage 0; the log names each",
                remedy="fix or remove the files, then ./run.sh --stage 0 --stop-stage 2; or accept more of them: "
                f"--set corpus.max_bad_share={min(1.0, 2 * len(self.unreadable) / self.utterances):.2g}",
            )

    def state(self) -> dict:
        """State for a checkpoint; call it on all ranks together. A resumed run reports pending updates with its own.

        Raises:
            TrainingError: a loss or gradient norm is not finite.
            DataError: all ranks together met too many unreadable utterances.
        """
        for unchanged, unreadable in distributed.gather_all((sorted(self.unchanged), self.unreadable)):
            self.unchanged.update(unchanged)
            self.unreadable = {**unreadable, **self.unreadable}
        self._check_share()
        state = {"pending": self._measure(), "loss": self.loss}
        return state | {"unchanged": sorted(self.unchanged), "unreadable": self.unreadable}

    def restore(self, state: dict) -> None:
        """Takes over what `state` gave to a checkpoint."""
        self._restored, self.loss = state["pending"], state["loss"]
        self.unchanged, self.unreadable = set(state["unchanged"]), dict(state["unreadable"])

    def report(self, waited: float) -> None:
        """Reads, checks and reports the updates since the last report; call it on all ranks together.

        Args:
            waited: seconds that the training has waited for data so far.

        Raises:
            TrainingError: a loss or gradient norm is not finite; names the step and the utterances of its batch.
        """
        losses, norms = zip(*self._measure())
        self.loss = sum(losses) / len(losses)
        last = self._steps[-1]
        sums = {name: distributed.all_reduce_sum(value.clone()).cpu() for name, value in last.sums.items()}
        metrics = {"loss": self.loss, "learning_rate": last.rate, "gradient_norm": sum(norms) / len(norms)}
        metrics |= self.objective.compute_metrics(sums)
        speed = self._measure_speed(waited)
        self._steps, self._restored = [], []
        if self.writer is None:
            return
        step = last.step + 1
        self._add_scalars("train", metrics, step)
        self._add_scalars("speed", speed, step)
        self._add_scalars(
            "data", {"unvoiced_utterances": len(self.unchanged), "unreadable_utterances": len(self.unreadable)}, step
        )
        line = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in metrics.items())
        times = f"{speed['seconds_per_step']:.2f} s/step, waiting for data {speed['waiting_share']:.0%}"
        self.log.info("step %d/%d: %s, %s", step, self.settings.max_steps, line, times)

    def _add_scalars(self, group: str, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(f"{group}/{name}", float(value), step)

    def _measure(self) -> list[list[float]]:
        """Loss and gradient norm of every update since the last report."""
        if not self._steps:
            return self._restored
        losses = distributed.all_reduce_sum(torch.stack([step.loss for step in self._steps])).tolist()
        norms = torch.stack([step.gradient_norm for step in self._steps]).tolist()
        for step, loss, norm in zip(self._steps, losses, norms, strict=True):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise _not_finite(step, loss, norm, self.settings.learning_rate)
        return self._restored + [list(pair) for pair in zip(losses, norms)]

    def _measure_speed(self, waited: float) -> dict[str, float]:
        now, device = time.monotonic(), self._steps[-1].gradient_norm.device
        spent = max(now - self._since, 1e-9)
        seconds = float(distributed.all_reduce_sum(torch.tensor(self._seconds, device=device)))
        on_gpu = device.type == "cuda"  # the most used so far: of the GPU, otherwise of this process
        memory = torch.cuda.max_memory_allocated(device) if on_gpu else getrusage(RUSAGE_SELF).ru_maxrss * 1024
        speed = {
            "audio_hours_per_second": seconds / 3600 / spent,
            "waiting_share": (waited - self._waited) / spent,
            "seconds_per_step": spent / len(self._steps),
            "memory_in_gb": memory / 1e9,
        }
        self._seconds, self._since, self._waited = 0.0, now, waited
        return speed

    def report_validation(self, step: int, measured: dict[str, float | None], seconds: float) -> None:
        """Reports a validation on rank 0; its time does not count as the training's."""
        self._since += seconds
        measured = {name: value for name, value in measured.items() if value is not None}
        self.log.info("step %d: valid %s", step, ", ".join(f"{name} {value:.3f}" for name, value in measured.items()))
        self._add_scalars("valid", measured, step)


def _not_finite(step: _Step, loss: float, norm: float, peak: float) -> TrainingError:
    return TrainingError(
        f"training, step {step.step}",
        found=f"loss {loss}, gradient norm {norm}, at learning rate {step.rate:.3g}; utterances: {', '.join(step.ids)}",
        expected="finite numbers",
        cause="a learning rate that is too high, an encoder with damaged weights, or a damaged recording among these",
        remedy=f"check these recordings, or --set spin.learning_rate={peak / 2:g}",
    )
