"""Stage 5 from decoding to the written reports."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from spin import artifacts
from spin.errors import DataError, TrainingError
from spin.report import stage
from spin.report.schema import problems
from spin.report.validate import main as validate
from spin.runtime.files import read_json, write_json


@pytest.fixture
def decoded(monkeypatch):
    """Stands in for the decoding, whose product the made-up experiment already holds."""
    seen = []
    module = ModuleType("spin.asr.decoding_stage")
    module.decode = seen.append
    monkeypatch.setitem(sys.modules, "spin.asr.decoding_stage", module)
    return seen


def test_everything_is_written(context, decoded):
    stage.decode_and_report(context)
    assert decoded == [context]
    report = read_json(artifacts.report(context.exp, "json"))
    assert problems(report) == [] and report["device"] == "cpu"
    assert validate([str(artifacts.report(context.exp, "json"))]) == 0
    figures = artifacts.report(context.exp, "figures")
    linked = artifacts.report(context.exp, "md").read_text(encoding="utf-8")
    assert all(f"report.figures/{path.name}" in linked for path in figures.iterdir())
    assert len(list(figures.iterdir())) == 10
    assert artifacts.report(context.exp, "html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert list(context.tensorboard.glob("events.out.tfevents.*"))
    assert not list(context.exp.glob(".tmp-*"))


def test_two_folders_the_same_report(tmp_path, config, decoded, monkeypatch, build_experiment):
    monkeypatch.setattr(stage, "write_board", lambda *arguments: None)
    monkeypatch.setattr(stage, "draw", lambda material: [])
    contexts = [build_experiment(tmp_path / name, config) for name in ("one", "two")]
    for context in contexts:
        stage.decode_and_report(context)
    files = [str(artifacts.report(context.exp, "json")) for context in contexts]
    assert validate(["--same", *files]) == 0


def test_old_pictures_do_not_stay(context, decoded, monkeypatch):
    monkeypatch.setattr(stage, "write_board", lambda *arguments: None)
    monkeypatch.setattr(stage, "draw", lambda material: [])
    old = artifacts.report(context.exp, "figures") / "old.svg"
    old.parent.mkdir(parents=True)
    old.write_text("<svg/>", encoding="utf-8")
    stage.decode_and_report(context)
    assert not old.exists()


def test_figures_outside_the_schema_are_not_written(context, decoded):
    quality = read_json(artifacts.unit_quality(context.exp))
    quality["units"]["spin"]["pnmi"] = 42.6
    write_json(artifacts.unit_quality(context.exp), quality)
    with pytest.raises(DataError, match=r"units\.spin\.pnmi: found 42\.6"):
        stage.decode_and_report(context)
    assert not artifacts.report(context.exp, "json").exists()


def test_an_error_of_decoding_passes(context, monkeypatch):
    def decode(context):
        raise TrainingError("decoding", found="no model")

    module = ModuleType("spin.asr.decoding_stage")
    module.decode = decode
    monkeypatch.setitem(sys.modules, "spin.asr.decoding_stage", module)
    with pytest.raises(TrainingError, match="no model"):
        stage.decode_and_report(context)
