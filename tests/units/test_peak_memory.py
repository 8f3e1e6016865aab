"""Peak memory of a piece of work: that of its own process."""

from __future__ import annotations

import numpy as np
import pytest

from spin.errors import ConfigError
from spin.units import peak_memory


def hold(mebibytes: int) -> dict:
    return {"bytes": np.ones(mebibytes * 2**20, np.uint8).nbytes}


def refuse() -> dict:
    raise ConfigError("a thing", found="a fault")


def test_peak_is_that_of_the_fresh_process():
    """Neither what this process holds nor what was given back counts; what the work held at its peak does."""
    here = np.ones(200 * peak_memory.MIB, np.uint8)
    small, large = peak_memory.measured(hold, 1), peak_memory.measured(hold, 150)
    assert here.nbytes and large["bytes"] == 150 * 2**20
    assert 140 < large["peak_memory_in_mib"] - small["peak_memory_in_mib"] < 160
    assert peak_memory.peak_memory_in_mib() > 200
    with pytest.raises(ConfigError, match="a thing"):
        peak_memory.measured(refuse)


def test_runs_side_by_side():
    runs = [{"hours": 1.0, "peak_memory_in_mib": 100.0}, {"hours": 20.0, "peak_memory_in_mib": 110.0}]
    assert peak_memory.compared(runs, {"K": 3}) == {
        "ratio": 1.1,
        "K": 3,
        "hours": [1.0, 20.0],
        "peak_memory_in_mib": [100.0, 110.0],
    }
