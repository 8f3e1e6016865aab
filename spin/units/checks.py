"""What every measure of units asks of them."""

from __future__ import annotations

import numpy as np

from spin.errors import DataError


def checked_units(units: np.ndarray, codebook_size: int) -> np.ndarray:
    """(T,) integers as int64.

    Raises:
        DataError: one lies outside [0, codebook_size).
    """
    units = np.asarray(units, dtype=np.int64)
    if units.size and not 0 <= int(units.min()) <= int(units.max()) < codebook_size:
        found, expected = f"values from {units.min()} to {units.max()}", f"integers from 0 to {codebook_size - 1}"
        raise DataError("units", found=found, expected=expected, cause="a model of another K")
    return units
