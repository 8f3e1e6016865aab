"""Progress bars on standard error while it is a terminal; elsewhere nothing, because the log has its own lines."""

import sys
from collections.abc import Iterable, Iterator

from tqdm import tqdm


def progress(items: Iterable, description: str, total: int | None = None, initial: int = 0) -> Iterator:
    """The items, with a bar; `initial` of them were finished by an interrupted run."""
    if sys.stderr.isatty():
        items = tqdm(items, desc=description, total=total, initial=initial, leave=False, dynamic_ncols=True)
    yield from items  # closing this generator closes `items`, and ends its workers
