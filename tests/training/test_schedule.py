"""The learning rate against the official figures and at its edges."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spin.training.schedule import learning_rate

PAPER = {"warmup_steps": 2500, "max_steps": 5000, "peak": 1e-4, "lowest": 1e-6}


def test_official_figures_to_the_bit(golden_dir):
    golden = json.loads((golden_dir / "schedule.json").read_text())
    assert [learning_rate(step, **PAPER) for step in golden["step"]] == golden["lr"]


@pytest.mark.parametrize(
    ("step", "warmup", "steps", "expected"),
    [
        (0, 0, 1, 1.0),
        (0, 2, 5, 0.1),
        (1, 2, 5, 0.55),
        (2, 2, 5, 1.0),
        (3, 2, 5, 0.55),
        (4, 2, 5, 0.1),
        (9, 2, 5, 0.1),
        (4, 9, 5, 0.5),
    ],
)
def test_hand_computed(step, warmup, steps, expected):
    assert learning_rate(step, warmup_steps=warmup, max_steps=steps, peak=1.0, lowest=0.1) == pytest.approx(expected)


@given(warmup=st.integers(0, 50), steps=st.integers(1, 60), step=st.integers(0, 80))
def test_stays_between_the_lowest_and_the_peak(warmup, steps, step):
    rate = learning_rate(step, warmup_steps=warmup, max_steps=steps, peak=1e-3, lowest=1e-6)
    assert 1e-6 * (1 - 1e-9) <= rate <= 1e-3 * (1 + 1e-9)


def test_a_peak_of_zero_trains_nothing():
    assert learning_rate(3, warmup_steps=2, max_steps=5, peak=0.0, lowest=1e-6) == 0.0
