"""Training objectives; README.md has their equations.

To add one, write a file with a subclass of Spin and add one line to OBJECTIVES.
"""

from __future__ import annotations

import importlib

from spin.errors import ConfigError

OBJECTIVES = {
    "spin": "spin.objectives.spin:Spin",
    "rspin": "spin.objectives.rspin:RSpin",
    "dcspin": "spin.objectives.dcspin:DCSpin",
}


def find_objective(name: str) -> type:
    """The class of an objective.

    Raises:
        ConfigError: there is no objective of that name.
    """
    if name not in OBJECTIVES:
        raise ConfigError("objective", found=repr(name), expected=" or ".join(OBJECTIVES))
    module, _, attribute = OBJECTIVES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
