"""Reading the next while the GPU works on one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Piece, Result = TypeVar("Piece"), TypeVar("Result")


def read_ahead(
    groups: Iterable[list[Piece]], read: Callable[[Piece], Result], threads: int
) -> Iterator[tuple[list[Piece], list[Result]]]:
    """Each group with what `read` makes of its pieces, in order; the pieces of the next group are read meanwhile.

    Args:
        groups: may be endless; one is taken ahead of time.
        read: called in other threads, so that it must not draw random numbers; its errors come up where the group is due.
        threads: that read. 0: nothing ahead, all in this thread, as suits a CPU that is busy with the work itself.
    """
    if threads == 0:
        yield from ((group, [read(piece) for piece in group]) for group in groups)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting = None
        for group in groups:
            coming = (group, [pool.submit(read, piece) for piece in group])
            if waiting is not None:
                yield waiting[0], [future.result() for future in waiting[1]]
            waiting = coming
        if waiting is not None:
            yield waiting[0], [future.result() for future in waiting[1]]
