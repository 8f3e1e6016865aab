"""Log lines with time stamps, log files, progress bars, and TensorBoard writers."""

import datetime
import logging
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

EVENTS = "events.out.tfevents."
FORMAT = logging.Formatter("%(asctime)s %(levelname)s [%(name)s] %(message)s", datefmt="%Y-%m-%d %H:%M:%S")


def get_logger(name: str) -> logging.Logger:
    """The logger of a stage or module below 'spin', which writes to standard output with date and time."""
    root = logging.getLogger("spin")
    if not root.handlers:
        if hasattr(sys.stdout, "reconfigure"):  # file names may hold bytes that the terminal cannot show
            sys.stdout.reconfigure(errors="backslashreplace")
        _add(logging.StreamHandler(sys.stdout))
        root.setLevel(logging.INFO)
        root.propagate = False
    return root if name == "spin" else root.getChild(name.removeprefix("spin."))


def _add(handler: logging.Handler) -> None:
    """Adds a handler until it cannot write: a closed pipe (run.sh | head) or a full disk must not show tracebacks."""
    root = logging.getLogger("spin")
    handler.setFormatter(FORMAT)
    handler.handleError = lambda record: root.removeHandler(handler)
    root.addHandler(handler)


def keep_log(folder: Path, name: str) -> None:
    """Also writes every line to <folder>/<name>.<date>-<time>.log; runs of the same second share a file."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    _add(logging.FileHandler(folder / f"{name}.{stamp}.log", encoding="utf-8", errors="backslashreplace"))


def progress(items: Iterable, description: str, total: int | None = None, initial: int = 0) -> Iterator:
    """The items, with a bar on standard error while that is a terminal; `initial` were finished by an interrupted run."""
    if sys.stderr.isatty():
        from tqdm import tqdm  # the road from Python (hubconf.py) needs no bars

        items = tqdm(items, desc=description, total=total, initial=initial, leave=False, dynamic_ncols=True)
    yield from items  # closing this generator closes `items`, and ends its workers


def summary_writer(folder: str | Path, start_step: int = 0):
    """A SummaryWriter that survives a resume without doubled points.

    TensorBoard drops points at or after `start_step` that an interrupted run wrote (purge_step). At 0 the folder is emptied.
    """
    from torch.utils.tensorboard import SummaryWriter

    for number, path in enumerate(sorted(Path(folder).glob(f"{EVENTS}*"))):
        if start_step:
            # TensorBoard reads files in the order of their names, which begin with the second of their start. Earlier files get
            # numbers, which come first whatever the clock says: after a restart within that second, or with a clock set back.
            path.rename(path.with_name(f"{EVENTS}{number:010d}.{path.name.removeprefix(EVENTS).partition('.')[2]}"))
        else:
            path.unlink()
    return SummaryWriter(log_dir=str(folder), purge_step=start_step or None, flush_secs=10)
