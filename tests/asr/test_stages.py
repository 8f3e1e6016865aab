"""Stages 4 and 5 on a small corpus: their results, and what a change invalidates."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from spin import artifacts
from spin.asr.decoders import DECODERS, Decoder, DecodingResult
from spin.report.measures import method_title
from spin.runtime.files import read_json, read_jsonl
from tests.asr.tiny_asr import SYSTEMS, decode_all, folder_of, make_config


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
