"""Log lines with time stamps, and TensorBoard event files that survive a resume without doubled points."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

FORMAT = "%(asctime)s %(levelname)s [%(name)s] %(message)s"


def get_logger(name: str) -> logging.Logger:
    """The logger of a stage or module below 'spin'; its lines go to standard output with date and time."""
    root = logging.getLogger("spin")
    if not root.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter(FORMAT, datefmt="%Y-%m-%d %H:%M:%S"))
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        root.propagate = False
    return root if name == "spin" else root.getChild(name.removeprefix("spin."))


def board(folder: str | Path, start_step: int = 0):
    """A SummaryWriter; points at or after `start_step` from a run that was killed are dropped by TensorBoard (purge_step)."""
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(log_dir=str(folder), purge_step=start_step or None, flush_secs=10)
