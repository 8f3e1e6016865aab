"""spin.load_encoder, the registry of all that it can load, and the published Spin models by name. Imports nothing heavy.

To add a kind of encoder: a loader, and one line in ENCODER_SOURCES.
"""

from __future__ import annotations

import difflib
import importlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from safetensors import SafetensorError, safe_open

from spin.errors import CheckpointError, is_out_of_memory

if TYPE_CHECKING:
    from spin.models.encoder import Encoder

BUNDLES = ("HUBERT_BASE", "HUBERT_LARGE", "HUBERT_XLARGE", "WAVLM_BASE", "WAVLM_BASE_PLUS", "WAVLM_LARGE")
PACKAGED = ("mini", "real")  # trained on generated speech; also on LibriSpeech train-clean-5
MODEL_REMEDY = "in the recipe: --set 'systems=[baseline,{name: other,source: PATH}]'; in Python: spin.load_model(PATH).encoder"
SPIN_URL = "https://huggingface.co/datasets/vectominist/spin_ckpt/resolve/main/"
RSPIN_URL = "https://data.csail.mit.edu/public-release-sls/rspin/"

# Name -> address. Spin: Interspeech 2023, on HuBERT Base and WavLM Base. R-Spin: NAACL 2024, on WavLM Base.
PUBLISHED = {
    f"spin_{encoder}_{size}": f"{SPIN_URL}spin_{encoder}_{size}.ckpt"
    for encoder in ("hubert", "wavlm")
    for size in (128, 256, 512, 1024, 2048)
} | {f"wavlm_rspin_{size}": f"{RSPIN_URL}wavlm_rspin_{size}-40k.pt" for size in (32, 64, 128, 256, 512, 1024, 2048)}

MODEL, METADATA = "spin model 1", "spin"  # of our own files: the format, and where it is in the metadata
HEAD_FILE = "spin_head.safetensors"  # of a Spin model's folder made by `python -m spin export`
CODEBOOKS = (b"loss_module.codebook.weight", b"pred_head.weight")  # parameters of official Spin .ckpt and of R-Spin .pt
FIRST_BYTES = 1 << 22  # of a torch file, zipped or not, which begins with the names of its parameters
# What torch and safetensors raise for a damaged file.
DAMAGED = (RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError, AssertionError, struct.error, OSError)


def is_safetensors(path: str | Path) -> bool:
    """Whether a file is called .safetensors, or begins as such a file does: with the length of a JSON header."""
    with open(path, "rb") as stream:
        start = stream.read(9)
    has_header = len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < 10**8
    return has_header or Path(path).suffix == ".safetensors"


class EncoderSource(NamedTuple):
    """A kind of source: its name in messages, a test of a path or name, and the "module:function" that loads an Encoder."""

    meaning: str
    matches: Callable[[str], bool]
    loader: str


# The first kind that matches loads a source.
ENCODER_SOURCES = [
    EncoderSource('"mini" or "real", the encoders of this package', PACKAGED.__contains__, "spin.models.weights:load_packaged"),
    EncoderSource(
        f"torchaudio bundle ({', '.join(BUNDLES)})",
        lambda source: source in BUNDLES and not Path(source).exists(),
        "spin.models.transformers_layout:load_bundle",
    ),
    EncoderSource(
        "transformers folder of a HubertModel or WavLMModel",
        lambda source: Path(source).is_dir(),
        "spin.models.transformers_layout:load_folder",
    ),
    EncoderSource(
        "Spin's own .safetensors",
        lambda source: Path(source).is_file() and is_safetensors(source),
        "spin.models.weights:load_encoder_file",
    ),
    EncoderSource(
        "fairseq or s3prl HuBERT .pt, unilm WavLM .pt", lambda source: Path(source).is_file(), "spin.models.pickles:load_pickle"
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
    """Loads an encoder in evaluation mode, float32, on the CPU; CheckpointError names the file and what is wrong with it.

    `path_or_name` is one of PACKAGED or BUNDLES (downloaded on first use), or a path: fairseq or s3prl HuBERT .pt, unilm WavLM
    .pt, a transformers folder, or our own .safetensors. `official_padding`: see Encoder.
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


def is_model_source(path_or_name: str | Path) -> bool:
    """Whether a source is a Spin-like model (head and codebook), not an encoder alone; no weight is read, nothing unpickled."""
    path = Path(path_or_name)
    try:
        if path.is_dir():
            return (path / HEAD_FILE).is_file()
        if not path.is_file():
            return str(path_or_name) in PUBLISHED
        if is_safetensors(path):
            with safe_open(path, "numpy") as file:
                return json.loads(file.metadata()[METADATA])["format"] == MODEL
        with open(path, "rb") as stream:
            start = stream.read(FIRST_BYTES)
        return any(codebook in start for codebook in CODEBOOKS)
    except (SafetensorError, OSError, ValueError, LookupError, TypeError):
        return False
