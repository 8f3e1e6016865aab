"""The benchmark of Spin: both sides train on the same mixture of lengths and on the same loss; the command's answer."""

import json

import numpy as np
import pytest

from spin.config import SpinConfig
from spin.data.plan import BatchSampler, scan_training_cuts
from spin.tools import benchmark, benchmark_spin
from spin.tools.benchmark import durations
from spin.tools.benchmark_spin import OfficialUpdate, official_batches, spread_batches
from spin.training import grad_cache
from tests.training.tiny_training import SHAPE, make_config, make_model, noise_batch


def test_reference_starts_from_the_same_loss_and_learns():
    config = make_config(learning_rate=1e-2)
    batch = noise_batch([16000] * 3)
    own = grad_cache.backward(make_model(config).train(), [batch]).value.item()
    reference = OfficialUpdate(make_model(config).train(), config)
    losses = [reference([batch]) for _ in range(8)]
    assert losses[0] == pytest.approx(own, rel=1e-5) and losses[-1] < losses[0]


def test_both_sides_train_on_the_same_mixture_of_lengths(monkeypatch):
    """The old benchmark cut our side's utterances to 2.5 s, while the reference trained on 12 s."""
    records = [
        {"id": f"u{index}", "duration": seconds, "start": 0.0, "recording": {"sampling_rate": 16000}}
        for index, seconds in enumerate(durations(benchmark_spin.CORPUS_BATCHES * 32.0))
    ]
    monkeypatch.setattr("spin.data.plan.read_records", lambda path: iter(records))
    settings = {"min_samples": benchmark_spin.MIN_SAMPLES, "batch_seconds": 32.0}
    equal, whole = (
        scan_training_cuts(["manifest"] * benchmark_spin.REPEATS, SpinConfig(**settings, equal_lengths=equal_lengths))
        for equal_lengths in (True, False)
    )
    own, reference = list(BatchSampler(equal, seed=0).batches(0)), official_batches(whole, 32.0)
    means = []
    for batches in (own, reference):
        plans = spread_batches(batches, (2, 6))[2:]
        means.append(np.mean([crop.duration for plan in plans for (crops,) in [plan.micro_batches] for crop in crops]))
    assert means[0] == pytest.approx(means[1], rel=0.1) and means[0] > 9.0


def test_command_prints_one_line_of_json(monkeypatch, capsys):
    monkeypatch.setitem(benchmark.SHAPES, "mini", SHAPE)
    monkeypatch.setattr(benchmark_spin, "CORPUS_BATCHES", 3)
    words = "--json --shape mini --batch-seconds 20 --updates 3 --device cpu --workers 0 --codebook-size 8"
    benchmark_spin.main(words.split())
    found = json.loads(capsys.readouterr().out)
    own, reference = found["own"], found["reference"]
    assert found["ratio"] == pytest.approx(own["audio_hours_per_second"] / reference["audio_hours_per_second"])
    assert all(0 < side["waiting_for_data"] < 1 and 0 <= side["padding"] < 1 for side in (own, reference))
    assert own["audio_seconds_per_utterance"] == pytest.approx(reference["audio_seconds_per_utterance"], rel=0.35)
