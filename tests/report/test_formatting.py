"""Numbers, changes and names as text."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spin.report import formatting, measures
from spin.report.measures import CER, WER
from spin.units.metrics import find_metric


@pytest.mark.parametrize(
    ("value", "digits", "unit", "expected"),
    [
        (41.2, 1, "%", "41.2\u00a0%"),
        (-1.234, 2, "", "\u22121.23"),
        (-0.001, 1, "", "0.0"),
        (0, 0, "", "0"),
        (None, 3, "%", "not measured"),
    ],
)
def test_number(value, digits, unit, expected):
    assert formatting.number(value, digits, unit) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(12.34, "+12.3\u00a0%"), (-12.36, "\u221212.4\u00a0%"), (0.01, "0.0\u00a0%"), (None, "\u2014")]
)
def test_signed(value, expected):
    assert formatting.signed(value) == expected


def test_relative_change_by_hand():
    assert formatting.relative_change(40.0, 30.0) == -25.0
    assert formatting.relative_change(0.4, 0.5) == pytest.approx(25.0)


@pytest.mark.parametrize(
    ("before", "after"), [(None, 1.0), (1.0, None), (0.0, 1.0), (-2.0, -1.0), (math.nan, 1.0), (1.0, math.inf)]
)
def test_relative_change_undefined(before, after):
    assert formatting.relative_change(before, after) is None


@given(st.floats(0.1, 1e6), st.floats(0.1, 1e6))
def test_tone_agrees_with_the_change(before, after):
    assert measures.tone(WER, before, after) == ("" if before == after else "better" if after < before else "worse")
    assert measures.tone(CER, before, after) == measures.tone(WER, before, after)
    assert measures.tone(find_metric("cluster_purity"), before, after) == ""


def test_tone_of_a_ratio_that_should_rise():
    pnmi = find_metric("pnmi")
    assert measures.tone(pnmi, 0.4, 0.5) == "better" and measures.tone(pnmi, 0.5, 0.4) == "worse"
    assert measures.tone(pnmi, None, 0.4) == measures.tone(pnmi, 0.4, 0.4) == ""


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, "p < 0.001"), (0.001, "p = 0.001"), (0.0314, "p = 0.031"), (1.0, "p = 1.000"), (None, "p not measured")],
)
def test_p_value(value, expected):
    assert formatting.p_value(value).replace("\u00a0", " ") == expected


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
    assert formatting.duration(seconds).replace("\u00a0", " ") == expected


def test_names():
    assert measures.method_title("whole_lattice") == "whole lattice"
    assert measures.method_title("hlg") == "HLG with n-gram LM"
    report = {"systems": ["baseline", "spin", "fbank", "hubert_256"], "config": {"objective": "rspin"}}
    assert list(formatting.system_titles(report).values()) == ["baseline", "R-Spin", "filterbank", "hubert 256"]
    assert formatting.system_titles({"systems": ["spin"]}) == {"spin": "Spin"}
