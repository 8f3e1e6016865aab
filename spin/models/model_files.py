"""Spin and R-Spin models in every format -> encoder, head, codebook and layer, the parts of spin.objectives.model.SpinModel."""

from pathlib import Path

from torch import Tensor

from spin.errors import CheckpointError
from spin.models.architecture import EncoderShape, require
from spin.models.encoder import Encoder
from spin.models.importers import PUBLISHED, is_safetensors, known_formats, load_encoder, no_such_source
from spin.models.pickles import from_weights, plain, read_pickle
from spin.models.transformers_layout import load_folder, read_head
from spin.models.weights import FAIRSEQ, MODEL, check_tensor, fit, read, read_json_entry, reject_mismatch
from spin.runtime.download import cache_folder, fetch

MODEL_KEYS = ("head.weight", "head.bias", "codebook.weight")
ENCODER_PREFIX = "encoder."  # in our files and in R-Spin's
SPIN_ENCODER_PREFIX = "encoder.model."
# Names of MODEL_KEYS in the authors' checkpoints: Spin (PyTorch Lightning, .ckpt) and R-Spin (.pt).
SPIN_NAMES = dict(zip(MODEL_KEYS, ("pred_head.layers.0.weight", "pred_head.layers.0.bias", "loss_module.codebook.weight")))
RSPIN_NAMES = dict(zip(MODEL_KEYS, ("pred_head.weight", "pred_head.bias", "codebook.weight")))
DEFAULT_LAYER = 12  # of both official codes

# Encoder in float32 and evaluation mode; head and codebook, not yet checked; `layer` and perhaps codebook_size and codebook_dim.
Contents = tuple[Encoder, dict[str, Tensor], dict]


def read_model(path_or_name: str | Path, base: str | Path | None = None) -> tuple[Encoder, dict[str, Tensor], int]:
    """Reads a Spin or R-Spin model; arguments and errors are those of spin.load_model. No code in a file is run.

    The encoder is in float32 and evaluation mode, on the CPU. Then come the tensors of MODEL_KEYS in float32, (dim, D), (dim,)
    and (K, dim), and the encoder layer that the head reads, 1 to L.
    """
    path, name = Path(path_or_name), str(path_or_name)
    if name in PUBLISHED and not path.exists():
        url = PUBLISHED[name]
        path = fetch(url, cache_folder() / "models" / url.rpartition("/")[2])
    if path.is_dir():
        encoder = load_folder(path)
        state, config = read_head(path)
    elif not path.is_file():
        expected = f"a Spin model (our .safetensors or exported folder, an official .ckpt, R-Spin .pt, or {', '.join(PUBLISHED)})"
        raise CheckpointError(name, found=no_such_source(name), expected=f"{expected}; known formats: {known_formats()}")
    else:
        encoder, state, config = _read_own(path) if is_safetensors(path) else _read_official(path, base)
    return encoder, _check(str(path), encoder, state, config), config["layer"]


def _read_own(path: Path) -> Contents:
    tensors, metadata = read(path, MODEL)
    config = read_json_entry(path, metadata, "config")
    if not isinstance(config.get("encoder"), dict):
        raise CheckpointError(str(path), found="no valid 'encoder' in the configuration", expected="a Spin model")
    weights, state = _split(tensors, ENCODER_PREFIX, {})
    return fit(str(path), weights, EncoderShape.from_dict(config["encoder"], str(path)), None), state, config


def _read_official(path: Path, base: str | Path | None) -> Contents:
    """A checkpoint of the authors."""
    content = read_pickle(path)
    state = _dict(content.get("state_dict"))
    if SPIN_NAMES["codebook.weight"] in state:
        return _read_spin(path, content, base)
    if RSPIN_NAMES["codebook.weight"] in state:  # WavLM Base, whose last layer the head reads
        weights, state = _split(state, ENCODER_PREFIX, RSPIN_NAMES)
        encoder = fit(str(path), weights, from_weights(str(path), weights), FAIRSEQ)
        return encoder, state, _dict(plain(content.get("cfg"))) | {"layer": encoder.shape.layers}
    codebooks = f"{SPIN_NAMES['codebook.weight']!r} (Spin) or {RSPIN_NAMES['codebook.weight']!r} (R-Spin)"
    found = f"a dictionary with {', '.join(map(repr, list(content)[:6]))}"
    expected = f"a state_dict with {codebooks}; known formats of encoders: {known_formats()}"
    raise CheckpointError(str(path), found=found, expected=expected, remedy="for an encoder: spin.load_encoder")


def _read_spin(path: Path, content: dict, base: str | Path | None) -> Contents:
    config = _dict(_dict(plain(content.get("hyper_parameters"))).get("model"))
    settings, off = _dict(config.get("encoder")), (False, None)
    require(str(path), config, {"normalize": off})
    require(str(path), settings, {"feat_select": ("x", None), "normalize": off, "pre_normalize": off, "disable_pos": off})
    require(str(path), _dict(config.get("loss")), {"l2_norm": (True,)})
    weights, state = _split(content["state_dict"], SPIN_ENCODER_PREFIX, SPIN_NAMES)
    neighbour = path.parent / Path(str(settings.get("path_or_url"))).name
    if base is None and neighbour.is_file() and neighbour != path:
        base = neighbour
    shape = from_weights(str(path), weights) if base is None else load_encoder(base).shape
    return fit(str(path), weights, shape, FAIRSEQ), state, {"layer": settings.get("use_layer", DEFAULT_LAYER)}


def _dict(value) -> dict:
    return value if isinstance(value, dict) else {}


def _split(state: dict[str, Tensor], prefix: str, names: dict[str, str]) -> tuple[dict, dict]:
    """(the encoder's tensors without their prefix, the others under our names where there is one)."""
    ours = {theirs: name for name, theirs in names.items()}
    weights = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    return weights, {ours.get(key, key): value for key, value in state.items() if not key.startswith(prefix)}


def _check(file: str, encoder: Encoder, state: dict[str, Tensor], config: dict) -> dict[str, Tensor]:
    """Float32 copies of head and codebook, whose sizes must be those of the encoder and the configuration."""
    layer, layers = config.get("layer"), encoder.shape.layers
    if type(layer) is not int or not 1 <= layer <= layers:
        raise CheckpointError(file, found=f"layer {layer!r}", expected=f"1 to {layers}, the layers of the encoder")
    missing, unexpected = (key for key in MODEL_KEYS if key not in state), iter(state.keys() - {*MODEL_KEYS})
    reject_mismatch(file, next(missing, None), next(unexpected, None))
    rows, dim = (*getattr(state["codebook.weight"], "shape", ()), 0, 0)[:2]
    rows, dim = config.get("codebook_size", rows), config.get("codebook_dim", dim)
    shapes = {"codebook.weight": (rows, dim), "head.weight": (dim, encoder.shape.dim), "head.bias": (dim,)}
    return {key: check_tensor(file, key, state[key], shapes[key]) for key in MODEL_KEYS}
