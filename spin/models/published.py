"""Published Spin and R-Spin models by name, and a cheap test whether a source is such a model. Imports nothing heavy."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

from spin.models.sources import is_safetensors
from spin.runtime.download import cache_folder, fetch

SPIN_URL = "https://huggingface.co/datasets/vectominist/spin_ckpt/resolve/main/"
RSPIN_URL = "https://data.csail.mit.edu/public-release-sls/rspin/"

# Name -> address. Spin: Interspeech 2023, on HuBERT Base and WavLM Base. R-Spin: NAACL 2024, on WavLM Base.
PUBLISHED = {
    f"spin_{encoder}_{size}": f"{SPIN_URL}spin_{encoder}_{size}.ckpt"
    for encoder in ("hubert", "wavlm")
    for size in (128, 256, 512, 1024, 2048)
} | {f"wavlm_rspin_{size}": f"{RSPIN_URL}wavlm_rspin_{size}-40k.pt" for size in (32, 64, 128, 256, 512, 1024, 2048)}

MODEL_FORMAT = "spin model 1"  # in the metadata of our own files
EXPORT_DESCRIPTION = "spin.json"  # of folders made by `python -m spin export`
CODEBOOKS = (b"loss_module.codebook.weight", b"pred_head.weight")  # parameters of official Spin .ckpt and of R-Spin .pt
FIRST_BYTES = 1 << 22  # of an old torch file without an index, which begins with the names of its parameters


def codebook_size(name: str) -> int:
    """Number of codes of a published model."""
    return int(name.rpartition("_")[2])


def download_published(name: str) -> Path:
    """The file of a published model, downloaded into the cache folder on first use.

    Args:
        name: a key of PUBLISHED.

    Raises:
        DataError: no network, or an interrupted download; the next call resumes it.
    """
    url = PUBLISHED[name]
    return fetch(url, cache_folder() / "models" / url.rpartition("/")[2])


def is_model_source(path_or_name: str | Path) -> bool:
    """Whether a source is a Spin-like model (head and codebook), not an encoder alone. Reads a few kilobytes and no weights.

    Args:
        path_or_name: as for spin.load_model or spin.load_encoder; a missing file is not a model.
    """
    path = Path(path_or_name)
    if path.is_dir():
        return _layer_in_description(path / EXPORT_DESCRIPTION)
    if not path.is_file():
        return str(path_or_name) in PUBLISHED
    if is_safetensors(path):
        return _format_of(path) == MODEL_FORMAT
    names = _parameter_names(path)
    return any(codebook in names for codebook in CODEBOOKS)


def _layer_in_description(path: Path) -> bool:
    try:
        return "layer" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _format_of(path: Path) -> str | None:
    """The format in the JSON header of one of our safetensors files; None for anything else."""
    try:
        with open(path, "rb") as stream:
            header = json.loads(stream.read(min(int.from_bytes(stream.read(8), "little"), FIRST_BYTES)))
        return json.loads(header["__metadata__"]["spin"])["format"]
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _parameter_names(path: Path) -> bytes:
    """The part of a torch file that holds the names of its parameters, as bytes: nothing is unpickled."""
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [name for name in archive.namelist() if re.fullmatch(r"[^/]*/?data\.pkl", name)]
            return archive.read(pickles[0]) if pickles else b""
    except (zipfile.BadZipFile, OSError):
        with open(path, "rb") as stream:
            return stream.read(FIRST_BYTES)
