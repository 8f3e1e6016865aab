"""The Spin training loop. Interrupted anywhere and started again it ends with the same weights, on the CPU to the last bit."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from spin import artifacts
from spin.config import Config
from spin.data.pair_cuts import PairCuts
from spin.data.pair_loader import PairLoader
from spin.data.pair_sampler import PairSampler
from spin.data.pairs import PairDataset, Perturb
from spin.errors import CheckpointError
from spin.models.spin_model import SpinModel
from spin.runtime.checkpoints import CheckpointStore
from spin.runtime.files import append_jsonl, read_jsonl, write_jsonl
from spin.runtime.logs import board, get_logger
from spin.training import ranks
from spin.training.spin_board import Monitor
from spin.training.spin_update import Updater
from spin.training.spin_validation import CollapseWatch, Validation
from spin.training.stop import StopRequest


@dataclass
class Progress:
    """Where a training stands: updates made, and the next batch."""

    step: int = 0
    epoch: int = 0
    index: int = 0


class SpinTraining:
    """A training in exp/<name>/spin.

    Args:
        config: the whole configuration.
        exp: the experiment's folder.
        tensorboard: folder of the event files.
        model: on its device, set_trainable done; trained in place.
        cuts: the training utterances.
        perturb: makes the second view.
        validation: looked at every spin.valid_every_steps by rank 0.
    """

    def __init__(
        self,
        config: Config,
        exp: Path,
        tensorboard: Path,
        model: SpinModel,
        cuts: PairCuts,
        perturb: Perturb,
        validation: Validation,
    ):
        self.config, self.settings, self.exp = config, config.spin, exp
        self.cuts, self.perturb, self.validation = cuts, perturb, validation
        self.updater = Updater(model, config.spin, config.encoder.official_padding)
        self.leads = ranks.rank() == 0
        self.store = CheckpointStore(artifacts.spin_folder(exp) / "checkpoints") if self.leads else None
        self.progress = Progress()
        self.watch = CollapseWatch(
            self.settings.codebook_size, self.settings.min_perplexity_share, self.settings.collapse_patience
        )
        found = self._resume()
        writer = board(tensorboard, self.progress.step + 1) if self.leads else None  # points count the updates made
        self.monitor = Monitor(writer, self.settings, cuts.count, config.corpus.max_bad_share)
        self.monitor.carry(found.get("pending"))
        self.monitor.unchanged.update(found.get("unchanged", []))
        self.monitor.unreadable.update(found.get("unreadable", {}))

    def run(self) -> None:
        """Trains up to spin.max_steps.

        Raises:
            TrainingError: not a number, or a collapsed codebook.
            SystemExit: 143 or 130 after SIGTERM or SIGINT, with a checkpoint written.
        """
        settings, progress, monitor = self.settings, self.progress, self.monitor
        self.updater.model.train()
        if progress.step >= settings.max_steps:
            return
        loader = self._loader()
        with StopRequest() as stop:
            for batch in loader:
                step = progress.step
                ends = step + 1 == settings.max_steps
                validates = ends or (step + 1) % settings.valid_every_steps == 0
                saves = validates or (step + 1) % settings.checkpoint_every_steps == 0
                logs = saves or (step + 1) % settings.log_every_steps == 0
                monitor.add(step, self.updater.update(batch.parts, step, with_statistics=logs), batch)
                self.progress = progress = Progress(step + 1, batch.epoch, batch.index + 1)
                stops = stop.asked(progress.step, self.updater.device, settings.log_every_steps)
                if logs:
                    monitor.drain(loader.waited)  # before a checkpoint: it never holds what is not a number
                score = self._validate() if validates else None
                if saves or stops:
                    self._save(score)
                if stops:
                    get_logger("spin_training").warning("stopped at step %d by signal; a checkpoint is written", progress.step)
                    raise SystemExit(stop.status())
                if ends:
                    break

    def _loader(self) -> PairLoader:
        sampler = PairSampler(
            self.cuts,
            self.settings.batch_seconds,
            self.config.seed,
            parts=self.settings.accumulation,
            rank=ranks.rank(),
            world_size=ranks.world_size(),
            epoch=self.progress.epoch,
            index=self.progress.index,
        )
        return PairLoader(PairDataset(self.perturb), sampler, self.settings.workers, self.updater.device)

    def _validate(self) -> float | None:
        if not self.leads:
            return None
        begun = time.monotonic()
        measured = self.validation.measure(self.updater.model)
        self.monitor.validated(self.progress.step, measured, time.monotonic() - begun)
        record = {"step": self.progress.step, "loss": self.monitor.loss, **measured}
        append_jsonl(artifacts.spin_history(self.exp), record)
        self.watch.look(self.progress.step, measured["perplexity"])
        return measured["pnmi"]

    def _save(self, score: float | None) -> None:
        self.monitor.share_names()
        pending = self.monitor.pending()
        if not self.leads:
            return
        self.monitor.flush()  # a kill after this point must not lose curves that will not be drawn again
        weights = dict(self.updater.model.named_parameters())
        state = {
            "trained": {name: weights[name].detach() for name in self.updater.names},
            "optimiser": self.updater.optimiser.state_dict(),
            "epoch": self.progress.epoch,
            "index": self.progress.index,
            "low": self.watch.low,
            "pending": pending,
            "unchanged": sorted(self.monitor.unchanged),
            "unreadable": self.monitor.unreadable,
        }
        self.store.save(self.progress.step, state, score)

    def _resume(self) -> dict:
        found = ranks.from_first(self.store.load_latest() if self.leads else None)
        if found is None:
            return {}
        step, state = found
        weights = dict(self.updater.model.named_parameters())
        shapes = {name: weights[name].shape for name in self.updater.names}
        if {name: value.shape for name, value in state["trained"].items()} != shapes:  # copy_ would stretch what is too small
            raise CheckpointError(
                str(artifacts.spin_folder(self.exp)),
                found="a checkpoint with other trained parameters",
                cause="another encoder or spin.trainable_layers",
                remedy="run the stage with --force",
            )
        with torch.no_grad():
            for name, value in state["trained"].items():
                weights[name].copy_(value)
        self.updater.optimiser.load_state_dict(state["optimiser"])
        self.progress = Progress(step, state["epoch"], state["index"])
        self.watch.low = state["low"]
        if self.leads:
            history = artifacts.spin_history(self.exp)
            write_jsonl(history, [record for record in read_jsonl(history) if record["step"] <= step])
            get_logger("spin_training").info("going on from step %d of %d", step, self.settings.max_steps)
        return state
