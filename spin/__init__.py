"""Speaker-invariant clustering (Spin) of self-supervised speech representations, from audio to the measured downstream gain.

`import spin` is light: the three functions below import torch and their modules only when they are first asked for.
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"
__all__ = ["__version__", "load_encoder", "load_model", "perturb"]

_HOMES = {
    "load_encoder": "spin.models.importers",
    "load_model": "spin.models.spin_model",
    "perturb": "spin.perturbation.perturb",
}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'spin' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
