"""TensorBoard files of an interrupted run: nothing is shown twice."""

from types import SimpleNamespace

import pytest

from spin.runtime.logs import summary_writer
from tests.faults.points import points


@pytest.mark.parametrize("clocks", [(5000.2, 5000.6, 5000.9, 9000), (9000, 20, 8999, 10), (10, 5000.7, 4999, 5001)])
def test_nothing_is_shown_twice_even_with_a_clock_that_stands_still_or_is_set_back(tmp_path, monkeypatch, clocks):
    pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    module = pytest.importorskip("tensorboard.summary.writer.event_file_writer")
    for run, clock in enumerate(clocks):
        with monkeypatch.context() as patch:
            patch.setattr(module, "time", SimpleNamespace(time=lambda now=clock: now))
            with summary_writer(tmp_path, 2 * run) as writer:
                for step in range(2 * run, 2 * run + 4):  # the next run draws the last two of each again
                    writer.add_scalar("x", float(step + 200 * run), step)
    (curve,) = points(tmp_path).values()
    assert [step for step, _ in curve] == list(range(10))
    assert [value for step, value in curve if step == 4] == [404.0]  # of the later run
    assert len(list(tmp_path.iterdir())) == len(clocks)
    with summary_writer(tmp_path) as writer:  # a training from the start
        writer.add_scalar("x", 0.0, 3)
    assert list(points(tmp_path).values()) == [[(3, 0.0)]]
