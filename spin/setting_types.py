"""Types of settings and checks of their values: each says what it expects."""

import os
import pkgutil
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Strict, StringConstraints, model_validator

STRICT = ConfigDict(extra="forbid", coerce_numbers_to_str=True, allow_inf_nan=False)


def reject_bool(value):
    if isinstance(value, bool):
        raise ValueError("expected a number")
    return value


def reject_repeats(values: tuple) -> tuple:
    if len(set(values)) < len(values):
        raise ValueError("expected each value once")
    return values


def expand_home(value: str) -> str:
    if not value or not value.isprintable():
        raise ValueError("expected a path of printable characters")
    return os.path.expanduser(value)


def known(table: str):
    """A check that a name is in a registry, given as module:attribute; the registry is imported when a value is read."""

    def check(name: str) -> str:
        names = pkgutil.resolve_name(table)
        if name not in names:
            raise ValueError(f"expected {' | '.join(names)}")
        return name

    return AfterValidator(check)


def ordered(low: str, high: str):
    """A check of a section: the key `low` is not above the key `high`."""

    def check(section):
        first, second = getattr(section, low), getattr(section, high)
        if first > second:
            raise ValueError(f"{low} and {high}: expected the first not above the second, found {first:g} and {second:g}")
        return section

    return model_validator(mode="after")(check)


def check_systems(systems: tuple) -> tuple:
    """Each system is named once, and one without a source is built in."""
    known = ("baseline", "spin", "fbank")
    reject_repeats(tuple(system if isinstance(system, str) else system.name for system in systems))
    for system in systems:
        if isinstance(system, str) and system not in known:
            raise ValueError(f"'{system}' has no source: write {{name: {system}, source: ...}}, or one of {', '.join(known)}")
    return systems


EACH_ONCE, SYSTEMS = AfterValidator(reject_repeats), AfterValidator(check_systems)
Integer = Annotated[int, Strict()]
Number = Annotated[float, BeforeValidator(reject_bool)]
Flag = Annotated[bool, Strict()]
FilePath = Annotated[str, AfterValidator(expand_home)]
FolderName = Annotated[str, StringConstraints(pattern=r"^[^\s./\\][^/\\\x00-\x1f\x7f]{0,99}$")]
