"""Numbers, changes and names as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spin.report import measures
from spin.report.measures import CER, WER
from spin.units.metrics import find_metric
from tests.report.made_up_run import plain


@pytest.mark.parametrize(
    ("write", "arguments", "expected"),
    [
        (measures.number, (41.2, 1, "%"), "41.2 %"),
        (measures.signed, (-12.36,), "\u221212.4 %"),
        (measures.signed, (0.01,), "0.0 %"),
        (measures.signed, (None,), "\u2014"),
        (measures.p_value, (0.0,), "p < 0.001"),
        (measures.p_value, (0.0314,), "p = 0.031"),
        (measures.p_value, (None,), "p not measured"),
        (measures.duration, (59.6,), "0:01:00"),
        (measures.duration, (7384,), "2:03:04"),
        (measures.duration, (None,), "not measured"),
    ],
)
def test_figures_as_text(write, arguments, expected):
    assert plain(write(*arguments)) == expected


def test_relative_change_by_hand():
    assert measures.relative_change(40.0, 30.0) == -25.0 and measures.relative_change(0.4, 0.5) == pytest.approx(25.0)
    for before, after in ((None, 1), (1, None), (0, 1), (-2, -1)):
        assert measures.relative_change(before, after) is None


@given(st.floats(0.1, 1e6), st.floats(0.1, 1e6))
def test_tone_agrees_with_the_change(before, after):
    assert measures.tone(WER, before, after) == ("" if before == after else "better" if after < before else "worse")
    assert measures.tone(CER, before, after) == measures.tone(WER, before, after)
    assert measures.tone(find_metric("pnmi"), before, after) == measures.tone(WER, after, before)
    assert measures.tone(find_metric("cluster_purity"), before, after) == measures.tone(WER, None, after) == ""


def test_names():
    report = {"systems": ["baseline", "spin", "fbank", "hubert_256"], "config": {"objective": "rspin"}}
    assert list(measures.system_titles(report).values()) == ["baseline", "R-Spin", "filterbank", "hubert 256"]
    assert measures.system_titles({"systems": ["spin"]}) == {"spin": "Spin"}
    assert measures.method_title("of_an_older_report") == "of an older report"  # of a new one: tests/asr/test_decode.py
