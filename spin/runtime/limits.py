"""The values that make sense for each key of the configuration, beyond its type."""

from __future__ import annotations

from spin.config import Config
from spin.errors import ConfigError


def check(config: Config) -> Config:
    """Range checks beyond types; returns the configuration.

    Raises:
        ConfigError: names the first key whose value is out of range.
    """
    for key, allowed in CHOICES.items():
        value = _get(config, key)
        if value not in allowed:
            raise ConfigError(key, found=repr(value), expected=" | ".join(allowed), remedy=f"--set {key}={allowed[0]}")
    for key, (low, high) in RANGES.items():
        value = _get(config, key)
        if not low <= value <= high:
            raise ConfigError(key, found=str(value), expected=f"a number from {low:g} to {high:g}")
    if not config.name or "/" in config.name or config.name.startswith("."):
        raise ConfigError("name", found=repr(config.name), expected="a plain folder name")
    return config


CHOICES = {
    "corpus.kind": ("generated", "librispeech"),
    "corpus.alignment": ("auto", "pocketsphinx", "tsv", "none"),
    "spin.precision": ("auto", "float32", "bf16"),
    "spin.speed_up": ("none", "compile"),
    "asr.tokens": ("auto", "characters", "bpe"),
    "asr.model": ("blstm", "conv"),
    "pretrain.precision": ("float32", "bf16"),
    "runtime.device": ("auto", "cpu", "cuda"),
}
RANGES = {
    "seed": (0, 2**31 - 1),
    "corpus.min_duration_in_s": (0.0, 3600.0),
    "corpus.max_duration_in_s": (0.1, 36_000.0),
    "corpus.max_bad_share": (0.0, 1.0),
    "corpus.alignment_max_utterances": (0, 10**9),
    "perturbation.formant_ratio_max": (1.0, 3.0),
    "perturbation.pitch_median_ratio_max": (1.0, 4.0),
    "perturbation.pitch_range_ratio_max": (1.0, 4.0),
    "perturbation.equaliser_gain_in_db": (0.0, 60.0),
    "perturbation.pitch_floor_in_hz": (20.0, 1000.0),
    "perturbation.pitch_ceiling_in_hz": (40.0, 4000.0),
    "perturbation.range_seconds": (1.0, 1e6),
    "perturbation.tensorboard_pairs": (0, 100),
    "encoder.layer": (1, 200),
    "spin.codebook_size": (2, 65_536),
    "spin.codebook_dim": (1, 65_536),
    "spin.trainable_layers": (0, 200),
    "spin.temperature": (1e-4, 100.0),
    "spin.sinkhorn_epsilon": (1e-4, 100.0),
    "spin.sinkhorn_iterations": (1, 100),
    "spin.learning_rate": (0.0, 10.0),
    "spin.warmup_steps": (0, 10_000_000),
    "spin.max_steps": (1, 10_000_000),
    "spin.batch_seconds": (1.0, 1e6),
    "spin.accumulation": (1, 10_000),
    "spin.min_samples": (400, 10**9),
    "spin.max_samples": (400, 10**9),
    "spin.gradient_clip": (1e-9, 1e9),
    "spin.valid_every_steps": (1, 10_000_000),
    "spin.valid_utterances": (0, 10_000_000),
    "spin.checkpoint_every_steps": (1, 10_000_000),
    "spin.log_every_steps": (1, 10_000_000),
    "spin.min_perplexity_share": (0.0, 1.0),
    "spin.collapse_patience": (1, 10_000),
    "spin.workers": (0, 512),
    "units.batch_seconds": (1.0, 1e6),
    "units.kmeans_hours": (0.001, 1e6),
    "units.kmeans_starts": (1, 1000),
    "units.kmeans_epochs": (1, 1000),
    "units.abx_max_per_context": (2, 10_000),
    "units.abx_max_utterances": (0, 10**9),
    "units.abx_max_x_across": (1, 10_000),
    "units.abx_max_distances": (1, 10**12),
    "units.metrics_first_seconds": (0.0, 1e6),
    "units.pictures": (0, 1000),
    "asr.learning_rate": (0.0, 10.0),
    "asr.max_steps": (1, 10_000_000),
    "asr.batch_seconds": (1.0, 1e6),
    "asr.vocabulary_size": (10, 100_000),
    "asr.hidden": (1, 65_536),
    "asr.layers": (1, 100),
    "asr.subsampling": (1, 8),
    "asr.dropout": (0.0, 0.99),
    "asr.valid_every_steps": (1, 10_000_000),
    "asr.checkpoint_every_steps": (1, 10_000_000),
    "asr.log_every_steps": (1, 10_000_000),
    "asr.feature_cache_in_mib": (0, 10_000_000),
    "asr.threads": (1, 1024),
    "decoding.lm_order": (1, 6),
    "decoding.search_beam": (0.1, 1000.0),
    "decoding.output_beam": (0.1, 1000.0),
    "runtime.nj": (1, 1024),
    "runtime.gpus": (0, 1024),
    "runtime.threads": (1, 1024),
}


def _get(config: Config, key: str):
    value = config
    for name in key.split("."):
        value = getattr(value, name)
    return value
