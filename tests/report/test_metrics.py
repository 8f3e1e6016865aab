"""How figures are written out."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spin.report import metrics
from spin.report.metrics import CER, SPEAKER_METRIC, UNIT_METRICS, WER


@pytest.mark.parametrize(
    ("value", "decimals", "unit", "expected"),
    [
        (41.2, 1, "%", "41.2\u00a0%"),
        (-1.234, 2, "", "\u22121.23"),
        (-0.001, 1, "", "0.0"),
        (0, 0, "", "0"),
        (None, 3, "%", "not measured"),
    ],
)
def test_number(value, decimals, unit, expected):
    assert metrics.number(value, decimals, unit) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(12.34, "+12.3\u00a0%"), (-12.36, "\u221212.4\u00a0%"), (0.01, "0.0\u00a0%"), (None, "\u2014")]
)
def test_signed(value, expected):
    assert metrics.signed(value) == expected


def test_relative_change_by_hand():
    assert metrics.relative_change(40.0, 30.0) == -25.0
    assert metrics.relative_change(0.4, 0.5) == pytest.approx(25.0)


@pytest.mark.parametrize(
    ("before", "after"), [(None, 1.0), (1.0, None), (0.0, 1.0), (-2.0, -1.0), (math.nan, 1.0), (1.0, math.inf)]
)
def test_relative_change_undefined(before, after):
    assert metrics.relative_change(before, after) is None


@given(st.floats(0.1, 1e6), st.floats(0.1, 1e6))
def test_tone_agrees_with_the_change(before, after):
    change = metrics.relative_change(before, after)
    assert metrics.tone(WER, before, after) == ("" if before == after else "better" if after < before else "worse")
    assert (metrics.tone(CER, before, after) == "better") == (before != after and change <= 0 and after < before)
    assert metrics.tone(SPEAKER_METRIC, before, after) == ""


def test_tone_of_what_should_rise():
    pnmi = next(metric for metric in UNIT_METRICS if metric.key == "pnmi")
    assert metrics.tone(pnmi, 0.4, 0.5) == "better"
    assert metrics.tone(pnmi, 0.5, 0.4) == "worse"
    assert metrics.tone(pnmi, None, 0.4) == metrics.tone(pnmi, 0.4, 0.4) == ""


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, "p < 0.001"), (0.001, "p = 0.001"), (0.0314, "p = 0.031"), (1.0, "p = 1.000"), (None, "p not measured")],
)
def test_p_value(value, expected):
    assert metrics.p_value(value).replace("\u00a0", " ") == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (41.4, "41 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (7384, "2 h 03 min"),
        (None, "not measured"),
    ],
)
def test_duration(seconds, expected):
    assert metrics.duration(seconds).replace("\u00a0", " ") == expected


def test_unknown_names_stay_readable():
    assert metrics.method_title("whole_lattice") == "whole lattice"
    assert metrics.system_title("log_mel") == "log mel"
    assert metrics.method_title("hlg") == "HLG with n-gram LM"
