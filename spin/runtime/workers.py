"""Work split over --nj processes, results in the order of the items."""

from __future__ import annotations

import collections
import concurrent.futures.process
import itertools
import multiprocessing
import multiprocessing.connection
import os
import time
from collections.abc import Callable, Iterable, Iterator

from spin.errors import WorkerError
from spin.runtime.signals import follow_parent, uninterrupted

WAITING = 2  # items handed out ahead for each worker, so that neither work nor results pile up
STOP_SECONDS = 6.0  # for a worker that writes a checkpoint before it ends


def map_parts(function: Callable, items: Iterable, nj: int, start_method: str = "spawn") -> Iterator:
    """Yields function(item) for each item, in order; nj = 1 runs inline, else in nj processes.

    Args:
        function: importable (top-level) function of one picklable item.
        items: the work, taken as workers become free; keep each item large enough (seconds) to outweigh the process border.
        nj: number of processes.
        start_method: spawn is safe with threads and compiled code; fork starts faster.

    Raises:
        WorkerError: a worker died. Otherwise whatever function raises, in the order of items. In both cases the other workers are
            ended, as they are when the caller itself is stopped or stops taking results.
    """
    items = iter(items)
    head = list(itertools.islice(items, max(nj, 2)))
    items = itertools.chain(head, items)
    if nj <= 1 or len(head) <= 1:
        yield from map(function, items)
        return
    context = multiprocessing.get_context(start_method)
    pool = concurrent.futures.ProcessPoolExecutor(min(nj, len(head)), mp_context=context, initializer=_start_worker)
    try:
        futures: collections.deque = collections.deque()
        for item in items:
            with uninterrupted():
                futures.append(pool.submit(function, item))
            if len(futures) > WAITING * nj:
                yield futures.popleft().result()
        while futures:
            yield futures.popleft().result()
    except concurrent.futures.process.BrokenProcessPool as error:
        raise _dead_worker(nj) from error
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        _end_workers()
        raise
    pool.shutdown()


def map_fresh(function: Callable, items: list, nj: int, preload: str) -> Iterator:
    """Yields function(item) for each item, in order, each in a process of its own that nothing else has run in.

    For libraries that cannot be used twice in a process. A server process that has imported `preload`, and called nothing, forks
    them, which takes no start of Python each.

    Args:
        function: importable (top-level) function of one picklable item; what it returns is small (a path).
        items: the work; results wait until their turn comes.
        nj: processes at a time.
        preload: module that the server imports.

    Raises:
        As map_parts.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preload])
    running: dict = {}  # reading end of a pipe -> (number of the item, process)
    results: dict[int, tuple[bool, object]] = {}
    left = iter(enumerate(items))
    try:
        for number in range(len(items)):
            while number not in results:
                for index, item in itertools.islice(left, max(0, nj - len(running))):
                    reading, writing = context.Pipe(duplex=False)
                    process = context.Process(target=_answer, args=(writing, function, item))
                    with uninterrupted():
                        process.start()
                    writing.close()
                    running[reading] = index, process
                for reading in multiprocessing.connection.wait(list(running)):
                    index, process = running.pop(reading)
                    results[index] = _received(reading, nj)
                    process.join()
            good, result = results.pop(number)
            if not good:
                raise result
            yield result
    except BaseException:
        _end_workers()
        raise


def _answer(writing, function: Callable, item) -> None:
    """In the fresh process: sends (True, result) or (False, exception)."""
    _start_worker()
    try:
        answer = True, function(item)
    except Exception as error:  # noqa: BLE001 - raised again where the results are taken
        answer = False, error
    writing.send(answer)
    writing.close()


def _received(reading, nj: int) -> tuple[bool, object]:
    try:
        return reading.recv()
    except EOFError:
        return False, _dead_worker(nj)
    finally:
        reading.close()


def _dead_worker(nj: int) -> WorkerError:
    return WorkerError(
        f"a worker process of {nj}",
        found="it ended before its work was done",
        cause="killed, most often by the system for want of memory (dmesg tells), or by a person",
        remedy="run the same command again, with a smaller --nj where memory is short; what is done is kept",
    )


def _end_workers() -> None:
    """Asks this process's workers to end, and kills those that do not."""
    for worker in multiprocessing.active_children():
        worker.terminate()
    until = time.monotonic() + STOP_SECONDS
    for worker in multiprocessing.active_children():
        worker.join(max(0.0, until - time.monotonic()))
        if worker.is_alive():  # a stop that came within the work itself is sent back as its result, and the worker goes on
            worker.kill()
            worker.join(STOP_SECONDS)
    # The pool's own thread may have been told of an end first; then join knows nothing until that thread has written it down.
    until = time.monotonic() + STOP_SECONDS
    while multiprocessing.active_children() and time.monotonic() < until:
        time.sleep(0.005)


def _start_worker() -> None:
    follow_parent()
    # One process a core: threads inside each would only fight. Set before numpy and torch start their pools.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"


def chunks(items: list, count: int) -> list[list]:
    """Splits a list into at most `count` runs of neighbours whose sizes differ by at most one."""
    count = max(1, min(count, len(items)))
    size, more = divmod(len(items), count)
    bounds = [index * size + min(index, more) for index in range(count + 1)]
    return [items[start:stop] for start, stop in zip(bounds, bounds[1:])]
