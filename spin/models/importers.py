"""spin.load_encoder, and the registry of all that it can load. To add a kind: a loader, and one line in ENCODER_SOURCES."""

from __future__ import annotations

import difflib
import importlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from spin.errors import CheckpointError, is_out_of_memory
from spin.models.published import PUBLISHED, is_safetensors
from spin.runtime.files import ENCODERS

if TYPE_CHECKING:
    from spin.models.encoder import Encoder

BUNDLES = ("HUBERT_BASE", "HUBERT_LARGE", "HUBERT_XLARGE", "WAVLM_BASE", "WAVLM_BASE_PLUS", "WAVLM_LARGE")
PACKAGED = ("mini", "real")  # trained on generated speech; also on LibriSpeech train-clean-5
MINI = ENCODERS / "mini.safetensors"
MODEL_REMEDY = "in the recipe: --set 'systems=[baseline,{name: other,source: PATH}]'; in Python: spin.load_model(PATH).encoder"
# What torch and safetensors raise for a damaged file.
DAMAGED = (RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError, AssertionError, struct.error, OSError)


class EncoderSource(NamedTuple):
    """A kind of source: its name in messages, whether a path or name is of this kind, and "module:function" of its loader.

    The loader takes the path or name and returns an Encoder; it is imported when it is needed.
    """

    meaning: str
    matches: Callable[[str], bool]
    loader: str


# The first kind that matches loads a source.
ENCODER_SOURCES = [
    EncoderSource('"mini" or "real", the encoders of this package', PACKAGED.__contains__, "spin.models.importers:load_packaged"),
    EncoderSource(
        f"torchaudio bundle ({', '.join(BUNDLES)})",
        lambda source: source in BUNDLES and not Path(source).exists(),
        "spin.models.torchaudio_bundles:load_bundle",
    ),
    EncoderSource(
        "transformers folder of a HubertModel or WavLMModel",
        lambda source: Path(source).is_dir(),
        "spin.models.transformers_folder:load_folder",
    ),
    EncoderSource(
        "Spin's own .safetensors",
        lambda source: Path(source).is_file() and is_safetensors(source),
        "spin.models.safetensors_io:load_encoder_file",
    ),
    EncoderSource(
        "fairseq or s3prl HuBERT .pt, unilm WavLM .pt", lambda source: Path(source).is_file(), "spin.models.fairseq:load_pickle"
    ),
]


def known_formats() -> str:
    """The sources for messages."""
    return "; ".join(source.meaning for source in ENCODER_SOURCES)


def no_such_source(name: str) -> str:
    """What was found where neither a file nor a name exists, with the nearest name."""
    names = {known.lower(): known for known in (*PACKAGED, *BUNDLES, *PUBLISHED)}
    nearest = difflib.get_close_matches(name.lower(), names, n=1)
    return "no such file or name" + "".join(f"; did you mean '{names[near]}'?" for near in nearest)


def damaged(path: Path, error: object) -> CheckpointError | MemoryError:
    """The error for a truncated file, or one without weights; a MemoryError if the file is good and the memory is short."""
    if is_out_of_memory(error):
        return MemoryError(f"{path}: {error}")
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return CheckpointError(
        str(path),
        found=f"{path.stat().st_size if path.exists() else 0} bytes that cannot be read as weights ({first_line})",
        expected=f"a complete file; known formats: {known_formats()}",
        cause="the download or copy was truncated, or this is another kind of file",
        remedy="download the file again and compare its size or checksum",
    )


def load_encoder(path_or_name: str | Path, official_padding: bool = False) -> Encoder:
    """Loads an encoder in evaluation mode, float32, on the CPU.

    Args:
        path_or_name: "mini" (the encoder of this package), one of torchaudio's bundle names (HUBERT_BASE, HUBERT_LARGE,
            HUBERT_XLARGE, WAVLM_BASE, WAVLM_BASE_PLUS, WAVLM_LARGE; downloaded on first use), or a path: fairseq or s3prl HuBERT
            .pt, unilm WavLM .pt, a transformers folder, or our own .safetensors.
        official_padding: see Encoder.

    Raises:
        CheckpointError: names the file and what is wrong with it, such as the first missing or unexpected parameter.
    """
    name = str(path_or_name)
    source = next((source for source in ENCODER_SOURCES if source.matches(name)), None)
    if source is None:
        if name in PUBLISHED:
            raise CheckpointError(name, found="a published Spin model", expected="an encoder", remedy=MODEL_REMEDY)
        remedy = "correct the name or path, for example --set encoder.source=HUBERT_BASE"
        raise CheckpointError(name, found=no_such_source(name), expected=f"known formats: {known_formats()}", remedy=remedy)
    module, _, function = source.loader.partition(":")
    encoder = getattr(importlib.import_module(module), function)(name)
    encoder.official_padding = official_padding
    return encoder


def load_packaged(name: str) -> Encoder:
    """Loads a small encoder of this package, one of PACKAGED."""
    from spin.models.safetensors_io import load_encoder_file

    path = MINI if name == "mini" else ENCODERS / f"{name}.safetensors"
    if path.is_file():
        return load_encoder_file(path)
    raise CheckpointError(
        f"encoder {name!r}",
        found=f"no file {path.name} in {path.parent}",
        expected="an encoder that is part of this package",
        cause="an incomplete clone or installation",
        remedy="check out the repository again, or train it: local/pretrain_encoder.py",
    )
