"""The answer on top: honest about a gain, a loss, chance, and nothing measured."""

from __future__ import annotations

import pytest

from spin.report.story import BETTER, OPEN, UNCLEAR, WORSE, headline, primary


@pytest.fixture
def report(material):
    return material.report


def change(report, errors, p_value, baseline=412):
    """The report with other errors by HLG."""
    for system, count in (("baseline", baseline), ("spin", errors)):
        wer = count / 10
        report["asr"][system]["test"]["hlg"] |= {"errors": count, "wer": wer, "ci95": [max(0.0, wer - 1), wer + 1]}
    report["gain"]["test"]["hlg"] = {"relative_wer_reduction": None, "p_value": p_value}
    return report


def plain(text):
    return text.replace("\u00a0", " ")


def test_a_gain(report):
    answer = headline(report)
    assert answer.verdict == BETTER
    assert plain(answer.title) == "Spin lowers the word error rate on test by 12.4 % relative: 41.2 % → 36.1 %"
    assert plain(answer.figure) == "−12.4 %"
    assert "p = 0.001" in plain(answer.detail)
    assert "baseline 39.7 to 42.7 %" in plain(answer.detail)
    assert "1,000 words, one recogniser trained for each system" in plain(answer.detail)


def test_a_gain_that_may_be_chance(report):
    answer = headline(change(report, 409, 0.41))
    assert answer.verdict == UNCLEAR
    assert plain(answer.title) == "No reliable gain: the word error rate on test goes 41.2 % → 40.9 %, which may be chance"
    assert "p = 0.410, not below 0.05" in plain(answer.detail)


def test_a_loss(report):
    answer = headline(change(report, 453, 0.004))
    assert answer.verdict == WORSE
    assert plain(answer.title).startswith("Spin raises the word error rate on test by 10.0 % relative")


def test_no_difference_at_all(report):
    answer = headline(change(report, 412, 1.0))
    assert answer.verdict == UNCLEAR
    assert plain(answer.title) == "No gain: the word error rate on test is 41.2 % with and without Spin"


def test_without_a_test_no_claim(report):
    answer = headline(change(report, 300, None))
    assert answer.verdict == UNCLEAR
    assert "no test of significance was made" in answer.detail


def test_a_baseline_without_errors(report):
    answer = headline(change(report, 5, 0.02, baseline=0))
    assert answer.verdict == WORSE
    assert plain(answer.title) == "Spin raises the word error rate on test: 0.0 % → 0.5 %"
    assert answer.figure == "—"


def test_nothing_decoded(report):
    report["asr"] = {"baseline": {}, "spin": {"test": {}}}
    assert primary(report) is None
    assert headline(report).verdict == OPEN


def test_primary_is_the_first_test_part_of_the_configuration(report):
    for system in ("baseline", "spin"):
        report["asr"][system] = {"other": {"ctc_1best": {}, "whole": {}}, **report["asr"][system]}
    assert primary(report) == ("test", "hlg")
    report["config"]["corpus"]["test"] = ["absent", "other"]
    assert primary(report) == ("other", "whole")
    del report["config"]
    assert primary(report) == ("other", "whole")


def test_words_are_counted_once_over_several_recognisers(report):
    report["seeds"] = [0, 1, 2, 3]
    assert "250 words, 4 recognisers trained" in headline(report).detail
