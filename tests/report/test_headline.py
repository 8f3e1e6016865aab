"""The answer on top: honest about a gain, a loss, chance, and nothing measured."""

import pytest

from spin.report.measures import Decoding, decodings, gain, primary, subject
from spin.report.pages import headline
from tests.report.made_up_run import plain, result


@pytest.mark.parametrize(
    ("baseline", "errors", "p_value", "tone", "figure", "title"),
    [
        (412, 361, 0.001, "better", "−12.4 %", "Spin lowers {} by 12.4 % relative: 41.2 % → 36.1 %"),
        (412, 409, 0.41, "", "−0.7 %", "No reliable gain: {} goes 41.2 % → 40.9 % with Spin, which may be chance"),
        (412, 453, 0.004, "worse", "+10.0 %", "Spin raises {} by 10.0 % relative: 41.2 % → 45.3 %"),
        (412, 412, 1.0, "", "0.0 %", "No gain: {} is 41.2 % with and without Spin"),
        (412, 300, None, "", "−27.2 %", "No reliable gain: {} goes 41.2 % → 30.0 % with Spin, which may be chance"),
        (0, 5, 0.02, "worse", "—", "Spin raises {}: 0.0 % → 0.5 %"),
    ],
)
def test_gain_loss_and_chance(report, baseline, errors, p_value, tone, figure, title):
    report["asr"]["baseline"]["test"]["hlg"] = result(baseline)
    report["asr"]["spin"]["test"]["hlg"] = result(errors)
    report["gain"]["spin"]["test"]["hlg"] = {"relative_wer_reduction": None, "p_value": p_value}
    answer = headline(report)
    assert (answer.tone, plain(answer.figure)) == (tone, figure)
    assert plain(answer.title) == title.format("the word error rate on test")


def test_nothing_decoded(report):
    report["asr"] = {"baseline": {}, "spin": {"test": {}}}
    assert primary(report) is None and not headline(report).tone
    assert "Highest PNMI of 2 systems: Spin, 0.426" in headline(report).detail
    assert headline({**report, "systems": ["baseline"]}).detail == ""


def test_of_several_systems_the_trained_one_is_the_subject(five):
    report = five[0]
    assert subject(report) == "spin"
    assert plain(headline(report).detail).endswith("Lowest of 5 systems: r spin, 20.8 %.")
    assert subject({"systems": ["hubert", "wavlm", "fbank"]}) == "wavlm" and subject({"systems": ["hubert"]}) is None


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


def test_words_and_phones_are_counted_once_over_several_recognisers(report):
    assert "1,000 words, one recogniser trained per system" in headline(report).detail
    report["seeds"] = [0, 1, 2, 3]
    assert "250 words, 4 recognisers trained" in headline(report).detail
    for name in ("baseline", "spin"):
        report["asr"][name]["test"]["hlg"]["per"] = report["asr"][name]["test"]["hlg"]["wer"]
    assert "phone error rate" in headline(report).title and "250 phones" in headline(report).detail
