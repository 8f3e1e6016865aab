"""The context of a stage: everything its work is given."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from spin import artifacts
from spin.config import Config


@dataclass(frozen=True)
class Context:
    """One run of one stage.

    Attributes:
        config: the whole configuration.
        exp, corpus: folders of the experiment and of the corpus' manifests.
        stage: number of the stage.
        log: logger of the stage.
        command: rebuilds the whole report; the same for any folder, number of processes and choice of stages.
        force: identity of the rebuild that --force asked for; None without --force.
        checked: products of earlier stages that were found up to date, so that each is checked once.
    """

    config: Config
    exp: Path
    corpus: Path
    stage: int
    log: logging.Logger
    command: str = ""
    force: str | None = None
    checked: set[Path] = field(default_factory=set, compare=False)

    @property
    def tensorboard(self) -> Path:
        """Folder of the stage's event files."""
        return artifacts.tensorboard(self.exp, self.stage)
