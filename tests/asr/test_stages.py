"""Stages 4 and 5 on a small corpus: their results, and what a change invalidates."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from spin import artifacts
from spin.asr.decode import Decoding, best_scale
from spin.asr.decoders import DECODERS, Decoder, DecodingResult
from spin.asr.training import Training
from spin.errors import DataError
from spin.report.measures import method_title
from spin.runtime.files import read_json, read_jsonl
from tests.asr.tiny_asr import SYSTEMS, decode_all, folder_of, make_config, make_context, run_stage_4


@pytest.mark.parametrize("source", ["features", "units"])
def test_histories_and_scores(trained, source):
    scores, suffix = read_json(artifacts.scores(trained[0].exp)), "" if source == "features" else "_from_units"
    assert set(scores) == {"asr", "gain", "asr_from_units", "gain_from_units"}
    results, gain = scores[f"asr{suffix}"], scores[f"gain{suffix}"]["fbank"]["eval"]["ctc_1best"]
    assert list(results) == list(SYSTEMS)
    for system in SYSTEMS:
        records = list(read_jsonl(artifacts.history_in(folder_of(trained[0], system, 0, source))))
        assert [record["step"] for record in records] == [20, 40]
        assert set(records[0]) == {"step", "loss", "valid_loss", "valid_wer", "valid_cer"}
        assert records[1]["valid_loss"] < records[0]["valid_loss"]
        for method in ("ctc_1best", "hlg"):
            score = results[system]["eval"][method]
            assert [one["seed"] for one in score["per_seed"]] == [0, 1]
            assert score["wer"] == pytest.approx(np.mean([one["wer"] for one in score["per_seed"]]))
            assert score["ci95"][0] <= score["wer"] <= score["ci95"][1]
    before, after = (results[system]["eval"]["ctc_1best"]["wer"] for system in SYSTEMS)
    assert gain["relative_wer_reduction"] == pytest.approx(100 * (before - after) / before if before else 0.0)
    assert 0 < gain["p_value"] <= 1 and results["fbank"]["eval"]["hlg"]["wer"] < 40  # the made-up speech is easy


def test_files_of_a_decoding(trained):
    context, _ = trained
    folder = artifacts.decoding_folder(context.exp, "fbank", "features", 0, "eval", "hlg")
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert names == {"hypotheses.txt", "alignments.txt", "errors.txt", "counts.jsonl", "summary.json"}
    rates = read_json(artifacts.tuning(context.exp, "fbank", "features", 0, "hlg"))["wer"]
    summary = read_json(artifacts.decode_summary(folder))
    assert set(rates) == {"0.2", "0.5"} and summary["lm_scale"] == best_scale(rates) and summary["empty_lattices"] == 0
    boards = make_context(trained[1], context.config).tensorboard, context.tensorboard
    assert list(boards[0].glob("fbank/units/seed1/events*")) and list(boards[1].glob("fbank/events*"))


@pytest.fixture
def built(monkeypatch) -> list:
    """What is trained and decoded, in order: (system, source, seed), of decodings with part and method."""
    done, run, build = [], Training.run, Decoding.build

    def spied_run(self):
        done.append((self.job.system.name, self.job.source, self.job.seed))
        return run(self)

    def spied_build(self, product, part, method, scales):
        done.append((self.recogniser.system.name, self.recogniser.source, self.recogniser.seed, part, method))
        build(self, product, part, method, scales)

    monkeypatch.setattr(Training, "run", spied_run)
    monkeypatch.setattr(Decoding, "build", spied_build)
    return done


def test_finished_work_is_skipped_and_lost_work_repeated_to_the_bit(trained, tmp_path, built):
    shutil.copytree(trained[1], tmp_path / "work")
    config, scores = trained[0].config, artifacts.scores(trained[0].exp).read_bytes()
    context = decode_all(tmp_path / "work", config)
    assert built == []
    shutil.rmtree(artifacts.decoding_folder(context.exp, "baseline", "units", 1, "eval", "hlg"))
    artifacts.tuning(context.exp, "baseline", "units", 1, "hlg").unlink()
    decode_all(tmp_path / "work", config)
    assert built == [("baseline", "units", 1, "eval", "hlg")]
    assert artifacts.scores(context.exp).read_bytes() == scores


def test_more_seeds_methods_and_samples_compute_only_what_is_new(trained, tmp_path, built):
    shutil.copytree(trained[1], tmp_path / "work")
    asr, decoding = {"seeds": (0, 1, 2)}, {"methods": ("ctc_1best", "hlg", "hlg_lattice"), "rescore_order": 3}
    run_stage_4(make_context(tmp_path / "work", make_config({**asr, "max_steps": 40}, decoding=decoding)))
    assert built == [(system, "features", 2) for system in SYSTEMS]
    built.clear()
    context = decode_all(tmp_path / "work", make_config(asr, decoding={**decoding, "bootstrap_samples": 150}))
    new = [(seed, "eval", method) for seed in (0, 1, 2) for method in DECODERS if seed == 2 or method == "hlg_lattice"]
    assert sorted(built) == sorted((system, "features", *place) for system in SYSTEMS for place in new)
    assert "hlg_lattice" in read_json(artifacts.scores(context.exp))["gain"]["fbank"]["eval"]
    built.clear()
    run_stage_4(make_context(tmp_path / "work", make_config({**asr, "checkpoint_every_steps": 7, "unit_input": "pieces"})))
    assert built == []


def test_a_new_decoder_is_one_entry(trained, tmp_path, monkeypatch):
    shutil.copytree(trained[1], tmp_path / "work")

    def shout(resources, log_probs, lengths, search_scale, scales):
        return dict.fromkeys(scales, DecodingResult(["BE"] * len(lengths)))

    monkeypatch.setitem(DECODERS, "shout", Decoder(shout, "Always the same word"))
    context = decode_all(tmp_path / "work", make_config({"seeds": (0, 1)}, decoding={"methods": ("shout",)}))
    rows = artifacts.hypotheses(artifacts.decoding_folder(context.exp, "fbank", "features", 0, "eval", "shout")).read_text()
    assert {row.split("\t")[2] for row in rows.splitlines()} == {"BE"}
    assert set(read_json(artifacts.scores(context.exp))["asr"]["fbank"]["eval"]) == {"shout"}
    assert method_title("shout") == "Always the same word"


def test_a_missing_recogniser_is_an_error(work_folder):
    with pytest.raises(DataError, match="--stage 4"):
        decode_all(work_folder, make_config(decoding={"methods": ("ctc_1best",)}))
