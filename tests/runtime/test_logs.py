"""TensorBoard files of an interrupted run: nothing is shown twice."""

from __future__ import annotations

import pytest

from spin.runtime.logs import summary_writer
from tests.faults.points import points


@pytest.mark.parametrize(("start", "left"), [(0, [3, 4]), (4, [1, 2, 3, 4]), (9, [1, 2, 3, 3, 4, 4])])
def test_points_of_an_earlier_run(tmp_path, start, left):
    pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for steps, begin in (((1, 2, 3, 4), 0), ((3, 4) if start != 4 else (4,), start)):
        with summary_writer(tmp_path, begin) as writer:
            for step in steps:
                writer.add_scalar("x", float(step), step)
    (curve,) = points(tmp_path).values()
    assert sorted(step for step, _ in curve) == left
