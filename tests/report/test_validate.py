"""Checking one report and comparing two."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest

from spin.report.validate import differences, main, problems
from spin.runtime.files import write_json, write_text

REMOVE = object()

# (path of keys, new value, the key that the message must begin with)
DAMAGE = [
    ("schema", 1, "schema"),
    ("schema", True, "schema"),
    ("schema", "2", "schema"),
    ("name", "", "name"),
    ("name", REMOVE, "name"),
    ("commit", "main", "commit"),
    ("commit", "abc", "commit"),
    ("command", None, "command"),
    ("device", 3, "device"),
    ("k2", " ", "k2"),
    ("torch", REMOVE, "torch"),
    ("seeds", [], "seeds"),
    ("seeds", [0, 0], "seeds"),
    ("seeds", [0.5], "seeds.0"),
    ("seeds", 0, "seeds"),
    ("systems", [], "systems"),
    ("systems", ["baseline", "baseline"], "systems"),
    ("systems", ["baseline", "spin", "third"], "units.third"),
    ("systems", REMOVE, "systems"),
    ("seconds", [], "seconds"),
    ("seconds.stage0", -1.0, "seconds.stage0"),
    ("seconds.stage0", "12", "seconds.stage0"),
    ("seconds.total", 3.0, "seconds.total"),
    ("units", REMOVE, "units"),
    ("units.spin", REMOVE, "units.spin"),
    ("units.spin", 4, "units.spin"),
    ("units.spin.K", 1, "units.spin.K"),
    ("units.spin.K", None, "units.spin.K"),
    ("units.spin.K", 24.0, "units.spin.K"),
    ("units.spin.pnmi", 1.01, "units.spin.pnmi"),
    ("units.spin.pnmi", REMOVE, "units.spin.pnmi"),
    ("units.baseline.phone_purity", -0.1, "units.baseline.phone_purity"),
    ("units.baseline.cluster_purity", True, "units.baseline.cluster_purity"),
    ("units.baseline.abx_within", 101, "units.baseline.abx_within"),
    ("units.baseline.abx_across", "9", "units.baseline.abx_across"),
    ("units.baseline.bitrate", -3, "units.baseline.bitrate"),
    ("units.spin.perplexity", -3, "units.spin.perplexity"),
    ("units.spin.a_new_metric", "high", "units.spin.a_new_metric"),
    ("units_by_part.spin.test.pnmi", "high", "units_by_part.spin.test.pnmi"),
    ("speaker.spin", REMOVE, "speaker.spin"),
    ("speaker.spin.accuracy", 98.0, "speaker.spin.accuracy"),
    ("speaker.chance", REMOVE, "speaker.chance"),
    ("asr.baseline", REMOVE, "asr.baseline"),
    ("asr.spin.test", REMOVE, "asr.spin.test.ctc_1best"),
    ("asr.baseline.test.hlg", REMOVE, "asr.baseline.test.hlg"),
    ("asr.spin.test.hlg", 36.1, "asr.spin.test.hlg"),
    ("asr.spin.test.hlg.wer", None, "asr.spin.test.hlg.wer"),
    ("asr.spin.test.hlg.wer", float("nan"), "asr.spin.test.hlg.wer"),
    ("asr.spin.test.hlg.wer", 0.361, "asr.spin.test.hlg.wer"),
    ("asr.spin.test.hlg.cer", -1, "asr.spin.test.hlg.cer"),
    ("asr.spin.test.hlg.ci95", [37.0, 36.0], "asr.spin.test.hlg.ci95"),
    ("asr.spin.test.hlg.ci95", [37.0], "asr.spin.test.hlg.ci95"),
    ("asr.spin.test.hlg.ci95", [-1.0, 37.0], "asr.spin.test.hlg.ci95"),
    ("asr.spin.test.hlg.words", 0, "asr.spin.test.hlg.words"),
    ("asr.spin.test.hlg.errors", REMOVE, "asr.spin.test.hlg.errors"),
    ("gain", REMOVE, "gain"),
    ("gain.spin", REMOVE, "gain.spin.test.ctc_1best"),
    ("gain.spin.test", 5, "gain.spin.test"),
    ("gain.spin.test.hlg", REMOVE, "gain.spin.test.hlg"),
    ("gain.spin.test.hlg.relative_wer_reduction", 0.124, "gain.spin.test.hlg.relative_wer_reduction"),
    ("gain.spin.test.hlg.relative_wer_reduction", None, "gain.spin.test.hlg.relative_wer_reduction"),
    ("gain.spin.test.hlg.p_value", 1.5, "gain.spin.test.hlg.p_value"),
    ("gain.spin.test.hlg.p_value", REMOVE, "gain.spin.test.hlg.p_value"),
    ("asr_from_units", {"baseline": {}, "spin": {}}, "asr_from_units"),
]


def damage(report, path, value):
    made = copy.deepcopy(report)
    *keys, last = path.split(".")
    holder = made
    for key in keys:
        holder = holder[key]
    if value is REMOVE:
        del holder[last]
    else:
        holder[last] = value
    return made


@pytest.fixture
def file(tmp_path, report):
    write_json(tmp_path / "report.json", report)
    return tmp_path / "report.json"


@pytest.mark.parametrize(("path", "value", "key"), DAMAGE)
def test_every_damage_is_named(report, path, value, key):
    found = problems(damage(report, path, value))
    assert found and found[0].startswith(key), found


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("commit", "unknown"),
        ("commit", "0123abc-dirty"),
        ("units.spin.pnmi", None),
        ("units.spin.abx_across", None),
        ("units.spin.perplexity", REMOVE),
        ("units.spin.a_new_metric", 3),
        ("units_by_part", {}),
        ("speaker.chance", None),
        ("gain.spin.test.hlg.p_value", None),
        ("seconds", {}),
        ("a_key_of_a_later_edition", {"x": 1}),
    ],
)
def test_schema_2_allows(report, path, value):
    assert problems(damage(report, path, value)) == []


def test_units_alone_may_be_recognised(report):
    report |= {"asr_from_units": report["asr"], "gain_from_units": report["gain"], "asr": {}, "gain": {}}
    assert problems(report) == []


@pytest.mark.parametrize("value", [None, [], 3, "report"])
def test_a_report_must_be_an_object(value):
    assert problems(value)[0].startswith("report: found")


def test_an_empty_object_names_every_section():
    lines = problems({})
    assert {f"{key}: missing" for key in ("schema", "name", "seeds", "systems", "units", "asr")} <= set(lines)


def test_a_baseline_without_errors(report):
    report["asr"]["baseline"]["test"]["hlg"] |= {"wer": 0.0, "errors": 0, "ci95": [0.0, 0.0]}
    report["gain"]["spin"]["test"]["hlg"]["relative_wer_reduction"] = 0.0
    assert problems(report) == []
    report["gain"]["spin"]["test"]["hlg"]["relative_wer_reduction"] = 12.0
    assert problems(report)[0].startswith("gain.spin.test.hlg.relative_wer_reduction: found 12")


def test_nothing_decoded(report):
    for asr in ({}, {"baseline": {}, "spin": {}}):
        assert problems({**report, "asr": asr, "gain": {}}) == ["asr: no part was decoded, expected at least one"]


def test_command_line(file, tmp_path, report, capsys):
    assert main([str(file)]) == 0
    write_json(tmp_path / "bad.json", damage(report, "units.spin.pnmi", 7))
    assert main([str(file), str(tmp_path / "bad.json")]) == 1
    assert "bad.json: units.spin.pnmi: found 7, expected less than or equal to 1" in capsys.readouterr().err
    write_text(tmp_path / "torn.json", '{"schema": 2')
    assert main([str(tmp_path / "torn.json")]) == 1
    assert main([str(tmp_path / "absent.json")]) == 1
    assert "absent.json: no such file" in capsys.readouterr().err


def test_same(file, tmp_path, report, capsys):
    other = tmp_path / "other.json"
    write_json(other, {**report, "seconds": {"stage0": 99.9}})
    assert main(["--same", str(file), str(other)]) == 0
    write_json(other, damage(report, "units.spin.pnmi", 0.4261))
    assert main(["--same", str(file), str(other)]) == 1
    assert capsys.readouterr().err.startswith("units.spin.pnmi: 0.426 / 0.4261")
    with pytest.raises(SystemExit):
        main(["--same", str(file)])


def test_differences():
    first = {"a": 1, "b": [1, {"c": 2}], "seconds": 5, "gone": 0}
    second = {"a": 1.0, "b": [1, {"c": 3}], "seconds": 6, "new": 0}
    assert list(differences(first, second)) == ["a: 1 / 1.0", "b.1.c: 2 / 3", "gone: 0 / nothing", "new: nothing / 0"]
    assert list(differences([1], [1, 2])) == ["report: [1] / [1, 2]"]
    assert list(differences(first, copy.deepcopy(first))) == []


def test_as_a_module(file, repository):
    command = [sys.executable, "-m", "spin.report.validate", str(file)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
