"""Work split over processes, results in the order of the items.

The standard library's pool serves better than joblib's here: its workers end with their parent even when that is killed, so that
an abandoned training never writes next to the run that resumes it.
"""

import collections
import contextlib
import ctypes
import itertools
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from spin.config import Config
from spin.errors import ResourceError

QUEUED = 2  # items handed out ahead per worker, so that neither work nor results pile up
STOP_SECONDS = 100.0  # for a worker that saves a checkpoint first; Slurm's grace is 120
SHARED_GPU_BYTES = 16e9  # a GPU with this much memory runs two trainings at a time: LSTM steps fill only a fraction of it
PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def map_jobs(function: Callable, items: Iterable, nj: int, start_method: str = "spawn", environments=()) -> Iterator:
    """Yields function(item) for each item, in order; nj = 1 runs in this process.

    Args:
        function: importable function of one picklable item.
        items: the work, taken as workers become free; each item should take seconds.
        start_method: spawn is safe with threads and compiled code; fork starts faster.
        environments: environment variables of each worker, dealt out in turn, such as one CUDA_VISIBLE_DEVICES per GPU.

    Raises whatever `function` raises, and ResourceError where a worker died. The other workers are ended then, as they are when
    the caller is stopped or takes no more results.
    """
    items = iter(items)
    first = list(itertools.islice(items, 2))
    items = itertools.chain(first, items)
    if nj <= 1 or len(first) <= 1:
        yield from map(function, items)
        return
    context = multiprocessing.get_context(start_method)
    turns = context.SimpleQueue() if environments else None
    for environment in itertools.islice(itertools.cycle(environments), nj):
        turns.put(environment)
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(nj, context, _start_worker, (turns,))
    running = collections.deque()  # of futures
    try:
        for item in items:
            with _without_main_script():
                running.append(pool.submit(_work, function, item))
            if len(running) > QUEUED * nj:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    except BaseException as error:
        pool.shutdown(wait=False, cancel_futures=True)
        _end_workers(set(multiprocessing.active_children()) - before)
        if isinstance(error, BrokenProcessPool):
            raise ResourceError(
                f"a worker process of {nj}",
                found="it ended before its work was done",
                cause="killed, usually by the kernel when memory runs out (check dmesg)",
                remedy=f"rerun the same command with --nj {max(1, nj // 2)}; finished work is kept",
            ) from error
        raise
    pool.shutdown()


def run_jobs(config: Config, function: Callable, jobs: Sequence, per_gpu: int = 1) -> Iterator:
    """Yields function(job) for each job, in order, over --nj processes or all GPUs.

    A GPU with at least SHARED_GPU_BYTES runs `per_gpu` jobs at a time, a smaller one runs one.
    """
    import torch  # not needed to map jobs

    from spin.runtime.devices import resolve_device

    if resolve_device(config.runtime.device).type == "cpu":
        return map_jobs(function, jobs, min(config.runtime.nj, len(jobs)))
    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").replace(" ", "").strip(",").split(",")
    names = visible if visible[0] else [str(number) for number in range(count)]
    gpus = names[: max(1, min(count, config.runtime.gpus))]
    share = per_gpu if torch.cuda.get_device_properties(0).total_memory >= SHARED_GPU_BYTES else 1
    processes = min(len(gpus) * share, len(jobs))
    environments = [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus] if processes > 1 else ()
    return map_jobs(function, jobs, processes, environments=environments)


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
    os.environ.update(dict.fromkeys(THREADS, "1"), **(turns.get() if turns else {}))


def _work(function: Callable, item):
    """One item. A worker that a signal has stopped ends; the pool would hand it the next item, and its caller would wait."""
    try:
        return function(item)
    except SystemExit as stop:
        os._exit(int(stop.code or 0))


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


def prefetch(groups: Iterable[list], read: Callable, threads: int) -> Iterator[tuple[list, list]]:
    """Each group, of which there may be no end, with the results of `read` for its items, while the next group is being read.

    `read` is called in other threads, so it must not draw random numbers; its errors are raised where the group is due. With 0
    threads all happens in this one, as suits a CPU busy with the work itself.
    """
    if threads == 0:
        yield from ((group, [read(item) for item in group]) for group in groups)
        return
    with ThreadPoolExecutor(threads) as pool:
        submitted = ((group, [pool.submit(read, item) for item in group]) for group in groups)
        current = next(submitted, None)
        while current is not None:
            following = next(submitted, None)
            group, futures = current
            yield group, [future.result() for future in futures]
            current = following
