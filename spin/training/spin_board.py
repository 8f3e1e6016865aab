"""What a Spin training says about itself: log lines, TensorBoard curves, and the check that every number is one.

Figures stay on the device between log lines, so that the GPU never waits to be looked at.
"""

from __future__ import annotations

import math
import resource
import time

import torch
from torch.utils.tensorboard import SummaryWriter

from spin.config import SpinConfig
from spin.data.pairs import PairBatch
from spin.errors import DataError, TrainingError
from spin.runtime.logs import get_logger
from spin.training import ranks
from spin.training.spin_update import Update
from spin.training.swapped_prediction import summary

NAMED = 5  # utterances named in a log line


class Monitor:
    """Collects updates and reports them every `log_every_steps`.

    Args:
        writer: TensorBoard; None on ranks above 0.
        settings: config.spin.
        utterances: of the whole training set, for shares.
        max_bad_share: more unreadable utterances than this share of all stop the training.
    """

    def __init__(self, writer: SummaryWriter | None, settings: SpinConfig, utterances: int, max_bad_share: float):
        self.writer, self.settings, self.utterances, self.max_bad_share = writer, settings, utterances, max_bad_share
        self.log = get_logger("spin_training")
        self.unchanged: set[str] = set()
        self.unreadable: dict[str, str] = {}
        self.loss: float | None = None  # mean over the steps of the last report
        self._updates: list[tuple[int, Update, list[str]]] = []
        self._carried: list[list[float]] = []  # loss and gradient norm of updates that a run before this one had not yet reported
        self._seconds, self._since, self._waited = 0.0, time.monotonic(), 0.0

    def add(self, step: int, update: Update, batch: PairBatch) -> None:
        """Takes note of update number `step` (from 0)."""
        self._updates.append((step, update, batch.ids))
        self._seconds += batch.seconds
        self._name(batch)

    def _name(self, batch: PairBatch) -> None:
        new = [name for name in batch.unchanged if name not in self.unchanged]
        self.unchanged.update(new)
        if new and len(self.unchanged) - len(new) < NAMED:
            self.log.warning("no voiced frame, second view is equalised only: %s", ", ".join(new[:NAMED]))
        for name, reason in batch.unreadable:
            if name not in self.unreadable:
                self.unreadable[name] = reason
                self.log.warning("%s cannot be read and is left out: %s", name, reason)
        self._check_share()

    def share_names(self) -> None:
        """Makes the utterances that any rank has named known to all of them.

        Raises:
            DataError: all ranks together have met too many unreadable ones.
        """
        for unchanged, unreadable in ranks.from_all((sorted(self.unchanged), self.unreadable)):
            self.unchanged.update(unchanged)
            self.unreadable = {**unreadable, **self.unreadable}
        self._check_share()

    def _check_share(self) -> None:
        if len(self.unreadable) > self.max_bad_share * self.utterances:
            raise DataError(
                "Spin training data",
                found=f"{len(self.unreadable)} unreadable of {self.utterances} utterances, first {next(iter(self.unreadable))}",
                expected=f"a share of at most {self.max_bad_share:g} (corpus.max_bad_share)",
                remedy="mend or remove the files, run stage 0 again",
            )

    def drain(self, waited: float) -> None:
        """Reads what has been collected, checks it, and reports it.

        Args:
            waited: seconds that the training has waited for data so far.

        Raises:
            TrainingError: a loss or gradient that is not a finite number; names the step and the utterances of its batch.
        """
        if not self._updates:
            return
        losses, norms = zip(*self._measured())
        self.loss = sum(losses) / len(losses)
        figures = self._figures(norms, waited)
        self._report(self._updates[-1][0] + 1, figures)
        self._updates, self._carried = [], []

    def _measured(self) -> list[list[float]]:
        """Loss and gradient norm of every update since the last report; TrainingError where they are no numbers."""
        if not self._updates:
            return self._carried
        losses = ranks.total(torch.stack([update.loss for _, update, _ in self._updates])).tolist()
        norms = torch.stack([update.gradient_norm for _, update, _ in self._updates]).tolist()
        for (step, update, ids), loss, norm in zip(self._updates, losses, norms, strict=True):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise _not_a_number(step, update.rate, loss, norm, ids)
        return self._carried + [list(pair) for pair in zip(losses, norms)]

    def pending(self) -> torch.Tensor:
        """(n, 2) float64: what is not reported yet, for a checkpoint; a run that goes on reports it with its own.

        Raises:
            TrainingError: as drain.
        """
        return torch.tensor(self._measured(), dtype=torch.float64).reshape(-1, 2)

    def carry(self, pending: torch.Tensor | None) -> None:
        """Takes over what pending() gave to the checkpoint that the training goes on from."""
        self._carried = [] if pending is None else pending.tolist()

    def _figures(self, norms: tuple[float, ...], waited: float) -> dict[str, float]:
        last = self._updates[-1][1]
        figures = {
            "train/loss": self.loss,
            "train/learning_rate": last.rate,
            "train/gradient_norm": sum(norms) / len(norms),
        }
        if last.statistics is not None:
            statistics = ranks.total(last.statistics.clone())
            figures |= {f"train/{name}": value for name, value in summary(statistics.cpu()).items()}
        now = time.monotonic()
        spent = max(now - self._since, 1e-9)
        device = last.loss.device
        seconds = float(ranks.total(torch.tensor(self._seconds, device=device)))
        figures["speed/audio_hours_per_second"] = seconds / 3600 / spent
        figures["speed/waiting_share"] = (waited - self._waited) / spent
        figures["speed/seconds_per_step"] = spent / len(self._updates)
        figures["speed/memory_in_gb"] = memory_in_gb(device)
        figures["data/unvoiced_utterances"] = float(len(self.unchanged))
        figures["data/unreadable_utterances"] = float(len(self.unreadable))
        self._seconds, self._since, self._waited = 0.0, now, waited
        return figures

    def _report(self, step: int, figures: dict[str, float]) -> None:
        if self.writer is None:
            return
        for name, value in figures.items():
            self.writer.add_scalar(name, value, step)
        line = {name.split("/")[1]: value for name, value in figures.items()}
        self.log.info(
            "step %d/%d: loss %.3f, lr %.2e, gradient norm %.2f, agreement %.3f, codes %.1f of %d, %.2f s/step, waiting %.0f %%",
            step,
            self.settings.max_steps,
            line["loss"],
            line["learning_rate"],
            line["gradient_norm"],
            line.get("agreement", math.nan),
            line.get("code_perplexity", math.nan),
            self.settings.codebook_size,
            line["seconds_per_step"],
            100 * line["waiting_share"],
        )

    def validated(self, step: int, measured: dict[str, float | None], seconds: float) -> None:
        """Reports a validation; its time is not the training's."""
        self._since += seconds
        shown = {name: value for name, value in measured.items() if value is not None}
        self.log.info("step %d: valid %s", step, ", ".join(f"{name} {value:.3f}" for name, value in shown.items()))
        if self.writer is not None:
            for name, value in shown.items():
                self.writer.add_scalar(f"valid/{name}", value, step)

    def flush(self) -> None:
        """Writes what TensorBoard holds in memory."""
        if self.writer is not None:
            self.writer.flush()


def memory_in_gb(device: torch.device) -> float:
    """The most memory used so far: of the GPU, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _not_a_number(step: int, rate: float, loss: float, norm: float, ids: list[str]) -> TrainingError:
    return TrainingError(
        f"Spin training, step {step}",
        found=f"loss {loss}, gradient norm {norm}, at learning rate {rate:.3g}; utterances: {', '.join(ids)}",
        expected="finite numbers",
        cause="a learning rate that is too high, an encoder with damaged weights, or a damaged recording among these",
        remedy="lower spin.learning_rate or raise spin.warmup_steps; the same command goes on from the last good checkpoint",
    )
