"""Work split over --nj processes, results in the order of the items."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator


def map_parts(function: Callable, items: Iterable, nj: int, start_method: str = "spawn") -> Iterator:
    """Yields function(item) for each item, in order; nj = 1 runs inline, else in nj processes.

    Args:
        function: importable (top-level) function of one picklable item.
        items: the work; keep each item large enough (seconds) to outweigh the process border.
        nj: number of processes.
        start_method: spawn is safe with threads and compiled code; fork starts faster.

    Raises:
        Whatever function raises, in the order of items; a worker that dies raises BrokenProcessPool.
    """
    items = list(items)
    if nj <= 1 or len(items) <= 1:
        yield from map(function, items)
        return
    context = multiprocessing.get_context(start_method)
    workers = min(nj, len(items))
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            for future in futures:
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start_worker() -> None:
    # One process a core: threads inside each would only fight. Set before numpy and torch start their pools.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"


def chunks(items: list, count: int) -> list[list]:
    """Splits a list into at most `count` runs of neighbours whose sizes differ by at most one."""
    count = max(1, min(count, len(items)))
    size, more = divmod(len(items), count)
    bounds = [index * size + min(index, more) for index in range(count + 1)]
    return [items[start:stop] for start, stop in zip(bounds, bounds[1:])]
