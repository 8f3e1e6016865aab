"""What is read of a run, and what is said when something is missing or damaged."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from spin import artifacts
from spin.errors import DataError
from spin.report.collect import collect, phone_counts, read_hypotheses, report_config, version
from spin.report.schema import problems
from spin.runtime.files import read_json, write_json, write_text


def gather(context, **keywords):
    return collect(context.config, context.exp, context.corpus, context.command, **keywords)


def test_a_whole_run(context):
    material = gather(context, device="cpu", stage5_seconds=3.21)
    report = material.report
    assert problems(report) == []
    assert report["seconds"] == {"stage0": 10.5, "stage1": 21.0, "stage2": 31.5, "stage3": 42.0, "stage4": 52.5, "stage5": 3.2}
    assert report["asr"] == read_json(artifacts.scores(context.exp))["asr"]
    assert report["units"]["spin"]["pnmi"] == 0.426
    assert report["speaker"]["chance"] == 0.033
    assert report["command"] == context.command and report["seeds"] == [0] and report["device"] == "cpu"
    assert [len(records) for records in material.asr_history["spin"].values()] == [7]
    assert len(material.spin_history) == 6
    assert {item.utterance_id for item in material.examples} == {"a1", "a2", "a3", "a4"}
    assert list(material.counts) == ["baseline", "spin"]


def test_perplexity_comes_from_the_counts_or_else_from_training(context):
    assert gather(context).report["units"]["baseline"]["perplexity"] == pytest.approx(22.5, abs=0.6)
    artifacts.unit_phone_counts(context.exp).unlink()
    units = gather(context).report["units"]
    assert units["baseline"]["perplexity"] is None
    assert units["spin"]["perplexity"] == 22.5


def test_without_alignments_phone_figures_are_null(context):
    quality = read_json(artifacts.unit_quality(context.exp))
    for system in artifacts.SYSTEMS:
        quality["units"][system] = {"K": 24, "bitrate": 190.0, "pnmi": None}
    quality["speaker"] = {}
    write_json(artifacts.unit_quality(context.exp), quality)
    artifacts.unit_phone_counts(context.exp).unlink()
    report = gather(context).report
    assert problems(report) == []
    assert report["units"]["spin"]["pnmi"] is None and report["units"]["spin"]["abx_across"] is None
    assert report["speaker"] == {"baseline": {"accuracy": None}, "spin": {"accuracy": None}, "chance": None}


def test_not_a_number_in_quality_is_null_and_said(context, caplog, monkeypatch):
    monkeypatch.setattr("spin.report.collect.get_logger", lambda name: __import__("logging").getLogger(name))
    path = artifacts.unit_quality(context.exp)
    path.write_text(path.read_text(encoding="utf-8").replace("0.426", "NaN"), encoding="utf-8")
    assert gather(context).report["units"]["spin"]["pnmi"] is None
    assert "units.spin.pnmi is nan" in caplog.text


def test_not_a_number_in_scores_is_an_error(context):
    path = artifacts.scores(context.exp)
    content = read_json(path)
    content["asr"]["spin"]["test"]["hlg"]["wer"] = float("nan")
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match=r"(?s)asr\.spin\.test\.hlg\.wer is nan.*run stage 5 again"):
        gather(context)


@pytest.mark.parametrize(("name", "stage"), [("unit_quality", 3), ("scores", 5)])
def test_a_missing_product_names_its_stage(context, name, stage):
    getattr(artifacts, name)(context.exp).unlink()
    with pytest.raises(DataError, match=rf"(?s)no such file.*stage {stage} .*--stage {stage} --stop-stage 5"):
        gather(context)


@pytest.mark.parametrize(("name", "stage"), [("unit_quality", 3), ("scores", 5)])
@pytest.mark.parametrize("content", ["{}", "[]", '{"units": 1, "asr": [], "speaker": {}, "gain": {}}', "{"])
def test_a_damaged_product_is_an_error_with_a_remedy(context, name, stage, content):
    write_text(getattr(artifacts, name)(context.exp), content)
    with pytest.raises(DataError, match="--force"):
        gather(context)


def test_damaged_counts(context):
    path = artifacts.unit_phone_counts(context.exp)
    np.savez(path, phones=np.array(["AA"]), counts_spin=np.ones((2, 3), np.int64))
    with pytest.raises(DataError, match=r"shape \(2, 3\), but 1 phones"):
        phone_counts(context.exp)
    path.write_bytes(b"no zip")
    with pytest.raises(DataError, match="run stage 3 again"):
        phone_counts(context.exp)


def test_hypotheses(tmp_path):
    path = tmp_path / "hypotheses.txt"
    assert read_hypotheses(path) == {}
    path.write_text("a\tONE TWO\t\nb\tTHREE\tTHREE\n", encoding="utf-8")
    assert read_hypotheses(path) == {"a": (["ONE", "TWO"], []), "b": (["THREE"], ["THREE"])}
    path.write_text("a\tONE\tONE\nb THREE\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"1 field\(s\) in line 2"):
        read_hypotheses(path)


def test_histories_and_texts_may_be_missing(context):
    artifacts.spin_history(context.exp).unlink()
    artifacts.asr_history(context.exp, "spin", 0).unlink()
    artifacts.hypotheses(context.exp, "spin", 0, "test", "hlg").unlink()
    material = gather(context)
    assert material.spin_history == [] and material.asr_history["spin"] == {0: []} and material.examples == []


def test_where_and_how_work_is_done_stays_out_of_the_report(config):
    other = dataclasses.replace(
        config,
        corpus=dataclasses.replace(config.corpus, data_dir="elsewhere", corpus_dir="some/place"),
        runtime=dataclasses.replace(config.runtime, nj=9, device="auto"),
    )
    assert report_config(config) == report_config(other)
    assert report_config(dataclasses.replace(config, seed=5)) != report_config(config)


def test_device_of_the_training_wins(context):
    mark = artifacts.done_mark(context.exp, 2)
    write_json(mark, {**read_json(mark), "device": "Some GPU"})
    assert gather(context).report["device"] == "Some GPU"
    assert gather(context, device="cpu").report["device"] == "cpu"
    mark.unlink()
    report = gather(context).report
    assert report["device"] == "cpu" and "stage2" not in report["seconds"]


def test_versions():
    assert version("numpy") == np.__version__
    assert version("no-such-package-of-this-project") == "not installed"
