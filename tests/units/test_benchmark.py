"""The units benchmark gives one line of JSON with a ratio, and both ways compute the same."""

from __future__ import annotations

import json

from spin.units import benchmark


def test_json(capsys, small_models):
    options = ["--json", "--seconds", "4", "--repeats", "1", "--encoder", str(small_models[0]), "--device", "cpu"]
    benchmark.main(options)
    result = json.loads(capsys.readouterr().out)
    assert result["ratio"] > 0 and result["times_real_time"] > 0 and result["audio_seconds"] >= 4
    assert result["ratio"] == result["reference_seconds"] / result["seconds"]


def test_encoders_share_all_but_the_two_top_layers():
    twins = benchmark.make_twins(None, None)
    assert twins.shared == 2 and twins.layer == 4
    batches = benchmark.make_audio(200.0)
    assert len(batches) > 1 and all(len(batch[0]) * len(batch) <= 120 * 16_000 for batch in batches)
