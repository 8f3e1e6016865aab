"""What SIGTERM and SIGINT do to a stage: it ends in time, leaves nothing half-written, and its workers end with it.

Slurm and other schedulers send SIGTERM and, some seconds later, SIGKILL. A stage therefore unwinds at once (locks, temporary
files), a training writes a checkpoint first (StopRequest), and who is still alive after GRACE_SECONDS is ended from inside, or
where compiled code keeps Python from running, from outside (spin.runtime.watchdog).
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

from spin.runtime import watchdog

GRACE_SECONDS = 8.0
AGAIN_SECONDS = 0.05
KILLED_AFTER = 1.0  # seconds more, by the watchdog
SAME_SIGNAL_SECONDS = 2.0  # a terminal and the shell both pass on one Ctrl-C
PR_SET_PDEATHSIG = 1  # <sys/prctl.h>


class Stopped(SystemExit):
    """Ends the process with the status a shell expects of one that was ended by a signal: 128 + its number."""

    def __init__(self, number: int):
        super().__init__(128 + number)
        self.number = number


_raised: list[tuple[float, int]] = []


def stopped_by() -> int | None:
    """The signal that this process was asked to end by, None before: compiled code, such as an import, may turn Stopped into
    an error of its own."""
    return _raised[-1][1] if _raised else None


class _Held:
    """How many uninterrupted() are entered, and the signal that came meanwhile."""

    depth = 0
    number: int | None = None


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """A stop that comes meanwhile waits for the end: for the start of a process, which would complain of what it was not told."""
    _Held.depth += 1
    try:
        yield
    finally:
        _Held.depth -= 1
        if _Held.depth == 0 and _Held.number is not None:
            number, _Held.number = _Held.number, None
            signal.raise_signal(number)


def stop_in_time() -> None:
    """SIGTERM and SIGINT raise Stopped in the main thread from now on; GRACE_SECONDS later the process is gone in any case."""
    last = _raised  # when Stopped was raised, and for which signal
    last.clear()
    unraisable = sys.unraisablehook

    def stop(number: int, frame: FrameType | None) -> None:
        if _Held.depth:
            _Held.number = number
            return
        now = time.monotonic()
        if last and now - last[-1][0] < SAME_SIGNAL_SECONDS:
            return
        if not last:
            _end_in_any_case(number)
        last.append((now, number))
        raise Stopped(number)

    def lost(ignored) -> None:
        """What is raised where Python calls code of its own accord (a finaliser, a weak reference's callback) is dropped."""
        if not isinstance(ignored.exc_value, Stopped):
            unraisable(ignored)
            return
        last[:] = [(-SAME_SIGNAL_SECONDS, ignored.exc_value.number)]
        again = threading.Timer(AGAIN_SECONDS, os.kill, [os.getpid(), ignored.exc_value.number])  # when this has returned
        again.daemon = True
        again.start()

    sys.unraisablehook = lost

    # Set even where the shell had the signal ignored, as it does for a command that it runs beside itself.
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    _watched.start()


class _Watched:
    """What ties this process to its watchdog: the end of the pipe that signals are written into, None where nobody looks."""

    def __init__(self) -> None:
        self.pipe: int | None = None
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        if self.pipe is not None:
            return
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        seconds = str(GRACE_SECONDS + KILLED_AFTER)
        command = [sys.executable, "-I", "-S", watchdog.__file__, str(reading), str(os.getpid()), seconds]
        nothing = subprocess.DEVNULL
        try:
            self.process = subprocess.Popen(command, pass_fds=[reading], stdin=nothing, stdout=nothing, stderr=nothing)
        except OSError:  # no process to be had: the stage will say so itself where that matters
            os.close(writing)
        else:
            self.pipe = writing
            signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
            os.register_at_fork(after_in_child=self.leave)
        finally:
            os.close(reading)

    def call_off(self) -> None:
        """After a signal that need not end this process."""
        if self.pipe is not None:
            with contextlib.suppress(OSError):
                os.write(self.pipe, bytes([watchdog.CALLED_OFF]))

    def leave(self) -> None:
        """In a process that was forked from this one: its signals are its own."""
        _Held.depth, _Held.number = 0, None
        if self.pipe is not None:
            with contextlib.suppress(ValueError, OSError):
                signal.set_wakeup_fd(-1)
                os.close(self.pipe)
            self.pipe = None


_watched = _Watched()


def _end_in_any_case(number: int) -> threading.Timer:
    timer = threading.Timer(GRACE_SECONDS, os._exit, [128 + number])
    timer.daemon = True
    timer.start()
    return timer


def follow_parent() -> None:
    """For a worker process: it ends with its parent, however that ends, and takes its orders from the parent alone.

    SIGINT is left to the parent (a terminal sends it to both); SIGTERM ends the worker at once unless it is inside a StopRequest.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform != "linux":
        return
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:  # it died before this, or a server process forked this one for it
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent is not None and os.getppid() != parent.pid:  # it died between the two calls
        os._exit(128 + signal.SIGKILL)


def _end_with(parent) -> None:
    parent.join()
    os._exit(128 + signal.SIGKILL)


class StopRequest:
    """While entered, SIGINT and SIGTERM only raise a flag; a training looks at it between steps and writes a checkpoint first.

    GRACE_SECONDS after the signal the process is gone in any case, as when a step or a validation takes longer than that.

    Attributes:
        signal: the number of the signal that came, None before.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, object] = {}
        self._end: threading.Timer | None = None

    def __enter__(self) -> StopRequest:
        numbers = [signal.SIGTERM]
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # a worker leaves SIGINT to its parent
            numbers.append(signal.SIGINT)
        for number in numbers:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._end is not None:
            self._end.cancel()
            _watched.call_off()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        if self._end is None:
            self._end = _end_in_any_case(number)

    def status(self) -> int:
        """The exit status of a process ended by the signal: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + (self.signal or signal.SIGTERM)
