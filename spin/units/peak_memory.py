"""How much memory a piece of work takes at most, measured in a process of its own."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import resource
import sys
from collections.abc import Callable
from pathlib import Path

MIB = 2**20
STATUS = Path("/proc/self/status")


def peak_memory_in_mib() -> float:
    """The most memory that this process has held so far, its program included."""
    # getrusage keeps the peak of the process that started this one, from before its own program was loaded; VmHWM does not.
    if STATUS.is_file():
        found = [line for line in STATUS.read_text(encoding="ascii", errors="replace").splitlines() if line.startswith("VmHWM:")]
        if found:
            return int(found[0].split()[1]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB


def measured(function: Callable[..., dict], *arguments) -> dict:
    """function(*arguments) in a fresh process -> its result, with the key `peak_memory_in_mib` of that process added.

    Args:
        function: importable (top-level), as are its arguments picklable.

    Raises:
        What function raises; BrokenProcessPool where the process was killed.
    """
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_run, function, arguments).result()


def _run(function: Callable[..., dict], arguments: tuple) -> dict:
    result = function(*arguments)
    return result | {"peak_memory_in_mib": peak_memory_in_mib()}


def compared(runs: list[dict], fixed: dict) -> dict:
    """One record of several runs of growing size: `fixed` first, then a list for each key.

    `ratio` is the peak memory of the last over that of the first: 1 where memory does not grow.
    """
    record = {"ratio": runs[-1]["peak_memory_in_mib"] / runs[0]["peak_memory_in_mib"], **fixed}
    return record | {key: [run[key] for run in runs] for key in runs[0]}
