"""The configurations for GPUs say what the paper says (Chang, Liu, Glass, Interspeech 2023, section 3.1)."""

from __future__ import annotations

import pytest

from spin.objectives.spin import SINKHORN_ITERATIONS
from spin.runtime.config_io import load_config
from spin.training.schedule import learning_rate

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
    path = repository / "egs" / "librispeech" / "conf" / f"{name}.yaml"
    config = load_config(path, [])
    assert (config.name, config.encoder.source, config.encoder.layer) == (name, source, layer)
    assert not config.encoder.official_padding
    assert {key: getattr(config.spin, key) for key in PUBLISHED} == PUBLISHED
    assert config.spin.batch_seconds * 16_000 == 4_096_000
    assert SINKHORN_ITERATIONS == 3 and config.objective == "spin"
    assert config.corpus.spin_train == ("train-clean-100",)
    assert config.units.metrics_first_seconds == 10
    assert list(config.corpus.valid) == ["dev-clean", "dev-other"]
    for size in (128, 256, 512, 1024, 2048):
        assert load_config(path, [f"spin.codebook_size={size}"]).spin.codebook_size == size


def test_the_published_schedule_ends():
    ends = {"warmup_steps": 2500, "max_steps": 5000, "peak": 1e-4, "lowest": 1e-6}
    assert [learning_rate(step, **ends) for step in (0, 2500, 4999)] == pytest.approx([1e-6, 1e-4, 1e-6])


def test_the_rspin_configuration_is_the_published_recipe(repository):
    """Chang and Glass, NAACL 2024, sections 3.1 to 3.3 and appendix A.3; 100 h instead of 960 h."""
    config = load_config(repository / "egs" / "librispeech" / "conf" / "rspin_wavlm_base.yaml", [])
    spin, noise = config.spin, config.noise
    assert (config.objective, config.encoder.source, config.encoder.layer) == ("rspin", "WAVLM_BASE", 12)
    assert (spin.codebook_size, spin.trainable_layers, spin.batch_seconds) == (32, 12, 384)
    assert (spin.learning_rate, spin.min_learning_rate, spin.warmup_steps, spin.max_steps) == (1e-4, 1e-6, 4000, 10_000)
    assert (config.rspin.aux_weight, config.rspin.noise) == (5.0, True)
    assert (noise.min_snr_in_db, noise.max_snr_in_db) == (-10.0, 10.0) and noise.manifests


@pytest.mark.parametrize("name", ["rspin_mini", "dcspin_mini"])
def test_other_objectives_share_the_corpus_of_the_default(repository, name):
    default, config = (load_config(repository / "egs" / "librispeech" / "conf" / f"{conf}.yaml", []) for conf in ("mini", name))
    assert config.corpus == default.corpus and config.asr == default.asr and config.objective == name.split("_")[0]
