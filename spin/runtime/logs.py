"""Log lines with time stamps, and TensorBoard event files that survive a resume without doubled points."""

from __future__ import annotations

import datetime
import itertools
import logging
import os
import re
import sys
from pathlib import Path

FORMAT = logging.Formatter("%(asctime)s %(levelname)s [%(name)s] %(message)s", datefmt="%Y-%m-%d %H:%M:%S")

EVENTS = "events.out.tfevents."
_STAMP = re.compile(re.escape(EVENTS) + r"(\d+)")


class _Spoken(logging.StreamHandler):
    """Standard output; a reader that has gone away (run.sh | head) does not end a run of days, nor fill it with tracebacks."""

    def handleError(self, record: logging.LogRecord) -> None:
        logging.getLogger("spin").removeHandler(self)


class _Kept(logging.FileHandler):
    """A log file; where it cannot be written any more (a full disk) it is given up with one line."""

    def handleError(self, record: logging.LogRecord) -> None:
        logging.getLogger("spin").removeHandler(self)
        logging.getLogger("spin").warning("the log %s cannot be written: %s", self.baseFilename, sys.exc_info()[1])


def get_logger(name: str) -> logging.Logger:
    """The logger of a stage or module below 'spin'; its lines go to standard output with date and time."""
    root = logging.getLogger("spin")
    if not root.handlers:
        if hasattr(sys.stdout, "reconfigure"):  # names of files may hold what this terminal, or UTF-8, cannot show
            sys.stdout.reconfigure(errors="backslashreplace")
        handler = _Spoken(sys.stdout)
        handler.setFormatter(FORMAT)
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        root.propagate = False
    return root if name == "spin" else root.getChild(name.removeprefix("spin."))


def keep_log(folder: Path, name: str) -> None:
    """Also writes every line to <folder>/<name>.<date>-<time>.log; a run never writes to the file of another."""
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    folder.mkdir(parents=True, exist_ok=True)
    numbers = itertools.count(2)
    path = folder / f"{name}.{stamp}.log"
    while path.exists():
        path = folder / f"{name}.{stamp}-{next(numbers)}.log"
    handler = _Kept(path, mode="x", encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(FORMAT)
    logging.getLogger("spin").addHandler(handler)


def board(folder: str | Path, start_step: int = 0):
    """A SummaryWriter; its file is the last of the folder in TensorBoard's order, whatever the clock says.

    Points at or after `start_step` from a run that was killed are dropped by TensorBoard (purge_step); at 0, where everything is
    drawn anew, what lies in the folder is removed.
    """
    from torch.utils.tensorboard import SummaryWriter

    earlier = list(Path(folder).glob(EVENTS + "*"))
    if not start_step:
        for path in earlier:
            path.unlink(missing_ok=True)
        earlier = []
    writer = SummaryWriter(log_dir=str(folder), purge_step=start_step or None, flush_secs=10)
    _place_last(writer, earlier)
    return writer


def _place_last(writer, earlier: list[Path]) -> None:
    """Gives the writer's file a stamp above those of earlier files, which a clock set back, or a start in the same second, lacks.

    TensorBoard reads the files of a folder in the order of their names, which begin with the second of their start. What a resume
    makes invalid it drops from what it has read so far, so that a file out of order loses its own points and keeps the others'.
    """
    stamps = [int(match[1]) for match in (_STAMP.match(path.name) for path in earlier) if match]
    events = writer.file_writer.event_writer
    path = Path(events._file_name)  # noqa: SLF001 - there is no public name for it
    match = _STAMP.match(path.name)
    if not stamps or int(match[1]) > max(stamps):
        return
    writer.flush()  # from here until the next point nobody writes
    later = path.with_name(f"{EVENTS}{max(stamps) + 1:010d}{path.name[match.end() :]}")
    path.rename(later)
    stream = events._general_file_writer  # noqa: SLF001 - tensorboard's own opens the file by its name at every write
    events._file_name = str(later)  # noqa: SLF001
    if hasattr(stream, "filename"):  # TensorFlow's, where that is installed, keeps it open
        stream.filename = os.fsencode(later)
