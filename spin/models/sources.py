"""The registry of encoder sources: everything that spin.load_encoder can load. To add one, write a loader and add one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from spin.errors import CheckpointError

BUNDLES = ("HUBERT_BASE", "HUBERT_LARGE", "HUBERT_XLARGE", "WAVLM_BASE", "WAVLM_BASE_PLUS", "WAVLM_LARGE")


@dataclass(frozen=True)
class EncoderSource:
    """One kind of source.

    Attributes:
        meaning: names the kind in messages.
        matches: whether a path or name is of this kind; the first kind that matches loads it.
        loader: "module:function" of a function that takes the path or name and returns an Encoder; imported when it is needed.
    """

    meaning: str
    matches: Callable[[str], bool]
    loader: str


def is_safetensors(path: str | Path) -> bool:
    """Whether a file is called .safetensors, or begins as such a file does: with the length of a JSON header."""
    with open(path, "rb") as stream:
        start = stream.read(9)
    return Path(path).suffix == ".safetensors" or (
        len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < 10**8
    )


def _is_bundle(source: str) -> bool:
    return source in BUNDLES and not Path(source).exists()


def _is_own_file(source: str) -> bool:
    return Path(source).is_file() and is_safetensors(source)


ENCODER_SOURCES: dict[str, EncoderSource] = {
    "mini": EncoderSource(
        '"mini" or "real", the encoders of this package',
        lambda source: source in ("mini", "real"),
        "spin.models.importers:load_packaged",
    ),
    "torchaudio": EncoderSource(
        f"torchaudio bundle ({', '.join(BUNDLES)})", _is_bundle, "spin.models.torchaudio_bundles:load_bundle"
    ),
    "transformers": EncoderSource(
        "transformers folder of a HubertModel or WavLMModel",
        lambda source: Path(source).is_dir(),
        "spin.models.transformers_folder:load_folder",
    ),
    "safetensors": EncoderSource("Spin's own .safetensors", _is_own_file, "spin.models.safetensors_io:load_encoder_file"),
    "pickle": EncoderSource(
        "fairseq or s3prl HuBERT .pt, unilm WavLM .pt", lambda source: Path(source).is_file(), "spin.models.importers:load_pickle"
    ),
}


def known_formats() -> str:
    """The sources for messages."""
    return "; ".join(source.meaning for source in ENCODER_SOURCES.values())


def source_of(path_or_name: str) -> EncoderSource:
    """The kind of a path or name.

    Raises:
        CheckpointError: no such file or name.
    """
    for source in ENCODER_SOURCES.values():
        if source.matches(path_or_name):
            return source
    remedy = "check the spelling; for a Spin model, use spin.load_model"
    raise CheckpointError(path_or_name, found="no such file or name", expected=f"known formats: {known_formats()}", remedy=remedy)
