"""Progress bars on a terminal; elsewhere nothing, because the log has its own lines."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def progress(items: Iterable[Item], description: str, total: int | None = None, initial: int = 0) -> Iterator[Item]:
    """The items, with a bar on standard error while it is a terminal.

    Args:
        description: noun phrase in front of the bar.
        total: number of items; None where unknown.
        initial: items that an interrupted run finished.
    """
    if not sys.stderr.isatty():
        yield from items
        return
    from tqdm import tqdm

    yield from tqdm(items, desc=description, total=total, initial=initial, leave=False, dynamic_ncols=True)
