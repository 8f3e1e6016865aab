"""Stages 4 and 5 on a small made-up corpus: resume to the bit, what is left out, scores, failures with reasons."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal

import numpy as np
import pytest
import torch
from lhotse import CutSet

from spin import artifacts
from spin.asr import decoding_job, training
from spin.asr.decoding_stage import decode
from spin.asr.features import FeatureStatistics
from spin.asr.training_job import learning_rate
from spin.asr.training_stage import train_asr
from spin.errors import CheckpointError, ConfigError, DataError, TrainingError
from spin.runtime.checkpoints import CheckpointStore, read_checkpoint
from spin.runtime.files import read_json, read_jsonl
from tests.asr.toys import Killed, train_until_killed


@pytest.fixture(scope="module")
def trained(made_corpus, tmp_path_factory, tools):
    """(context, folder) after stages 4 and 5 with two seeds. Not to be written to."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "exp").mkdir()
    (folder / "exp" / "units").symlink_to(made_corpus / "exp" / "units")
    (folder / "data").symlink_to(made_corpus / "data")
    context = tools.context(folder, tools.config(seeds=(0, 1)))
    train_asr(context)
    decode(context)
    return context, folder


def weights(context, system: str, seed: int) -> dict[str, torch.Tensor]:
    return read_checkpoint(artifacts.asr_model(context.exp, system, seed))[1]["model"]


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_history_has_a_line_for_each_validation(trained):
    context, _ = trained
    for system in artifacts.SYSTEMS:
        records = list(read_jsonl(artifacts.asr_history(context.exp, system, 0)))
        assert [record["step"] for record in records] == [20, 40]
        assert set(records[0]) == {"step", "loss", "valid_loss", "valid_wer", "valid_cer"}
        assert records[1]["valid_loss"] < records[0]["valid_loss"]


def test_scores(trained):
    context, _ = trained
    scores = read_json(artifacts.scores(context.exp))
    for system in artifacts.SYSTEMS:
        for method in ("ctc_1best", "hlg"):
            score = scores["asr"][system]["eval"][method]
            assert score["wer"] == pytest.approx(100 * score["errors"] / score["words"])
            assert score["ci95"][0] <= score["wer"] <= score["ci95"][1]
            assert [one["seed"] for one in score["per_seed"]] == [0, 1]
            assert score["wer"] == pytest.approx(np.mean([one["wer"] for one in score["per_seed"]]))
    gain = scores["gain"]["eval"]["ctc_1best"]
    before, after = (scores["asr"][system]["eval"]["ctc_1best"]["wer"] for system in artifacts.SYSTEMS)
    assert gain["relative_wer_reduction"] == pytest.approx(100 * (before - after) / before if before else 0.0)
    assert 0 < gain["p_value"] <= 1
    assert scores["asr"]["spin"]["eval"]["hlg"]["wer"] < 40  # the made-up speech is easy


def test_files_of_a_decoding(trained):
    context, _ = trained
    folder = artifacts.decode_folder(context.exp, "spin", 0, "eval", "hlg")
    assert {path.name for path in folder.iterdir()} == {
        "hypotheses.txt",
        "alignments.txt",
        "errors.txt",
        "counts.jsonl",
        "summary.json",
    }
    assert read_json(artifacts.lm_tuning(context.exp, "spin", 0))["lm_scale"] in context.config.decoding.lm_scales
    assert read_json(artifacts.decode_summary(folder))["empty_lattices"] == 0
    assert list(context.tensorboard.glob("spin/seed1/events*")) and list(context.tensorboard.glob("spin/events*"))


def test_finished_decodings_are_kept_and_lost_ones_made_again_the_same(trained, monkeypatch):
    context, _ = trained
    scores = artifacts.scores(context.exp).read_bytes()
    done = []
    original = decoding_job.Decoding.decode_part
    monkeypatch.setattr(decoding_job.Decoding, "decode_part", lambda self, place: (done.append(place[1:]), original(self, place)))
    decode(context)
    assert done == []
    artifacts.decode_summary(artifacts.decode_folder(context.exp, "baseline", 1, "eval", "hlg")).unlink()
    artifacts.lm_tuning(context.exp, "baseline", 1).unlink()
    decode(context)
    assert done == [("baseline", 1, "eval", "hlg")]
    assert artifacts.scores(context.exp).read_bytes() == scores


@pytest.mark.parametrize(("kind", "kill_at"), [("conv", 7), ("conv", 20), ("conv", 33), ("blstm", 33)])
def test_resume_to_the_bit(work_folder, trained, kind, kill_at, tools):
    config = tools.config(model=kind)
    context = tools.context(work_folder, config)
    if kind == "conv":
        whole = weights(trained[0], "spin", 0)
        history = artifacts.asr_history(trained[0].exp, "spin", 0).read_bytes()
    else:
        train_asr(context)
        whole, history = weights(context, "spin", 0), artifacts.asr_history(context.exp, "spin", 0).read_bytes()
        shutil.rmtree(artifacts.asr_folder(context.exp, "spin"))
    train_until_killed(context, "spin", kill_at)
    train_asr(context)
    assert same(weights(context, "spin", 0), whole)
    assert artifacts.asr_history(context.exp, "spin", 0).read_bytes() == history


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stop_leaves_a_checkpoint_of_the_very_step(work_folder, trained, monkeypatch, tools, number, status):
    context = tools.context(work_folder, tools.config())
    original = training.Training.update

    def stopped(self, batch):
        if self.step == 12 and self.job.system == "spin":  # between two checkpoints
            os.kill(os.getpid(), number)
        return original(self, batch)

    monkeypatch.setattr(training.Training, "update", stopped)
    with pytest.raises(SystemExit) as ending:
        train_asr(context)
    assert ending.value.code == status
    assert (artifacts.asr_seed_folder(context.exp, "spin", 0) / "step-000000013.pt").exists()
    monkeypatch.setattr(training.Training, "update", original)
    train_asr(context)
    assert same(weights(context, "spin", 0), weights(trained[0], "spin", 0))


def test_kill_between_checkpoint_and_note_of_the_best(work_folder, trained, monkeypatch, tools):
    context = tools.context(work_folder, tools.config())
    original = CheckpointStore.save

    def torn(self, step, state, score=None):
        original(self, step, state)
        if score is not None:
            raise Killed

    monkeypatch.setattr(CheckpointStore, "save", torn)
    with pytest.raises(Killed):
        train_asr(context)
    monkeypatch.setattr(CheckpointStore, "save", original)
    train_asr(context)
    for system in artifacts.SYSTEMS:
        assert same(weights(context, system, 0), weights(trained[0], system, 0))


def test_a_damaged_newest_checkpoint_that_is_also_the_best(work_folder, trained, tools):
    """Both are names of the same bytes, so a damaged disk takes both: the step is done again, and is the best again."""
    context = tools.context(work_folder, tools.config())
    train_until_killed(context, "spin", 25)
    folder = artifacts.asr_seed_folder(context.exp, "spin", 0)
    newest = CheckpointStore(folder).paths()[-1]
    assert newest.name == "step-000000020.pt" and read_json(folder / "best.json")["step"] == 20
    with open(newest, "r+b") as stream:
        stream.seek(200)
        stream.write(bytes(3000))
    with pytest.raises(CheckpointError):
        read_checkpoint(folder / "best.pt")
    train_asr(context)
    assert same(weights(context, "spin", 0), weights(trained[0], "spin", 0))


def test_a_best_model_that_is_lost_says_how_to_go_on(work_folder, tools):
    context = tools.context(work_folder, tools.config())
    train_asr(context)
    folder = artifacts.asr_seed_folder(context.exp, "spin", 0)
    assert read_json(folder / "best.json")["step"] == 20  # older than the checkpoints that are kept
    whole = weights(context, "spin", 0)
    artifacts.asr_model(context.exp, "spin", 0).write_bytes(b"")
    with pytest.raises(CheckpointError, match=f"remove {folder}, then run stage 4"):
        train_asr(context)
    shutil.rmtree(folder)
    train_asr(context)
    assert same(weights(context, "spin", 0), whole)


def test_jobs_in_processes_give_the_same_bits(work_folder, trained, tools):
    config = tools.config()
    config = dataclasses.replace(config, runtime=dataclasses.replace(config.runtime, nj=2))
    context = tools.context(work_folder, config)
    train_asr(context)
    for system in artifacts.SYSTEMS:
        assert same(weights(context, system, 0), weights(trained[0], system, 0))


def own_units(tools, folder, texts: list[str]) -> None:
    """Features of other training texts, the rest as it was."""
    units = folder / "exp" / "units"
    target = units.resolve()
    units.unlink()
    shutil.copytree(target, units)
    for system in artifacts.SYSTEMS:
        tools.write_part(folder / "exp", system, "train", texts, "one")


def test_empty_and_too_short_utterances_are_named_and_left_out(work_folder, tools):
    own_units(tools, work_folder, ["AB CAB", "", "DACE HAD", "FACE FACE"] * 6)
    for system in artifacts.SYSTEMS:
        path = artifacts.units_cuts(work_folder / "exp", system, "train")
        cuts = list(CutSet.from_file(path))
        cuts[0].supervisions[0].text = "AB CAB " * 30
        CutSet.from_cuts(cuts).to_file(path)
    config = tools.config(max_steps=2, valid_every_steps=2)
    context = tools.context(
        work_folder, dataclasses.replace(config, corpus=dataclasses.replace(config.corpus, max_bad_share=0.5))
    )
    train_asr(context)
    records = list(read_jsonl(artifacts.rejects(context.exp, 4)))
    assert len(records) == 7
    assert records[0]["id"] == "train-000" and records[0]["reason"].startswith("too short for its text: ")
    assert {record["reason"] for record in records[1:]} == {"no transcript"}
    with pytest.raises(DataError, match="7 of 24"):
        train_asr(tools.context(work_folder, config))


def test_features_that_are_no_numbers_stop_the_training(work_folder, monkeypatch, tools):
    broken = FeatureStatistics(np.zeros(12, np.float32), np.full(12, np.nan, np.float32))
    monkeypatch.setattr("spin.asr.training_stage.measure", lambda *_: broken)
    with pytest.raises(TrainingError, match="baseline, seed 0"):
        train_asr(tools.context(work_folder, tools.config()))


def test_unknown_method_and_missing_model_are_errors(work_folder, trained, tools):
    config = tools.config()
    wrong = dataclasses.replace(config, decoding=dataclasses.replace(config.decoding, methods=("oracle",)))
    with pytest.raises(ConfigError, match="decoding.methods"):
        decode(tools.context(work_folder, wrong))
    with pytest.raises(DataError, match="tokens.txt"):
        decode(tools.context(work_folder, config))


def test_learning_rate(tools):
    config = tools.config(max_steps=100, warmup_steps=10, learning_rate=1.0)
    assert learning_rate(5, config.asr) == pytest.approx(0.5)
    assert learning_rate(10, config.asr) == pytest.approx(1.0)
    assert learning_rate(55, config.asr) == pytest.approx(0.51)
    assert learning_rate(100, config.asr) == pytest.approx(0.02)
    assert learning_rate(1, tools.config(warmup_steps=0, learning_rate=1.0).asr) <= 1.0
