"""The answer on top: honest about a gain, a loss, chance, and nothing measured."""

from __future__ import annotations

from spin.report.headline import BETTER, OPEN, UNCLEAR, WORSE, headline
from spin.report.lookup import Decoding, decodings, gain, primary, subject


def change(report, errors, p_value, baseline=412):
    """The report with other errors by HLG."""
    for system, count in (("baseline", baseline), ("spin", errors)):
        wer = count / 10
        report["asr"][system]["test"]["hlg"] |= {"errors": count, "wer": wer, "ci95": [max(0.0, wer - 1), wer + 1]}
    report["gain"]["spin"]["test"]["hlg"] = {"relative_wer_reduction": None, "p_value": p_value}
    return report


def plain(text):
    return text.replace("\u00a0", " ")


def test_a_gain(report):
    answer = headline(report)
    assert answer.verdict == BETTER
    assert plain(answer.title) == "Spin lowers the word error rate on test by 12.4 % relative: 41.2 % → 36.1 %"
    assert plain(answer.figure) == "−12.4 %"
    assert "p = 0.001" in plain(answer.detail) and "baseline 39.7 to 42.7 %" in plain(answer.detail)
    assert "1,000 words, one recogniser trained per system" in plain(answer.detail)


def test_a_gain_that_may_be_chance(report):
    answer = headline(change(report, 409, 0.41))
    assert answer.verdict == UNCLEAR
    assert plain(answer.title) == (
        "No reliable gain: the word error rate on test goes 41.2 % → 40.9 % with Spin, which may be chance"
    )
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
    assert answer.verdict == UNCLEAR and "no test of significance was made" in answer.detail


def test_a_baseline_without_errors(report):
    answer = headline(change(report, 5, 0.02, baseline=0))
    assert answer.verdict == WORSE and answer.figure == "—"
    assert plain(answer.title) == "Spin raises the word error rate on test: 0.0 % → 0.5 %"


def test_nothing_decoded(report):
    report["asr"] = {"baseline": {}, "spin": {"test": {}}}
    assert primary(report) is None
    assert headline(report).verdict == OPEN


def test_one_system_has_no_comparison(report):
    report["systems"] = ["baseline"]
    answer = headline(report)
    assert (answer.verdict, answer.figure) == (OPEN, "")
    assert plain(answer.title) == "The word error rate on test is 41.2 %"


def test_of_several_systems_the_trained_one_is_the_subject(five):
    report = five[0].report
    assert subject(report) == "spin"
    assert plain(headline(report).detail).endswith("Lowest of 5 systems: r spin, 20.8 %.")
    assert subject({"systems": ["hubert", "wavlm", "fbank"]}) == "wavlm"
    assert subject({"systems": ["hubert"]}) is None


def test_primary_is_the_first_test_part_of_the_configuration(report):
    for system in ("baseline", "spin"):
        report["asr"][system] = {"other": {"ctc_1best": {"wer": 1}, "whole": {"wer": 1}}, **report["asr"][system]}
    assert primary(report) == Decoding("features", "test", "hlg")
    report["config"]["corpus"]["test"] = ["absent", "other"]
    assert primary(report) == Decoding("features", "other", "whole")
    del report["config"]
    assert primary(report) == Decoding("features", "other", "whole")


def test_units_alone(report):
    report |= {"asr_from_units": report["asr"], "gain_from_units": report["gain"], "asr": {}, "gain": {}}
    where = primary(report)
    assert where == Decoding("units", "test", "hlg") and gain(report, where, "spin")["p_value"] == 0.001
    assert [item.method for item in decodings(report)] == ["ctc_1best", "hlg"]
    assert "HLG with n-gram LM, from units" in headline(report).detail


def test_words_are_counted_once_over_several_recognisers(report):
    report["seeds"] = [0, 1, 2, 3]
    assert "250 words, 4 recognisers trained" in headline(report).detail


def test_phones_are_called_phones(report):
    for name in ("baseline", "spin"):
        report["asr"][name]["test"]["hlg"] |= {"per": report["asr"][name]["test"]["hlg"]["wer"]}
    answer = headline(report)
    assert "phone error rate" in answer.title and "1,000 phones" in answer.detail
