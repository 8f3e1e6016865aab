"""Stored arrays belong to the experiment whose manifest names them, also when its folder was copied or moved.

Manifests hold absolute paths, so that any program can read them. A copied experiment would then silently read the arrays of the
one it was copied from, which may have been made anew with other settings since.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from spin.errors import DataError

ARRAYS = "arrays"  # the folder of all arrays, beside the manifests
Described = TypeVar("Described")


class Home:
    """Where the arrays of one system of one experiment lie.

    Args:
        folder: of the system: its manifests, and below it its arrays.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._known: dict[str, str] = {}  # arrays of a part share a path, so that a dictionary answers nearly always

    def path(self, stored: str) -> str:
        """The path of an array's folder: as stored where it lies here, else that of the same name here.

        Raises:
            DataError: it lies elsewhere, and there is none of that name here.
        """
        if stored not in self._known:
            self._known[stored] = self._found(stored)
        return self._known[stored]

    def _found(self, stored: str) -> str:
        home = os.path.realpath(self.folder)
        if os.path.realpath(stored).startswith(home + os.sep):
            return stored
        _, found, tail = os.path.abspath(stored).rpartition(f"{os.sep}{ARRAYS}{os.sep}")
        here = os.path.join(home, ARRAYS, tail)
        if found and os.path.exists(here):
            return here
        raise DataError(
            f"arrays of {self.folder}",
            found=f"{stored}, which belongs to another folder",
            expected=f"arrays below {os.path.join(home, ARRAYS)}",
            cause="the experiment was copied or moved without them",
            remedy="run stage 3 with --force",
        )

    def cuts(self, cuts: Iterable[Described]) -> Iterator[Described]:
        """The cuts with the paths of their arrays put right; those without arrays as they are."""
        for cut in cuts:
            for value in (getattr(cut, "custom", None) or {}).values():
                array = getattr(value, "array", None)
                if array is not None and hasattr(array, "storage_path") and array.storage_type == "numpy_files":
                    array.storage_path = self.path(array.storage_path)
            yield cut

    def described(self, arrays: dict[str, dict]) -> dict[str, dict]:
        """Descriptions of arrays as plain values (lhotse's TemporalArray.to_dict), by field, with their paths put right."""
        return {
            field: {**value, "array": {**value["array"], "storage_path": self.path(value["array"]["storage_path"])}}
            for field, value in arrays.items()
        }
