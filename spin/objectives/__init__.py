"""Training objectives; README.md has their equations.

To add one, write a file with a subclass of Spin and add one line to OBJECTIVES.
"""

from __future__ import annotations

import importlib

NO_LABEL = -1  # a frame without a label
OBJECTIVES = {
    "spin": "spin.objectives.spin:Spin",
    "rspin": "spin.objectives.rspin:RSpin",
    "dcspin": "spin.objectives.dcspin:DCSpin",
}


def find_objective(name: str) -> type:
    """The class of an objective, a key of OBJECTIVES."""
    module, _, attribute = OBJECTIVES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
