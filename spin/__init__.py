"""Speaker-invariant clustering (Spin) of self-supervised speech representations, from audio to the measured downstream gain.

`import spin` is light: the functions below import torch and their modules on first use. The distribution is called spin-speech.
"""

import importlib
import warnings
from importlib import metadata

__version__ = "0.2.0"
__all__ = ["__version__", "load_encoder", "load_model", "perturb"]

_MODULES = {
    "load_encoder": "spin.models.importers",
    "load_model": "spin.objectives.model",
    "perturb": "spin.perturbation.perturb",
}


def _warn_about_namesake() -> None:
    """Warns when another distribution called spin is installed: both bring a package of that name, and one hides the other."""
    try:
        version = metadata.version("spin")
    except metadata.PackageNotFoundError:
        return
    warnings.warn(
        f"spin {version}, another project, is installed next to spin-speech. Both have a package called spin; "
        f"this is spin-speech's, in {__path__[0]}. Use separate environments, or run: pip uninstall spin",
        stacklevel=3,
    )


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module 'spin' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])


_warn_about_namesake()
