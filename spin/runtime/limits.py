"""The values that make sense for each key of the configuration, beyond its type."""

from __future__ import annotations

import re
from collections.abc import Iterator

from spin.config import Config
from spin.errors import ConfigError

# What a folder may be called: anything printable without a slash, not hidden, at most what file systems take of it.
FOLDER_NAME = re.compile(r"[^\s./\\][^/\\]{0,99}")


def check(config: Config) -> Config:
    """Range checks beyond types; returns the configuration.

    Raises:
        ConfigError: names the first key whose value is out of range.
    """
    for key, allowed in CHOICES.items():
        for value in _values(config, key):
            if value not in allowed:
                raise ConfigError(key, found=repr(value), expected=" | ".join(allowed), remedy=f"--set {key}={allowed[0]}")
    for key, (low, high) in RANGES.items():
        for value in _values(config, key):
            if not low <= value <= high:
                raise ConfigError(key, found=_short(value), expected=f"a number from {low:g} to {high:g}")
    for lower, upper in ORDERED:
        low, high = _get(config, lower), _get(config, upper)
        if low > high:
            raise ConfigError(f"{lower} and {upper}", found=f"{low:g} and {high:g}", expected="the first not above the second")
    for key in DISTINCT:
        values = _get(config, key)
        if not values or len(set(values)) < len(values):
            raise ConfigError(key, found=_short(list(values)), expected="at least one value, each once")
    for key in ROLES:
        parts = _get(config, key)
        if len(set(parts)) < len(parts):
            twice = next(part for part in parts if parts.count(part) > 1)
            raise ConfigError(key, found=f"{_short(twice)} more than once", expected="each part once, or it would count twice")
    for key in FOLDER_NAMES:
        check_folder_name(key, _get(config, key))
    for name, part in config.corpus.parts.items():
        check_folder_name("corpus.parts", name)
        for key, (low, high) in PART_RANGES.items():
            if not low <= getattr(part, key) <= high:
                raise ConfigError(
                    f"corpus.parts.{name}.{key}", found=_short(getattr(part, key)), expected=f"a number from {low:g} to {high:g}"
                )
    for key in PATHS:
        if not (_get(config, key) or "").isprintable() or _get(config, key) == "":
            raise ConfigError(key, found=repr(_get(config, key)), expected="a path of printable characters")
    _check_features(config)
    _check_given_models(config)
    return config


def _check_given_models(config: Config) -> None:
    """Rescoring can say no word that its LM lacks: the LMs of search and rescoring are both given, or both trained."""
    given = config.decoding
    rescoring = [method for method in given.methods if method in ("hlg_nbest", "hlg_lattice")]
    if rescoring and bool(given.arpa) != bool(given.rescore_arpa):
        one, other = ("arpa", "rescore_arpa") if given.arpa else ("rescore_arpa", "arpa")
        raise ConfigError(
            f"decoding.{other}",
            found=f"nothing, but decoding.{one} is {getattr(given, one)}",
            expected=f"an ARPA file for both of them, or for neither, with {' and '.join(rescoring)}",
            cause="the words of one LM would be missing from the other, and rescoring would delete them",
            remedy=f"--set decoding.{other}=<ARPA file>, or decoding.methods without {' and '.join(rescoring)}",
        )


def _check_features(config: Config) -> None:
    """What the recogniser reads must be stored, or be such that it can be computed again."""
    asr = config.asr
    if asr.weighted_sum and asr.features == "stored" and not config.units.store_layers:
        remedy = "--set units.store_layers=true (stage 3 is done again), or --set asr.features=on_the_fly"
        raise ConfigError("asr.weighted_sum", found="true, but only one layer is stored", expected="every layer", remedy=remedy)
    if asr.features == "on_the_fly" and config.encoder.official_padding:
        remedy = "--set asr.features=stored, or --set encoder.official_padding=false"
        expected = "features that do not depend on the batch"
        raise ConfigError("asr.features", found="on_the_fly with encoder.official_padding", expected=expected, remedy=remedy)


def check_folder_name(key: str, name: str) -> None:
    """Raises ConfigError when `name` cannot be the name of a folder of ours."""
    if not FOLDER_NAME.fullmatch(name) or not name.isprintable():
        raise ConfigError(key, found=_short(name), expected="a plain folder name of at most 100 printable characters")


def _values(config: Config, key: str) -> Iterator:
    """The value of a key, or each of its values; none where it is not set."""
    value = _get(config, key)
    yield from value if isinstance(value, tuple) else () if value is None else (value,)


def _short(value) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


CHOICES = {
    "corpus.kind": ("generated", "librispeech"),
    "corpus.alignment": ("auto", "pocketsphinx", "tsv", "none"),
    "spin.precision": ("auto", "float32", "bf16"),
    "spin.speed_up": ("none", "compile"),
    "asr.systems": ("baseline", "spin", "fbank"),
    "asr.features": ("stored", "on_the_fly"),
    "asr.tokens": ("auto", "characters", "bpe", "phone"),
    "asr.model": ("blstm", "conv"),
    "pretrain.precision": ("float32", "bf16"),
    "runtime.device": ("auto", "cpu", "cuda"),
    "decoding.methods": ("ctc_1best", "hlg", "hlg_nbest", "hlg_lattice"),
}
RANGES = {
    "seed": (0, 2**31 - 1),
    "corpus.min_duration_in_s": (0.0, 3600.0),
    "corpus.max_duration_in_s": (0.1, 36_000.0),
    "corpus.max_bad_share": (0.0, 1.0),
    "corpus.alignment_max_utterances": (0, 10**9),
    "corpus.generated_seed": (0, 2**31 - 1),
    "corpus.lm_sentences": (0, 10**8),
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
    "spin.min_learning_rate": (0.0, 10.0),
    "spin.weight_decay": (0.0, 10.0),
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
    "units.layer": (1, 200),
    "units.batch_seconds": (1.0, 1e6),
    "units.kmeans_hours": (0.001, 1e6),
    "units.kmeans_starts": (1, 1000),
    "units.kmeans_epochs": (1, 1000),
    "units.kmeans_memory_in_mib": (1.0, 1e9),
    "units.abx_max_per_context": (2, 10_000),
    "units.abx_max_utterances": (0, 10**9),
    "units.abx_max_x_across": (1, 10_000),
    "units.abx_max_distances": (1, 10**12),
    "units.metrics_first_seconds": (0.0, 1e6),
    "units.pictures": (0, 1000),
    "asr.learning_rate": (0.0, 10.0),
    "asr.warmup_steps": (0, 10_000_000),
    "asr.weight_decay": (0.0, 10.0),
    "asr.gradient_clip": (1e-9, 1e9),
    "asr.seeds": (0, 2**31 - 1),
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
    "asr.average": (0, 1000),
    "asr.patience": (0, 10_000),
    "decoding.lm_order": (1, 6),
    "decoding.rescore_order": (1, 6),
    "decoding.rescore_max_arcs": (1.0, 1e6),
    "decoding.nbest_paths": (1, 100_000),
    "decoding.nbest_spread": (1e-3, 100.0),
    "decoding.search_beam": (0.1, 1000.0),
    "decoding.output_beam": (0.1, 1000.0),
    "decoding.min_active_states": (0, 10**9),
    "decoding.max_active_states": (1, 10**9),
    "decoding.lm_scales": (0.0, 100.0),
    "decoding.batch_seconds": (1.0, 1e6),
    "decoding.bootstrap_samples": (1, 10_000_000),
    "pretrain.clusters": (2, 65_536),
    "pretrain.steps": (1, 10_000_000),
    "pretrain.label_layer": (1, 200),
    "pretrain.kmeans_hours": (0.001, 1e6),
    "pretrain.learning_rate": (0.0, 10.0),
    "pretrain.warmup_steps": (0, 10_000_000),
    "pretrain.batch_seconds": (1.0, 1e6),
    "pretrain.max_samples": (400, 10**9),
    "pretrain.unmasked_weight": (0.0, 1000.0),
    "pretrain.mask_probability": (0.0, 1.0),
    "pretrain.mask_length": (1, 10_000),
    "pretrain.gradient_clip": (1e-9, 1e9),
    "pretrain.weight_decay": (0.0, 10.0),
    "pretrain.checkpoint_every_steps": (1, 10_000_000),
    "pretrain.log_every_steps": (1, 10_000_000),
    "pretrain.workers": (0, 512),
    "runtime.nj": (1, 1024),
    "runtime.gpus": (0, 1024),
    "runtime.rank_patience": (1.0, 86_400.0),
    "runtime.threads": (1, 1024),
}
PART_RANGES = {"first_speaker": (0, 10**9), "speakers": (1, 100_000), "utterances": (1, 1_000_000)}
ORDERED = (
    ("corpus.min_duration_in_s", "corpus.max_duration_in_s"),
    ("perturbation.pitch_floor_in_hz", "perturbation.pitch_ceiling_in_hz"),
    ("spin.min_samples", "spin.max_samples"),
    ("decoding.min_active_states", "decoding.max_active_states"),
)
DISTINCT = ("asr.seeds", "asr.systems", "decoding.methods", "decoding.lm_scales")
ROLES = ("corpus.spin_train", "corpus.asr_train", "corpus.valid", "corpus.test", "pretrain.parts", "pretrain.valid_parts")
FOLDER_NAMES = ("name", "corpus.name")
PATHS = (
    "corpus.data_dir",
    "corpus.corpus_dir",
    "corpus.alignment_tsv",
    "corpus.lm_text",
    "encoder.source",
    "asr.lexicon",
    "decoding.arpa",
    "decoding.rescore_arpa",
)


def _get(config: Config, key: str):
    value = config
    for name in key.split("."):
        value = getattr(value, name)
    return value
