"""Prefetching: order, errors where they are due, one group ahead and no more."""

import itertools
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spin.runtime.prefetch import prefetch


@given(st.lists(st.lists(st.integers(), max_size=4), max_size=8), st.integers(0, 3))
def test_the_same_as_a_loop(groups, threads):
    assert list(prefetch(groups, lambda piece: piece * 2, threads)) == [(group, [2 * x for x in group]) for group in groups]


@pytest.mark.parametrize("threads", [0, 2])
def test_errors_come_up_where_their_group_is_due(threads):
    found = prefetch([[4], [0], [2]], lambda piece: 8 // piece, threads)
    assert next(found) == ([4], [2])
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_one_group_is_read_while_another_is_worked_on():
    read, second = [], threading.Event()

    def reading(piece: int) -> int:
        read.append(piece)
        if piece == 1:
            second.set()
        return piece

    found = prefetch(([n] for n in itertools.count()), reading, 1)
    assert next(found) == ([0], [0])
    assert second.wait(10)  # nobody has asked for it yet
    assert next(found) == ([1], [1])
    found.close()
    assert max(read) <= 3  # an endless row is not read to its end
