"""Training objectives; README.md has their equations.

To add one, write a file with a subclass of Spin and add one line to OBJECTIVES.
"""

import pkgutil
from typing import NamedTuple

NO_LABEL = -1  # a frame without a label


class Objective(NamedTuple):
    """One entry of OBJECTIVES."""

    title: str  # its name in reports
    path: str  # "module:Class"


OBJECTIVES = {
    "spin": Objective("Spin", "spin.objectives.spin:Spin"),
    "rspin": Objective("R-Spin", "spin.objectives.rspin:RSpin"),
    "dcspin": Objective("DC-Spin-style", "spin.objectives.dcspin:DCSpin"),
}


def find_objective(name: str) -> type:
    """The class of an objective, a key of OBJECTIVES."""
    return pkgutil.resolve_name(OBJECTIVES[name].path)
