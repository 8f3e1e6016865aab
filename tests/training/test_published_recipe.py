"""The configurations say what the papers say; the learning rate against the official figures and at its edges."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spin.config import SpinConfig
from spin.config_io import load_config
from spin.objectives.spin import SINKHORN_ITERATIONS
from spin.training.loop import learning_rate

# Chang, Liu, Glass, Interspeech 2023, section 3.1.
PUBLISHED = {
    "codebook_dim": 256,
    "trainable_layers": 2,
    "temperature": 0.1,
    "sinkhorn_epsilon": 0.02,
    "learning_rate": 1e-4,
    "min_learning_rate": 1e-6,
    "weight_decay": 1e-6,
    "gradient_clip": 10.0,
    "warmup_steps": 2500,
    "max_steps": 5000,
    "min_samples": 40_000,
    "max_samples": 272_000,
    "accumulation": 1,
}


@pytest.mark.parametrize(
    "name, source, layer",
    [("hubert_base", "HUBERT_BASE", 12), ("wavlm_base", "WAVLM_BASE", 12), ("hubert_large", "HUBERT_LARGE", 24)],
)
def test_gpu_configurations_are_the_published_recipe(repository, name, source, layer):
    config = load_config(repository / "egs" / "librispeech" / "conf" / f"{name}.yaml")
    assert (config.name, config.encoder.source, config.encoder.layer) == (name, source, layer)
    assert not config.encoder.official_padding
    assert {key: getattr(config.spin, key) for key in PUBLISHED} == PUBLISHED
    assert config.spin.batch_seconds * 16_000 == 4_096_000
    assert SINKHORN_ITERATIONS == 3 and config.objective == "spin"
    assert config.corpus.spin_train == ("train-clean-100",)
    assert config.units.metrics_first_seconds == 10
    assert list(config.corpus.valid) == ["dev-clean", "dev-other"]


def test_the_rspin_configuration_is_the_published_recipe(repository):
    """Chang and Glass, NAACL 2024, sections 3.1 to 3.3 and appendix A.3; 100 h instead of 960 h."""
    config = load_config(repository / "egs" / "librispeech" / "conf" / "rspin_wavlm_base.yaml")
    spin, noise = config.spin, config.noise
    assert (config.objective, config.encoder.source, config.encoder.layer) == ("rspin", "WAVLM_BASE", 12)
    assert (spin.codebook_size, spin.trainable_layers, spin.batch_seconds) == (32, 12, 384)
    assert (spin.learning_rate, spin.min_learning_rate, spin.warmup_steps, spin.max_steps) == (1e-4, 1e-6, 4000, 10_000)
    assert (config.rspin.aux_weight, config.rspin.noise) == (5.0, True)
    assert (noise.min_snr_in_db, noise.max_snr_in_db) == (-10.0, 10.0) and noise.manifests


def test_official_learning_rates_to_the_bit(golden_dir):
    golden = json.loads((golden_dir / "schedule.json").read_text())
    assert [learning_rate(step, SpinConfig()) for step in golden["step"]] == golden["lr"]
    assert [learning_rate(step, SpinConfig()) for step in (0, 2500, 4999)] == pytest.approx([1e-6, 1e-4, 1e-6])


def rate(step: int, warmup: int, steps: int, **rates: float) -> float:
    return learning_rate(step, SpinConfig(warmup_steps=warmup, max_steps=steps, **rates))


@pytest.mark.parametrize(
    ("warmup", "steps", "expected"),
    [(0, 1, [1.0]), (2, 5, [0.1, 0.55, 1.0, 0.55, 0.1]), (9, 5, [0.1, 0.2, 0.3, 0.4, 0.5])],
)
def test_learning_rates_by_hand(warmup, steps, expected):
    rates = [rate(step, warmup, steps, learning_rate=1.0, min_learning_rate=0.1) for step in range(steps)]
    assert rates == pytest.approx(expected)


@given(warmup=st.integers(0, 50), steps=st.integers(1, 60), share=st.floats(0, 1))
def test_learning_rates_stay_between_the_lowest_and_the_peak(warmup, steps, share):
    found = rate(int(share * (steps - 1)), warmup, steps, learning_rate=1e-3, min_learning_rate=1e-6)
    assert 1e-6 * (1 - 1e-9) <= found <= 1e-3 * (1 + 1e-9)
    assert rate(0, warmup, steps, learning_rate=0.0, min_learning_rate=0.0) == 0.0
