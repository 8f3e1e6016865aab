"""Prefetching: reading the next group while the GPU works on the current one."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Piece, Result = TypeVar("Piece"), TypeVar("Result")
Read = Iterator[tuple[list[Piece], list[Result]]]


def prefetch(groups: Iterable[list[Piece]], read: Callable[[Piece], Result], threads: int) -> Read:
    """Each group with the results of `read` for its pieces, in order, while the next group is being read.

    Args:
        groups: may be endless; one is taken ahead of time.
        read: called in other threads, so it must not draw random numbers; its errors are raised where the group is due.
        threads: number of reading threads. 0: no prefetching, all in this thread, as suits a CPU busy with the work itself.
    """
    if threads == 0:
        yield from ((group, [read(piece) for piece in group]) for group in groups)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting: list = []
        for group in groups:
            waiting.append((group, [pool.submit(read, piece) for piece in group]))
            if len(waiting) > 1:
                ready, futures = waiting.pop(0)
                yield ready, [future.result() for future in futures]
        for ready, futures in waiting:
            yield ready, [future.result() for future in futures]
