"""Stages 4 and 5 on a small corpus: resume to the bit, what is left out, what a change invalidates, failures with reasons."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal

import numpy as np
import pytest
import torch

from spin import artifacts
from spin.asr import decode, training
from spin.asr.decoders import DECODERS, Decoder, Recognised
from spin.asr.inputs import FeatureStatistics
from spin.asr.training import learning_rate
from spin.errors import CheckpointError, DataError, TrainingError
from spin.report.measures import method_title
from spin.runtime.checkpoints import CheckpointStore, read_checkpoint
from spin.runtime.files import read_json, read_jsonl
from tests.asr.tiny_asr import (
    SYSTEMS,
    Killed,
    decode_all,
    make_config,
    make_context,
    make_sentences,
    run_stage_4,
    train_until_killed,
    write_part,
    write_texts,
)


def folder_of(context, system: str = "fbank", seed: int = 0, source: str = "features"):
    return artifacts.recogniser_folder(context.exp, system, source, seed)


def weights(context, *place) -> dict[str, torch.Tensor]:
    return read_checkpoint(artifacts.asr_model_in(folder_of(context, *place)))[1]["model"]


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def partial(context, system: str = "fbank"):
    return folder_of(context, system).with_name("seed0.partial")


@pytest.mark.parametrize("source", ["features", "units"])
def test_history_has_a_line_for_each_validation(trained, source):
    for system in SYSTEMS:
        records = list(read_jsonl(artifacts.history_in(folder_of(trained[0], system, 0, source))))
        assert [record["step"] for record in records] == [20, 40]
        assert set(records[0]) == {"step", "loss", "valid_loss", "valid_wer", "valid_cer"}
        assert records[1]["valid_loss"] < records[0]["valid_loss"]


def test_scores(trained):
    scores = read_json(artifacts.scores(trained[0].exp))
    assert set(scores) == {"asr", "gain", "asr_from_units", "gain_from_units"}
    for results in (scores["asr"], scores["asr_from_units"]):
        assert list(results) == list(SYSTEMS)
        for system in SYSTEMS:
            for method in ("ctc_1best", "hlg"):
                score = results[system]["eval"][method]
                assert [one["seed"] for one in score["per_seed"]] == [0, 1]
                assert score["wer"] == pytest.approx(np.mean([one["wer"] for one in score["per_seed"]]))
                assert score["ci95"][0] <= score["wer"] <= score["ci95"][1]
    assert list(scores["gain"]) == ["fbank"]
    gain = scores["gain"]["fbank"]["eval"]["ctc_1best"]
    before, after = (scores["asr"][system]["eval"]["ctc_1best"]["wer"] for system in SYSTEMS)
    assert gain["relative_wer_reduction"] == pytest.approx(100 * (before - after) / before if before else 0.0)
    assert 0 < gain["p_value"] <= 1
    assert scores["asr"]["fbank"]["eval"]["hlg"]["wer"] < 40  # the made-up speech is easy
    assert scores["asr_from_units"]["fbank"]["eval"]["hlg"]["wer"] < 40


def test_files_of_a_decoding(trained):
    context, _ = trained
    folder = artifacts.decoding_folder(context.exp, "fbank", "features", 0, "eval", "hlg")
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert names == {"hypotheses.txt", "alignments.txt", "errors.txt", "counts.jsonl", "summary.json"}
    rates = read_json(artifacts.tuning(context.exp, "fbank", "features", 0, "hlg"))["wer"]
    assert set(rates) == {"0.2", "0.5"}
    assert read_json(artifacts.decode_summary(folder))["lm_scale"] == float(min(rates, key=lambda scale: (rates[scale], scale)))
    assert read_json(artifacts.decode_summary(folder))["empty_lattices"] == 0
    boards = make_context(trained[1], context.config).tensorboard, context.tensorboard
    assert list(boards[0].glob("fbank/units/seed1/events*")) and list(boards[1].glob("fbank/events*"))


def test_finished_work_is_skipped_and_lost_work_repeated_to_the_bit(trained, tmp_path, monkeypatch):
    shutil.copytree(trained[1], tmp_path / "work")
    config = trained[0].config
    scores = artifacts.scores(trained[0].exp).read_bytes()
    decoded, original = [], decode.Decoding.build

    def build(self, product, part, method, scales):
        decoded.append((self.recogniser.system.name, self.recogniser.source, self.recogniser.seed, part, method))
        original(self, product, part, method, scales)

    monkeypatch.setattr(decode.Decoding, "build", build)
    context = decode_all(tmp_path / "work", config)
    assert decoded == []
    shutil.rmtree(artifacts.decoding_folder(context.exp, "baseline", "units", 1, "eval", "hlg"))
    artifacts.tuning(context.exp, "baseline", "units", 1, "hlg").unlink()
    decode_all(tmp_path / "work", config)
    assert decoded == [("baseline", "units", 1, "eval", "hlg")]
    assert artifacts.scores(context.exp).read_bytes() == scores


def test_more_seeds_methods_and_samples_compute_only_what_is_new(trained, tmp_path, monkeypatch):
    shutil.copytree(trained[1], tmp_path / "work")
    asr, decoding = {"seeds": (0, 1, 2)}, {"methods": ("ctc_1best", "hlg", "hlg_lattice"), "rescore_order": 3}
    trainings, decodings = [], []
    train, build = training.Training.run, decode.Decoding.build
    monkeypatch.setattr(training.Training, "run", lambda self: (trainings.append(self.job.seed), train(self))[1])
    monkeypatch.setattr(
        decode.Decoding,
        "build",
        lambda self, *given: (decodings.append((self.recogniser.seed, *given[1:3])), build(self, *given)),
    )
    run_stage_4(make_context(tmp_path / "work", make_config({**asr, "max_steps": 40}, decoding=decoding)))
    assert trainings == [2, 2]
    context = decode_all(tmp_path / "work", make_config(asr, decoding={**decoding, "bootstrap_samples": 150}))
    new = [(seed, "eval", method) for seed in (0, 1, 2) for method in DECODERS if seed == 2 or method == "hlg_lattice"]
    assert sorted(decodings) == sorted(new * 2)
    assert "hlg_lattice" in read_json(artifacts.scores(context.exp))["gain"]["fbank"]["eval"]
    run_stage_4(make_context(tmp_path / "work", make_config({**asr, "checkpoint_every_steps": 7, "unit_input": "pieces"})))
    assert trainings == [2, 2]


def test_a_new_decoder_is_one_entry(trained, tmp_path, monkeypatch):
    shutil.copytree(trained[1], tmp_path / "work")

    def shout(tools, log_probs, lengths, search_scale, scales):
        return dict.fromkeys(scales, Recognised(["BE"] * len(lengths)))

    monkeypatch.setitem(DECODERS, "shout", Decoder(shout, "Always the same word"))
    config = make_config({"seeds": (0, 1)}, decoding={"methods": ("shout",)})
    context = decode_all(tmp_path / "work", config)
    rows = artifacts.hypotheses(artifacts.decoding_folder(context.exp, "fbank", "features", 0, "eval", "shout")).read_text()
    assert {row.split("\t")[2] for row in rows.splitlines()} == {"BE"}
    assert set(read_json(artifacts.scores(context.exp))["asr"]["fbank"]["eval"]) == {"shout"}
    assert method_title("shout") == "Always the same word"


@pytest.mark.parametrize(("kind", "kill_at"), [("conv", 7), ("conv", 20), ("conv", 33), ("blstm", 33)])
def test_resume_to_the_bit(work_folder, trained, kind, kill_at):
    context = make_context(work_folder, make_config({"model": kind}))
    if kind == "conv":
        reference = folder_of(trained[0])
    else:
        run_stage_4(context)
        reference = work_folder / "whole"
        shutil.move(folder_of(context), reference)
    train_until_killed(context, "fbank", kill_at)
    assert not folder_of(context).exists()
    run_stage_4(context)
    for name in ("best.safetensors", "history.jsonl"):
        assert (folder_of(context) / name).read_bytes() == (reference / name).read_bytes()


@pytest.mark.parametrize("kill_at", [17, 33])
def test_a_training_with_averaging_resumes_to_the_bit(work_folder, tmp_path, kill_at):
    config = make_config({"average": 3, "valid_every_steps": 10})
    shutil.copytree(work_folder, tmp_path / "whole")
    contexts = [make_context(folder, config) for folder in (tmp_path / "whole", work_folder)]
    run_stage_4(contexts[0])
    train_until_killed(contexts[1], "fbank", kill_at)
    run_stage_4(contexts[1])
    assert same(*(weights(context) for context in contexts))


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stop_leaves_a_checkpoint_of_the_very_step(work_folder, trained, monkeypatch, number, status):
    context = make_context(work_folder, make_config())
    original = training.Training.update

    def stopped(self, batch):
        if self.step == 12 and self.job.system.name == "fbank":  # between two checkpoints
            os.kill(os.getpid(), number)
        return original(self, batch)

    monkeypatch.setattr(training.Training, "update", stopped)
    with pytest.raises(SystemExit) as ending:
        run_stage_4(context)
    assert ending.value.code == status
    assert (partial(context) / "step-000000013.safetensors").exists()
    monkeypatch.setattr(training.Training, "update", original)
    run_stage_4(context)
    assert same(weights(context), weights(trained[0]))


def test_kill_between_checkpoint_and_note_of_the_best(work_folder, trained, monkeypatch):
    context = make_context(work_folder, make_config())
    original = CheckpointStore.save

    def torn(self, step, state, score=None):
        original(self, step, state)
        if score is not None:
            raise Killed

    monkeypatch.setattr(CheckpointStore, "save", torn)
    with pytest.raises(Killed):
        run_stage_4(context)
    monkeypatch.setattr(CheckpointStore, "save", original)
    run_stage_4(context)
    for system in SYSTEMS:
        assert same(weights(context, system), weights(trained[0], system))


def test_a_damaged_newest_checkpoint_that_is_also_the_best(work_folder, trained):
    """Both are names of the same bytes, so damage hits both: the step is repeated, and is the best again."""
    context = make_context(work_folder, make_config())
    train_until_killed(context, "fbank", 25)
    newest = CheckpointStore(partial(context)).paths()[-1]
    assert newest.name == "step-000000020.safetensors" and read_json(partial(context) / "best.json")["step"] == 20
    with open(newest, "r+b") as stream:
        stream.seek(0)
        stream.write(bytes(3000))
    with pytest.raises(CheckpointError):
        read_checkpoint(artifacts.asr_model_in(partial(context)))
    run_stage_4(context)
    assert same(weights(context), weights(trained[0]))


def test_jobs_in_processes_give_the_same_bits(work_folder, trained):
    config = make_config({"inputs": ("features", "units")})
    config = dataclasses.replace(config, runtime=dataclasses.replace(config.runtime, nj=2))
    run_stage_4(make_context(work_folder, config))
    for source in config.asr.inputs:
        assert same(weights(make_context(work_folder, config), "fbank", 0, source), weights(trained[0], "fbank", 0, source))


def test_empty_and_too_short_utterances_are_named_and_left_out(work_folder):
    config = make_config({"max_steps": 2, "valid_every_steps": 2}, corpus={"max_bad_share": 0.5})
    texts = ["AB CAB", "", "DACE HAD", "FACE FACE"] * 6
    write_part(make_context(work_folder, config, stage=3), "train", texts, ("one",), {0: 6})
    write_texts(make_context(work_folder, config, stage=3), make_sentences(20, 4))
    context = make_context(work_folder, config)
    run_stage_4(context)
    for system in SYSTEMS:
        records = list(read_jsonl(artifacts.rejects(context.exp, f"asr_{system}_features")))
        assert len(records) == 7
        assert records[0]["id"] == "train-000" and records[0]["reason"] == "too short for its text: 6 frames, 7 needed"
        assert {record["reason"] for record in records[1:]} == {"no transcript"}
    shutil.rmtree(folder_of(context, "baseline"))
    with pytest.raises(DataError, match="7 of 24"):
        run_stage_4(make_context(work_folder, make_config()))


def test_features_that_are_not_finite_stop_the_training(work_folder, monkeypatch):
    broken = FeatureStatistics(np.zeros(12, np.float32), np.full(12, np.nan, np.float32))
    monkeypatch.setattr("spin.asr.train_asr.measure_features", lambda *_: broken)
    with pytest.raises(TrainingError, match="baseline, features, seed 0"):
        run_stage_4(make_context(work_folder, make_config()))


def test_a_missing_recogniser_is_an_error(work_folder):
    with pytest.raises(DataError, match="--stage 4"):
        decode_all(work_folder, make_config(decoding={"methods": ("ctc_1best",)}))


def test_learning_rate():
    config = make_config({"max_steps": 100, "warmup_steps": 10, "learning_rate": 1.0}).asr
    assert [learning_rate(step, config) for step in (5, 10, 55, 100)] == pytest.approx([0.5, 1.0, 0.51, 0.02])
    assert learning_rate(1, make_config({"warmup_steps": 0, "learning_rate": 1.0}).asr) <= 1.0
