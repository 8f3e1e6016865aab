"""Rows for RESULTS.md, by hand."""

import copy

import pytest

from spin.__main__ import main
from spin.config import Config
from spin.errors import DataError
from spin.report.measures import WER
from spin.runtime.files import write_json
from spin.tools.results import compare, group_runs, recognition_rows, render_results, spread
from tests.report.made_up_run import make_report, plain, result


def with_errors(report, baseline, spin, seed=0):
    """The report of another seed with other errors by HLG in 1,000 words."""
    made = copy.deepcopy(report)
    made["seed"] = made["config"]["seed"] = seed
    made["asr"]["baseline"]["test"]["hlg"] = result(baseline)
    made["asr"]["spin"]["test"]["hlg"] = result(spin)
    made["gain"]["spin"]["test"]["hlg"]["relative_wer_reduction"] = 100 * (baseline - spin) / baseline
    return made


@pytest.fixture
def three(tmp_path):
    report = make_report(tmp_path / "exp", Config())
    return [with_errors(report, *errors, seed) for seed, errors in enumerate(((400, 360), (410, 380), (420, 370)))]


def hlg(runs):
    return next(values for title, _, values in recognition_rows(runs) if title == "WER, test, HLG with n-gram LM")


def test_means_spreads_and_changes_by_hand(three):
    assert hlg(three) == [[40.0, 41.0, 42.0], [36.0, 38.0, 37.0]]
    assert plain(spread(WER, (40.0,))) == "40.0 %"
    assert list(map(plain, compare(WER, hlg(three)))) == ["41.0 ± 1.0 %", "37.0 ± 1.0 %", "−9.8 % (3 of 3)"]  # -100 * 4 / 41
    assert list(map(plain, compare(WER, [[0.0, 3.0], [1.0, 2.0]]))) == ["1.5 ± 2.1 %", "1.5 ± 0.7 %", "0.0 % (1 of 2)"]
    assert list(map(plain, compare(WER, [[0.0], [1.0]]))) == ["0.0 %", "1.0 %", "—"]


def test_seeds_of_one_report_count_as_values(three):
    report = three[0]
    for system, rates in (("baseline", (40.0, 42.4)), ("spin", (41.0, 31.2))):
        per_seed = [{"seed": seed, "wer": rate, "cer": rate} for seed, rate in enumerate(rates)]
        report["asr"][system]["test"]["hlg"]["per_seed"] = per_seed
    assert hlg([report]) == [[40.0, 42.4], [41.0, 31.2]]


def test_other_settings_are_apart(three):
    other = copy.deepcopy(three[1])
    for system in ("baseline", "spin"):
        other["units"][system]["K"] = 48
    assert [len(group) for group in group_runs([("a", three[0]), ("b", other), ("c", three[2])])] == [2, 1]
    other = copy.deepcopy(three[1])
    other["config"]["spin"]["max_steps"] += 1
    assert [len(group) for group in group_runs([("a", three[0]), ("b", other)])] == [1, 1]


def test_a_run_given_twice_or_damaged_is_an_error(three):
    with pytest.raises(DataError, match=r"(?s)b\.json.*a\.json"):
        group_runs([("a.json", three[0]), ("b.json", copy.deepcopy(three[0]))])
    with pytest.raises(DataError, match=r"(?s)bad\.json.*units: missing"):
        group_runs([("bad.json", {key: value for key, value in three[0].items() if key != "units"})])


def test_what_a_run_did_not_measure_has_no_row(three):
    files = [(str(index), run) for index, run in enumerate(three)]
    assert "| PNMI ↑ | 0.409 ± 0.000 | 0.426 ± 0.000 | +4.2 % (3 of 3) |" in plain(render_results(files))
    three[1]["units"]["spin"]["pnmi"] = None
    assert "| PNMI" not in render_results(files) and "| phone purity" in render_results(files)


def test_command_line(tmp_path, three, capsys):
    paths = [str(tmp_path / f"{index}.json") for index in range(3)]
    for path, run in zip(paths, three):
        write_json(path, run)
    assert main(["results", *paths, "--only", "runs"]) == 0 and "| commit |" in capsys.readouterr().out
    assert main(["results", paths[0], "--svg", str(tmp_path / "bars.svg")]) == 0
    assert "<svg" in (tmp_path / "bars.svg").read_text(encoding="utf-8") and capsys.readouterr().out == ""
