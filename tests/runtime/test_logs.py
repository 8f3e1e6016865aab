"""TensorBoard's files of a run that was cut off: nothing is shown twice."""

from __future__ import annotations

import time

import pytest

from spin.runtime.logs import board
from tests.faults.points import points


@pytest.mark.parametrize(("start", "left"), [(0, [3, 4]), (4, [1, 2, 3, 4]), (9, [1, 2, 3, 3, 4, 4])])
def test_points_of_an_earlier_run(tmp_path, start, left):
    pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for steps, begin in (((1, 2, 3, 4), 0), ((3, 4) if start != 4 else (4,), start)):
        with board(tmp_path, begin) as writer:
            for step in steps:
                writer.add_scalar("x", float(step), step)
    (curve,) = points(tmp_path).values()
    assert sorted(step for step, _ in curve) == left


def write_points(folder, begin, steps):
    with board(folder, begin) as writer:
        for step in steps:
            writer.add_scalar("x", float(step + 100 * begin), step)
            writer.flush()


@pytest.mark.parametrize(
    "clocks", [(5000.0, 5000.0, 5000.9, 9000.0), (9000.0, 20.0, 8999.0, 10.0), (10.0, 5000.0, 4999.0, 5001.0)]
)
def test_a_clock_that_stands_or_is_set_back_shows_nothing_twice(tmp_path, monkeypatch, clocks):
    pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    writer_module = pytest.importorskip("tensorboard.summary.writer.event_file_writer")
    for run, clock in enumerate(clocks):
        with monkeypatch.context() as patch:
            patch.setattr(writer_module, "time", Clock(clock))
            write_points(tmp_path, 2 * run, range(2 * run, 2 * run + 4))  # the last two of each run are drawn again by the next
    (curve,) = points(tmp_path).values()
    assert [step for step, _ in curve] == list(range(10))
    assert [value for step, value in curve if step == 4] == [4.0 + 100 * 4]  # of the later run
    files = sorted(tmp_path.iterdir())
    assert len(files) == len(clocks) == len({path.name.split(".")[3] for path in files})
    assert all(path.stat().st_size > 100 for path in files)


class Clock:
    """The module `time` with another time of day, for names; time spans are real."""

    def __init__(self, now: float):
        self.now = now

    def time(self) -> float:
        return self.now


def test_files_of_other_programs_do_not_disturb(tmp_path):
    pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    (tmp_path / "events.out.tfevents.profile").touch()
    write_points(tmp_path, 3, [3, 4])
    write_points(tmp_path, 4, [4, 5])
    stamps = sorted(path.name.split(".")[3] for path in tmp_path.iterdir())
    assert len(stamps) == 3 and abs(int(stamps[0]) - time.time()) < 600
