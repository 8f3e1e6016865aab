"""Rows for RESULTS.md and the targets."""

from __future__ import annotations

import copy

import pytest

from spin.errors import DataError
from spin.report import results, targets
from spin.report.metrics import WER
from spin.report.runs import Pair, groups, recognition_pairs, spread
from spin.runtime.files import write_json


@pytest.fixture(scope="module")
def report(drawn):
    return drawn[0].report


def with_errors(report, baseline, spin, seed=0):
    """The report of another seed with other errors by HLG in 1,000 words."""
    made = copy.deepcopy(report)
    made["seed"] = made["config"]["seed"] = seed
    for system, errors in (("baseline", baseline), ("spin", spin)):
        made["asr"][system]["test"]["hlg"] |= {"errors": errors, "wer": errors / 10, "ci95": [errors / 10 - 1, errors / 10 + 1]}
    made["gain"]["test"]["hlg"]["relative_wer_reduction"] = 100 * (baseline - spin) / baseline
    return made


@pytest.fixture
def three(report):
    return [with_errors(report, *errors, seed) for seed, errors in enumerate(((400, 360), (410, 380), (420, 370)))]


def plain(text):
    return text.replace("\u00a0", " ")


def test_mean_and_spread_by_hand(three):
    pair = next(pair for pair in recognition_pairs(three, WER) if "HLG" in pair.name)
    assert pair.baseline == (40.0, 41.0, 42.0) and pair.spin == (36.0, 38.0, 37.0)
    assert plain(spread(WER, pair.baseline)) == "41.0 ± 1.0 %"
    assert pair.change == pytest.approx(-100 * 4 / 41)
    assert pair.better == 3
    assert plain(spread(WER, (40.0,))) == "40.0 %"


def test_seeds_inside_one_report_count_as_values(report):
    made = copy.deepcopy(report)
    for system, rates in (("baseline", (40.0, 42.4)), ("spin", (41.0, 31.2))):
        made["asr"][system]["test"]["hlg"]["per_seed"] = [
            {"seed": seed, "wer": rate, "cer": rate} for seed, rate in enumerate(rates)
        ]
    pair = next(pair for pair in recognition_pairs([made], WER) if "HLG" in pair.name)
    assert pair.baseline == (40.0, 42.4) and pair.better == 1


def test_table_of_three_runs(three):
    text = plain(results.markdown([(f"{index}.json", run) for index, run in enumerate(three)]))
    assert "### mini, K = 24, 3 runs" in text
    assert "| WER, test, HLG with n-gram LM ↓ | 41.0 ± 1.0 % | 37.0 ± 1.0 % | −9.8 % | 3 of 3 |" in text
    assert "| PNMI ↑ | 0.409 ± 0.000 | 0.426 ± 0.000 | +4.2 % | 3 of 3 |" in text
    assert "| ABX error, across speakers ↓ | 22.3 ± 0.0 % | 13.6 ± 0.0 % | −39.0 % | 3 of 3 |" in text
    assert text.count("./run.sh --conf conf/mini.yaml --stage 0 --stop-stage 5") == 3
    assert text.count("2 min 41 s") == 3


def test_one_run_has_no_spread(report):
    text = results.markdown([("a.json", report)], ("results",))
    assert "±" not in text and "1 run" in text and "better |" not in text


def test_other_settings_stand_apart(three):
    other = copy.deepcopy(three[1])
    for system in ("baseline", "spin"):
        other["units"][system]["K"] = 48
    assert [len(group) for group in groups([("a", three[0]), ("b", other), ("c", three[2])])] == [2, 1]
    other = copy.deepcopy(three[1])
    other["config"]["spin"]["max_steps"] += 1
    assert [len(group) for group in groups([("a", three[0]), ("b", other)])] == [1, 1]


def test_a_run_given_twice_or_damaged_is_an_error(three):
    with pytest.raises(DataError, match=r"(?s)b\.json.*a\.json"):
        groups([("a.json", three[0]), ("b.json", copy.deepcopy(three[0]))])
    with pytest.raises(DataError, match=r"(?s)bad\.json.*units: missing"):
        groups([("bad.json", {key: value for key, value in three[0].items() if key != "units"})])


def test_what_a_run_did_not_measure_has_no_row(three):
    three[1]["units"]["spin"]["pnmi"] = None
    text = results.markdown([(str(index), run) for index, run in enumerate(three)], ("results",))
    assert "| PNMI" not in text and "| phone purity" in text


def outcomes(runs):
    return [item.outcome for item in targets.verdicts(runs)]


def test_targets_met(three):
    found = targets.verdicts(three)
    assert [item.outcome for item in found] == ["met"] * 4
    assert "better for 3 of 3 seeds" in found[0].measured
    assert plain(found[1].measured) == "−39.0 %"


def test_each_seed_must_be_better(three):
    for run in three:
        for system in ("baseline", "spin"):
            for method in ("ctc_1best", "hlg"):
                run["asr"][system]["test"][method]["cer"] = 30.0
    assert outcomes(three)[0] == "met"
    three[1] = with_errors(three[1], 410, 411, 1)
    assert outcomes(three)[0] == "missed"


def test_cer_by_itself_is_enough(three):
    worse = [with_errors(run, 400, 410, seed) for seed, run in enumerate(three)]
    found = targets.verdicts(worse)[0]
    assert found.outcome == "met" and found.measured.startswith("CER, test")


@pytest.mark.parametrize(
    ("key", "baseline", "spin", "index", "outcome"),
    [
        ("abx_across", 20.0, 16.0, 1, "met"),
        ("abx_across", 20.0, 16.1, 1, "missed"),
        ("abx_across", None, 16.1, 1, "not measured"),
        ("abx_across", 0.0, 0.0, 1, "not measured"),
        ("pnmi", 0.41, 0.42, 2, "met"),
        ("pnmi", 0.41, 0.4199, 2, "missed"),
        ("pnmi", None, None, 2, "not measured"),
        ("perplexity", 1.0, 0.85 * 24, 3, "met"),
        ("perplexity", 1.0, 0.84 * 24, 3, "missed"),
        ("perplexity", 1.0, None, 3, "not measured"),
    ],
)
def test_borders_of_the_other_targets(report, key, baseline, spin, index, outcome):
    made = copy.deepcopy(report)
    made["units"]["baseline"][key], made["units"]["spin"][key] = baseline, spin
    assert outcomes([made])[index] == outcome


def test_a_pair_without_a_base_has_no_change():
    pair = Pair("x", WER, (0.0,), (1.0,))
    assert pair.change is None and pair.better == 0


def test_command_line(tmp_path, three, capsys):
    paths = []
    for index, run in enumerate(three):
        paths.append(str(tmp_path / f"{index}.json"))
        write_json(paths[-1], run)
    assert results.main([*paths, "--only", "targets"]) == 0
    out = capsys.readouterr().out
    assert "| target | measured | outcome |" in out and "| measure |" not in out
    assert results.main([paths[0], paths[0]]) == 1
    assert "the same setting, seeds and commit" in capsys.readouterr().err
    assert results.main([str(tmp_path / "absent.json")]) == 1
