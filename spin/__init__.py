"""Speaker-invariant clustering (Spin) of self-supervised speech representations, from audio to the measured downstream gain.

`import spin` is light: the functions below import torch and their modules on first use. The distribution is called spin-speech.
"""

import importlib

__version__ = "0.2.0"
__all__ = ["__version__", "load_encoder", "load_model", "perturb"]

_MODULES = {
    "load_encoder": "spin.models.importers",
    "load_model": "spin.objectives.model",
    "perturb": "spin.perturbation.perturb",
}


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module 'spin' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
