"""Checking a report."""

import copy
import functools

import pytest

from spin.report.validate import main, problems
from spin.runtime.files import write_json

REMOVE = object()
WRONG = [  # a value, and the keys that must not have it
    (REMOVE, "name torch systems units units.spin units.spin.pnmi speaker.spin speaker.chance"),
    (REMOVE, "asr.baseline asr.baseline.test.hlg asr.spin.test.hlg.errors gain gain.spin.test.hlg gain.spin.test.hlg.p_value"),
    (None, "command units.spin.K asr.spin.test.hlg.wer gain.spin.test.hlg.relative_wer_reduction"),
    (True, "schema units.baseline.cluster_purity"),
    (" ", "name k2"),
    ("1", "schema commit seconds.stage0 units.baseline.abx_across units.spin.a_new_metric units_by_part.spin.test.pnmi"),
    (1, "schema device units.spin units.spin.K asr.spin.test.hlg gain.spin.test seeds"),
    (0, "asr.spin.test.hlg.words"),
    (24.5, "units.spin.K asr.spin.test.hlg.wer gain.spin.test.hlg.relative_wer_reduction"),  # the last two by the counts
    (101, "units.spin.pnmi units.baseline.abx_within speaker.spin.accuracy gain.spin.test.hlg.p_value"),
    (-1.0, "seconds.stage0 units.baseline.phone_purity units.baseline.bitrate units.spin.perplexity asr.spin.test.hlg.cer"),
    (float("nan"), "asr.spin.test.hlg.wer"),
    ([], "seeds systems seconds"),
    ([0, 0], "seeds"),
    (["baseline", "baseline"], "systems"),
    ([37.0, 36.0], "asr.spin.test.hlg.ci95"),
    ([-1.0, 37.0], "asr.spin.test.hlg.ci95"),
    ([37.0], "asr.spin.test.hlg.ci95"),
    ({"total": 3.0}, "seconds"),
    ({"baseline": {}, "spin": {}}, "asr_from_units"),
]
ELSEWHERE = [  # key, its value, and the key that the message names
    ("seeds", [0.5], "seeds.0"),
    ("systems", ["baseline", "spin", "third"], "units.third"),
    ("asr.spin.test", REMOVE, "asr.spin.test.ctc_1best"),
    ("gain.spin", REMOVE, "gain.spin.test.ctc_1best"),
]
RIGHT = [
    (None, "units.spin.pnmi speaker.chance gain.spin.test.hlg.p_value"),
    ({}, "units_by_part seconds"),
    ("0123abc-dirty", "commit"),
    ("unknown", "commit a_key_of_a_later_edition"),
    (REMOVE, "units.spin.perplexity"),
    (3, "units.spin.a_new_metric"),
]


def cases(table):
    return [(key, value) for value, keys in table for key in keys.split()]


def damage(report, path, value):
    made = copy.deepcopy(report)
    *keys, last = path.split(".")
    holder = functools.reduce(dict.__getitem__, keys, made)
    holder[last] = value
    if value is REMOVE:
        del holder[last]
    return made


@pytest.mark.parametrize(("path", "value", "key"), [*((path, value, path) for path, value in cases(WRONG)), *ELSEWHERE])
def test_every_damage_is_named(report, path, value, key):
    found = problems(damage(report, path, value))
    assert found and found[0].startswith(key), found


@pytest.mark.parametrize(("path", "value"), cases(RIGHT))
def test_schema_2_allows(report, path, value):
    assert problems(damage(report, path, value)) == []


def test_a_baseline_without_errors(report):
    report["asr"]["baseline"]["test"]["hlg"] |= {"wer": 0.0, "errors": 0, "ci95": [0.0, 0.0]}
    report["gain"]["spin"]["test"]["hlg"]["relative_wer_reduction"] = 0.0
    assert problems(report) == []
    report["gain"]["spin"]["test"]["hlg"]["relative_wer_reduction"] = 12.0
    assert problems(report)[0].startswith("gain.spin.test.hlg.relative_wer_reduction: found 12")


def test_units_alone_nothing_decoded_and_nothing_at_all(report):
    for asr in ({}, {"baseline": {}, "spin": {}}):
        assert problems({**report, "asr": asr, "gain": {}}) == ["asr: no part was decoded, expected at least one"]
    assert problems(None)[0].startswith("report: found")
    assert {f"{key}: missing" for key in ("schema", "name", "seeds", "systems", "units", "asr")} <= set(problems({}))
    report |= {"asr_from_units": report["asr"], "gain_from_units": report["gain"], "asr": {}, "gain": {}}
    assert problems(report) == []


def test_command_line(tmp_path, report, capsys):
    file = tmp_path / "report.json"
    write_json(file, report)
    assert main([str(file)]) == 0 and capsys.readouterr() == ("", "")
    write_json(tmp_path / "bad.json", damage(report, "units.spin.pnmi", 7))
    assert main([str(file), str(tmp_path / "bad.json")]) == 1
    assert "bad.json: units.spin.pnmi: found 7, expected less than or equal to 1" in capsys.readouterr().err
    assert main([str(tmp_path / "absent.json")]) == 1
    assert "absent.json: no such file" in capsys.readouterr().err
