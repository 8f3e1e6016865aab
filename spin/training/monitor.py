"""What a training tells about itself: log lines and TensorBoard curves, the check that every loss is finite, and validation.

Figures of updates stay on the device between two reports, so that the GPU never waits for them.
"""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import NamedTuple

import numpy as np
import torch
from lhotse import MonoCut
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.tensorboard import SummaryWriter

from spin import artifacts
from spin.config import Config
from spin.data.audio import UnreadableAudio, read_audio
from spin.data.cuts import count_cuts, read_cuts
from spin.data.loader import Batch
from spin.errors import TrainingError
from spin.objectives.model import SpinModel
from spin.objectives.spin import Loss, Spin, perplexity
from spin.runtime import distributed
from spin.runtime.logs import get_logger
from spin.runtime.rejects import Rejects
from spin.units.counts import JointCounts, pnmi
from spin.units.units import LABELS_PER_UNIT, alignment_of, frame_labels

LOG_EVERY_STEPS = 10
BATCH_CUTS = 4  # of a validation; they are of similar length
COLLAPSE_PATIENCE = 2  # validations in a row
MIN_PERPLEXITY_SHARE = 0.05  # of codebook_size


class _Step(NamedTuple):
    """One update; its tensors are on the device."""

    step: int  # from 0
    rate: float
    loss: Loss  # this rank's part
    gradient_norm: Tensor  # before clipping, over all ranks
    ids: Sequence[str]  # utterances of this rank's share


class Monitor:
    """Collects updates and reports them; the objective computes metrics from the sums of its losses."""

    def __init__(self, objective: Spin, config: Config, folder: Path, utterances: int):
        self.objective, self.config, self.folder = objective, config, folder
        self.utterances = utterances  # of the training set, for shares
        self.writer: SummaryWriter | None = None  # set on rank 0
        self.log = get_logger("training")
        self.loss: float | None = None  # mean over the steps of the last report
        self.unreadable: dict[str, str] = {}  # id -> reason for utterances whose audio cannot be read
        self._steps: list[_Step] = []
        self._restored: list[list[float]] = []  # loss and gradient norm of updates that an interrupted run had not reported
        self._seconds, self._since, self._waited = 0.0, time.monotonic(), 0.0

    def add(self, step: int, rate: float, loss: Loss, gradient_norm: Tensor, batch: Batch) -> None:
        """Records update number `step` (from 0) on a batch; raises DataError when too many utterances are unreadable."""
        self._steps.append(_Step(step, rate, loss, gradient_norm.detach(), batch.ids))
        self._seconds += batch.seconds
        for name, reason in batch.unreadable.items():
            if name not in self.unreadable:
                self.unreadable[name] = reason
                self.log.warning("%s is skipped: %s", name, reason)
                self.rejects().check_share(self.utterances, self.config.corpus.max_bad_share)

    def rejects(self) -> Rejects:
        """The utterances whose audio cannot be read."""
        rejects = Rejects(artifacts.rejects(self.folder, "train_spin"), stage=2)
        for name, reason in self.unreadable.items():
            rejects.add(name, ",".join(self.config.corpus.spin_train), reason)
        return rejects

    def state(self) -> dict:
        """State for a checkpoint; call it on all ranks together. A resumed run reports pending updates with its own.

        Raises TrainingError for a loss or gradient norm that is not finite, DataError when all ranks together met too many
        unreadable utterances.
        """
        for unreadable in distributed.gather_all(self.unreadable):
            self.unreadable = {**unreadable, **self.unreadable}
        self.rejects().check_share(self.utterances, self.config.corpus.max_bad_share)
        return {"pending": self._measure(), "loss": self.loss, "unreadable": self.unreadable}

    def restore(self, state: dict) -> None:
        """Takes over what `state` gave to a checkpoint."""
        self._restored, self.loss, self.unreadable = state["pending"], state["loss"], state["unreadable"]

    def report(self, waited: float) -> None:
        """Reads, checks and reports the updates since the last report; call it on all ranks together. For errors see `state`.

        `waited` is how many seconds the training has waited for data so far.
        """
        losses, norms = zip(*self._measure())
        self.loss = sum(losses) / len(losses)
        last = self._steps[-1]
        sums = {name: distributed.all_reduce_sum(value.clone()).cpu() for name, value in last.loss.sums.items()}
        metrics = {"loss": self.loss, "learning_rate": last.rate, "gradient_norm": sum(norms) / len(norms)}
        metrics |= self.objective.compute_metrics(sums)
        speed = self._measure_speed(waited)
        self._steps, self._restored = [], []
        if self.writer is None:
            return
        step = last.step + 1
        self._add_scalars("train", metrics, step)
        self._add_scalars("speed", speed, step)
        self._add_scalars("data", {"unreadable_utterances": len(self.unreadable)}, step)
        line = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in metrics.items())
        times = f"{speed['seconds_per_step']:.2f} s/step, waiting for data {speed['waiting_share']:.0%}"
        self.log.info("step %d/%d: %s, %s", step, self.config.spin.max_steps, line, times)

    def _add_scalars(self, group: str, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(f"{group}/{name}", float(value), step)

    def _measure(self) -> list[list[float]]:
        """Loss and gradient norm of every update since the last report."""
        if not self._steps:
            return self._restored
        losses = distributed.all_reduce_sum(torch.stack([step.loss.value for step in self._steps])).tolist()
        norms = torch.stack([step.gradient_norm for step in self._steps]).tolist()
        for step, loss, norm in zip(self._steps, losses, norms, strict=True):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                found = f"loss {loss}, gradient norm {norm}, at learning rate {step.rate:.3g}; utterances: {', '.join(step.ids)}"
                raise TrainingError(
                    f"training, step {step.step}",
                    found=found,
                    expected="finite numbers",
                    cause="a learning rate that is too high, an encoder with damaged weights, or a damaged recording among these",
                    remedy=f"check these recordings, or --set spin.learning_rate={self.config.spin.learning_rate / 2:g}",
                )
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


class Validation:
    """The cuts of stage 0 that a training is validated on; their audio is read in each validation."""

    def __init__(self, cuts: Iterable[MonoCut]):
        self.cuts = sorted(cuts, key=lambda cut: (cut.duration, cut.id))
        self.log = get_logger("validation")
        if self.cuts and not any(alignment_of(cut) is not None for cut in self.cuts):
            self.log.warning("the valid parts have no phone alignment: PNMI is not measured")

    def measure(self, model: SpinModel) -> dict[str, float | None]:
        """Figures of the model's units."""
        codes = np.zeros(model.codebook_size, dtype=np.int64)
        joint = JointCounts(model.codebook_size)
        for cut, units in self._units(model):
            codes += np.bincount(units, minlength=model.codebook_size)
            items = alignment_of(cut)
            if items is not None:
                joint.add(frame_labels(items, LABELS_PER_UNIT * len(units)), units)
        value = pnmi(joint.matrix())
        return {
            "pnmi": None if math.isnan(value) else value,  # 0 to 1; None without alignments
            "perplexity": perplexity(torch.from_numpy(codes)) if codes.any() else None,  # of the codes, 1 to K
            "codes_used": float((codes > 0).sum()),
        }

    def _units(self, model: SpinModel) -> Iterator[tuple[MonoCut, np.ndarray]]:
        device = model.codebook.weight.device
        for start in range(0, len(self.cuts), BATCH_CUTS):
            batch = list(self._read(self.cuts[start : start + BATCH_CUTS]))
            if not batch:
                continue
            cuts, waveforms = zip(*batch)
            lengths = torch.tensor([len(waveform) for waveform in waveforms])
            with torch.compiler.set_stance("force_eager"):  # compiled for batches of training, which are few in shape
                units = model.units(pad_sequence(waveforms, batch_first=True).to(device), lengths)
            yield from zip(cuts, (row.cpu().numpy() for row in units), strict=True)

    def _read(self, cuts: Sequence[MonoCut]) -> Iterator[tuple[MonoCut, Tensor]]:
        for cut in cuts:
            try:
                yield cut, torch.from_numpy(read_audio(cut))
            except UnreadableAudio as error:
                self.log.warning("%s is skipped: %s", cut.id, error)


def choose_cuts(manifests: Sequence[Path], count: int, min_duration_in_s: float = 0.0) -> list[MonoCut]:
    """At most `count` cuts, evenly spaced over the manifests, without those shorter than `min_duration_in_s`."""
    total = sum(count_cuts(path) for path in manifests)
    chosen = set(np.linspace(0, total - 1, min(total, count)).round().astype(int).tolist())
    cuts = (cut for path in manifests for cut in read_cuts(path))
    return [cut for index, cut in enumerate(cuts) if index in chosen and cut.duration >= min_duration_in_s]


def check_collapse(history: Sequence[dict], codebook_size: int) -> None:
    """Raises TrainingError when the perplexity was too low in the last COLLAPSE_PATIENCE records of `history`, oldest first."""
    least = MIN_PERPLEXITY_SHARE * codebook_size
    latest = [record["perplexity"] for record in history[-COLLAPSE_PATIENCE:]]
    if len(latest) < COLLAPSE_PATIENCE or any(value is None or value >= least for value in latest):
        return
    raise TrainingError(
        f"training, step {history[-1]['step']}: the codebook has collapsed",
        found=f"code perplexity {latest[-1]:.2f}, below {least:.2f} in {COLLAPSE_PATIENCE} validations in a row",
        expected=f"at least {least:.2f}, {MIN_PERPLEXITY_SHARE:.0%} of spin.codebook_size",
        cause="a learning rate that is too high, or batches with too few frames for the codebook",
        remedy="rerun with a lower spin.learning_rate, a longer spin.warmup_steps or a larger spin.batch_seconds",
    )
