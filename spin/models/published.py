"""Published Spin and R-Spin models by name, and a cheap test whether a source is such a model. Imports nothing heavy."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

SPIN_URL = "https://huggingface.co/datasets/vectominist/spin_ckpt/resolve/main/"
RSPIN_URL = "https://data.csail.mit.edu/public-release-sls/rspin/"

# Name -> address. Spin: Interspeech 2023, on HuBERT Base and WavLM Base. R-Spin: NAACL 2024, on WavLM Base.
PUBLISHED = {
    f"spin_{encoder}_{size}": f"{SPIN_URL}spin_{encoder}_{size}.ckpt"
    for encoder in ("hubert", "wavlm")
    for size in (128, 256, 512, 1024, 2048)
} | {f"wavlm_rspin_{size}": f"{RSPIN_URL}wavlm_rspin_{size}-40k.pt" for size in (32, 64, 128, 256, 512, 1024, 2048)}

MODEL_FORMAT, METADATA = "spin model 1", "spin"  # of our own files: the format, and where it is in the metadata
EXPORT_DESCRIPTION = "spin.json"  # of folders made by `python -m spin export`
CODEBOOKS = (b"loss_module.codebook.weight", b"pred_head.weight")  # parameters of official Spin .ckpt and of R-Spin .pt
FIRST_BYTES = 1 << 22  # of a torch file, zipped or not, which begins with the names of its parameters


def is_safetensors(path: str | Path) -> bool:
    """Whether a file is called .safetensors, or begins as such a file does: with the length of a JSON header."""
    with open(path, "rb") as stream:
        start = stream.read(9)
    return Path(path).suffix == ".safetensors" or (
        len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < 10**8
    )


def download_published(name: str) -> Path:
    """The file of a published model, downloaded into the cache folder on first use.

    Raises:
        DataError: no network, or an interrupted download; the next call resumes it.
    """
    from spin.runtime.download import cache_folder, fetch

    url = PUBLISHED[name]
    return fetch(url, cache_folder() / "models" / url.rpartition("/")[2])


def is_model_source(path_or_name: str | Path) -> bool:
    """Whether a source is a Spin-like model (head and codebook), not an encoder alone. Nothing is unpickled, no weight is read.

    Args:
        path_or_name: as for spin.load_model or spin.load_encoder; a missing or damaged file is not a model.
    """
    path = Path(path_or_name)
    try:
        if path.is_dir():
            return "layer" in json.loads((path / EXPORT_DESCRIPTION).read_text(encoding="utf-8"))
        if not path.is_file():
            return str(path_or_name) in PUBLISHED
        if is_safetensors(path):
            with safe_open(path, "numpy") as file:
                return json.loads(file.metadata()[METADATA])["format"] == MODEL_FORMAT
        with open(path, "rb") as stream:
            start = stream.read(FIRST_BYTES)
        return any(codebook in start for codebook in CODEBOOKS)
    except (SafetensorError, OSError, ValueError, LookupError, TypeError):
        return False
