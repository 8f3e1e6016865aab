"""A process of its own that ends a stage which cannot end itself: compiled code may keep Python's lock for minutes.

While k2 composes a graph, no line of Python runs, no handler of signals and no timer either. Only the part of a handler that is C
runs: it writes the signal's number into a pipe (signal.set_wakeup_fd). At the pipe's other end this waits, beside the stage.
Run by path, as it needs nothing of this package: watchdog.py PIPE PID SECONDS
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

CALLED_OFF = 0  # no signal has this number


def main(pipe: int, pid: int, seconds: float) -> None:
    """Waits for SIGTERM or SIGINT in the pipe and `seconds` later kills `pid`, unless the pipe is closed before."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for the stage
    until: float | None = None
    while True:
        left = None if until is None else until - time.monotonic()
        if left is not None and left <= 0:
            os.kill(pid, signal.SIGKILL)
            return
        if not select.select([pipe], [], [], left)[0]:
            continue
        numbers = os.read(pipe, 1024)
        if not numbers:  # the stage has ended
            return
        for number in numbers:
            if number == CALLED_OFF:
                until = None
            elif number in (signal.SIGTERM, signal.SIGINT) and until is None:
                until = time.monotonic() + seconds


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
