"""The context of a stage: everything its work is given."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

from spin import artifacts
from spin.config import Config


@dataclass(frozen=True)
class Context:
    """One run of one stage."""

    config: Config
    exp: Path  # folder of the experiment
    corpus: Path  # folder of the corpus' manifests
    stage: int
    log: logging.Logger
    command: str = ""  # rebuilds the whole report; the same for any folder, number of processes and choice of stages
    force: str | None = None  # identity of the rebuild that --force asked for
    checked: set[Path] = field(default_factory=set, compare=False)  # products of earlier stages that were found up to date

    @property
    def tensorboard(self) -> Path:
        """Folder of the stage's event files."""
        return artifacts.tensorboard(self.exp, self.stage)
