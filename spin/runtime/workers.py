"""Work split over processes, results in the order of the items.

The standard library's pool serves better than joblib's here: its workers end with their parent even when that is killed, so that
an abandoned training never writes next to the run that resumes it.
"""

from __future__ import annotations

import collections
import concurrent.futures.process
import contextlib
import ctypes
import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from spin.errors import WorkerError

QUEUED = 2  # items handed out ahead per worker, so that neither work nor results pile up
STOP_SECONDS = 100.0  # for a worker that saves a checkpoint first; Slurm's grace is 120
PR_SET_PDEATHSIG = 1  # <sys/prctl.h>


def map_jobs(function: Callable, items: Iterable, nj: int, start_method: str = "spawn", environments=()) -> Iterator:
    """Yields function(item) for each item, in order; nj = 1 runs in this process.

    Args:
        function: importable function of one picklable item.
        items: the work, taken as workers become free; each item should take seconds.
        nj: number of processes.
        start_method: spawn is safe with threads and compiled code; fork starts faster.
        environments: environment variables of each worker, dealt out in turn, such as one CUDA_VISIBLE_DEVICES per GPU.

    Raises:
        WorkerError: a worker died. Otherwise whatever `function` raises. In both cases the other workers are ended, as they are
            when the caller is stopped or takes no more results.
    """
    items = iter(items)
    head = list(itertools.islice(items, max(nj, 2)))
    items = itertools.chain(head, items)
    if (nj <= 1 or len(head) <= 1) and not environments:
        yield from map(function, items)
        return
    context = multiprocessing.get_context(start_method)
    turns = context.SimpleQueue()
    for number in range(nj):
        turns.put(environments[number % len(environments)] if environments else {})
    before = set(multiprocessing.active_children())
    pool = concurrent.futures.ProcessPoolExecutor(min(nj, len(head)), context, initializer=_start_worker, initargs=(turns,))
    try:
        futures: collections.deque = collections.deque()
        for item in items:
            with _without_main_script():
                futures.append(pool.submit(function, item))
            if len(futures) > QUEUED * nj:
                yield futures.popleft().result()
        while futures:
            yield futures.popleft().result()
    except concurrent.futures.process.BrokenProcessPool as error:
        raise _dead_worker(nj) from error
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        _end_workers(set(multiprocessing.active_children()) - before)
        raise
    pool.shutdown()


def map_fresh(function: Callable, items: list, nj: int, preload: str) -> Iterator:
    """Yields function(item) for each item, in order, each in a new process that a server with `preload` imported forks.

    For libraries that cannot be used twice in one process.

    Args:
        function: importable function of one picklable item; its result is small (a path).
        nj: processes at a time.

    Raises:
        WorkerError: a process died. Otherwise whatever `function` raises.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preload])
    running: collections.deque = collections.deque()
    try:
        for item in items:
            reading, writing = context.Pipe(duplex=False)
            process = context.Process(target=_answer, args=(writing, function, item))
            with _without_main_script():
                process.start()
            writing.close()
            running.append((reading, process))
            if len(running) >= nj:
                yield _receive(running, nj)
        while running:
            yield _receive(running, nj)
    except BaseException:
        _end_workers(process for _, process in running)
        raise


def _answer(writing, function: Callable, item) -> None:
    _start_worker(None)
    try:
        answer = True, function(item)
    except Exception as error:  # noqa: BLE001 - raised again where the results are taken
        answer = False, error
    writing.send(answer)


def _receive(running: collections.deque, nj: int):
    """The result of the oldest running process, which has then ended."""
    reading, process = running[0]
    try:
        good, result = reading.recv()
    except EOFError:
        raise _dead_worker(nj) from None
    process.join()
    running.popleft()
    if not good:
        raise result
    return result


@contextlib.contextmanager
def _without_main_script() -> Iterator[None]:
    """Processes started inside import the module of their function only, not the stage script with all that it imports."""
    main = sys.modules["__main__"]
    path = main.__dict__.pop("__file__", None)
    try:
        yield
    finally:
        if path is not None:
            main.__file__ = path


def _start_worker(turns) -> None:
    """The worker ends with its parent, leaves SIGINT to it, and computes in one thread: more would only compete."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:  # a fork server started this process for its parent
        threading.Thread(target=lambda: (parent.join(), os._exit(128 + signal.SIGKILL)), daemon=True).start()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"
    if turns is not None:
        os.environ.update(turns.get())


def _end_workers(workers: Iterable) -> None:
    """Asks worker processes to end, and kills those that do not."""
    workers = list(workers)
    for worker in workers:
        worker.terminate()
    until = time.monotonic() + STOP_SECONDS
    # The pool's own thread may collect the exit status first; until it has stored it, join() and is_alive() cannot see it.
    while (left := [worker for worker in workers if worker in multiprocessing.active_children()]) and time.monotonic() < until:
        time.sleep(0.005)
    for worker in left:
        worker.kill()


def _dead_worker(nj: int) -> WorkerError:
    return WorkerError(
        f"a worker process of {nj}",
        found="it ended before its work was done",
        cause="killed, usually by the kernel when memory runs out (check dmesg)",
        remedy="rerun the same command with a smaller --nj; finished work is kept",
    )


def chunks(items: list, count: int) -> list[list]:
    """Splits a list into at most `count` runs of neighbours whose sizes differ by at most one."""
    count = max(1, min(count, len(items)))
    size, more = divmod(len(items), count)
    bounds = [index * size + min(index, more) for index in range(count + 1)]
    return [items[start:stop] for start, stop in zip(bounds, bounds[1:])]
