"""Keys of products: which configuration values, and which contents of named files, decide a product."""

import dataclasses
from typing import get_args, get_type_hints

from spin.config import Config
from spin.config_io import config_dict
from spin.runtime.files import source_digest
from spin.setting_types import FilePath

# Which kinds of product read a key. Keys and sections not listed are read by every kind, so that a new one is never missed.
# An empty tuple: no product reads it, because it changes no result. The longest matching prefix decides.
NO_PRODUCT: tuple[str, ...] = ()
STAGE_3 = ("features", "kmeans", "units")
READ_BY: dict[str, tuple[str, ...]] = {
    "name": ("report",),
    "seed": ("spin", "kmeans", "metrics", "scores"),
    "objective": ("spin",),
    "systems": ("scores", "report"),
    "corpus": ("manifest",),
    "corpus.name": NO_PRODUCT,
    "corpus.data_dir": NO_PRODUCT,
    "corpus.download": NO_PRODUCT,
    "corpus.corpus_dir": NO_PRODUCT,  # the recordings count by their content, as a file of the manifest
    "corpus.manifests": NO_PRODUCT,  # likewise
    "corpus.parts": NO_PRODUCT,  # a manifest reads its own part
    "corpus.spin_train": NO_PRODUCT,  # roles decide which products there are
    "corpus.asr_train": NO_PRODUCT,
    "corpus.valid": NO_PRODUCT,
    "corpus.test": NO_PRODUCT,
    "corpus.align_parts": NO_PRODUCT,  # a manifest reads whether it is aligned
    "corpus.allow_shared_speakers": NO_PRODUCT,
    "corpus.max_bad_share": NO_PRODUCT,
    "corpus.lm_text": ("lm_text",),
    "corpus.lm_sentences": ("lm_text",),
    "perturbation": ("spin",),
    "perturbation.pitch_floor_in_hz": ("speaker_pitch", "pitch"),
    "perturbation.pitch_ceiling_in_hz": ("speaker_pitch", "pitch"),
    "noise": ("spin",),
    "noise.test_kinds": NO_PRODUCT,  # they decide which noisy parts there are
    "noise.test_snrs_in_db": NO_PRODUCT,
    "encoder": ("spin", *STAGE_3),
    "spin": ("spin",),
    "spin.codebook_size": ("spin", "kmeans"),  # k-means has as many clusters
    "spin.checkpoint_every_steps": NO_PRODUCT,
    "spin.workers": NO_PRODUCT,
    "spin.accumulation": NO_PRODUCT,  # the same gradients in smaller pieces: the remedy for a GPU out of memory
    "rspin": ("spin",),
    "dcspin": ("spin",),
    "units.layer": STAGE_3,
    "units.batch_seconds": NO_PRODUCT,
    "units.kmeans_hours": ("kmeans",),
    "units.kmeans_starts": ("kmeans",),
    "units.abx_max_utterances": ("metrics",),
    "units.metrics_first_seconds": ("metrics",),
    "units.pictures": ("unit_pictures",),
    "asr": ("recogniser",),
    "asr.inputs": ("scores",),
    "asr.seeds": ("scores",),
    "asr.unit_input": NO_PRODUCT,  # recognisers on units read them, see products.recogniser
    "asr.unit_pieces": NO_PRODUCT,
    "asr.checkpoint_every_steps": NO_PRODUCT,
    "asr.tokens": ("lang",),
    "asr.lexicon": ("lang",),
    "asr.vocabulary_size": ("lang",),
    "decoding": ("decoding",),
    "decoding.methods": ("scores",),
    "decoding.lm_order": ("graph",),
    "decoding.rescore_order": ("graph",),
    "decoding.arpa": ("graph",),
    "decoding.rescore_arpa": ("graph",),
    "decoding.batch_seconds": NO_PRODUCT,
    "decoding.bootstrap_samples": ("scores",),
    "decoding.lm_scales": ("decoding",),
    "pretrain": ("pretrain",),
    "runtime": NO_PRODUCT,
}


def readers(key: str) -> tuple[str, ...] | None:
    """The kinds of product that read a configuration key; None: every kind."""
    matches = [prefix for prefix in READ_BY if key == prefix or key.startswith(prefix + ".")]
    return READ_BY[max(matches, key=len)] if matches else None


def flatten(config: Config) -> dict:
    """Every configuration key with its value as JSON holds it."""
    flat: dict = {}
    for name, value in config_dict(config).items():
        flat |= {f"{name}.{key}": item for key, item in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def file_keys() -> list[str]:
    """Keys that name files or folders, by their type: their content counts, not their path."""
    keys = []
    for section, kind in get_type_hints(Config).items():
        hints = get_type_hints(kind, include_extras=True) if dataclasses.is_dataclass(kind) else {}
        keys += [f"{section}.{name}" for name, hint in hints.items() if FilePath in (hint, *get_args(hint))]
    return keys


def make_key(config: Config, kind: str, values: dict | None = None) -> dict:
    """The key of a product of that kind. `values`: what else decides its content, such as the part or the seed."""
    read = {key: value for key, value in flatten(config).items() if (kinds := readers(key)) is None or kind in kinds}
    files = {key: read.pop(key) for key in file_keys() if read.get(key)}
    names = {key: [value] if isinstance(value, str) else value for key, value in files.items()}
    digests = {key: [source_digest(name) for name in own] for key, own in names.items()}
    return {"config": {**read, **(values or {})}, "files": digests}
