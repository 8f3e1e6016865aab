"""Types of settings: each carries its range, and says what it expects."""

import importlib
import os
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, Strict, StringConstraints, model_validator

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
        module, attribute = table.split(":")
        names = getattr(importlib.import_module(module), attribute)
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


AT_LEAST_ONE, EACH_ONCE, SYSTEMS = Field(min_length=1), AfterValidator(reject_repeats), AfterValidator(check_systems)
Integer = Annotated[int, Strict()]
Number = Annotated[float, BeforeValidator(reject_bool)]
Flag = Annotated[bool, Strict()]
FilePath = Annotated[str, AfterValidator(expand_home)]
FolderName = Annotated[str, StringConstraints(pattern=r"^[^\s./\\][^/\\\x00-\x1f\x7f]{0,99}$")]
PartNames = Annotated[tuple[FolderName, ...], EACH_ONCE]

Steps = Annotated[Integer, Field(ge=1, le=10_000_000)]
OptionalSteps = Annotated[Integer, Field(ge=0, le=10_000_000)]
Seconds = Annotated[Number, Field(ge=1.0, le=1e6)]
Hours = Annotated[Number, Field(ge=0.001, le=1e6)]
Rate = Annotated[Number, Field(ge=0.0, le=10.0)]
Clip = Annotated[Number, Field(ge=1e-9, le=1e9)]
Samples = Annotated[Integer, Field(ge=400, le=10**9)]
Layer = Annotated[Integer, Field(ge=1, le=200)]
CodebookSize = Annotated[Integer, Field(ge=2, le=65_536)]
Seed = Annotated[Integer, Field(ge=0, le=2**31 - 1)]
Workers = Annotated[Integer, Field(ge=0, le=512)]
Share = Annotated[Number, Field(ge=0.0, le=1.0)]
Decoder = Annotated[str, known("spin.asr.decoders:DECODERS")]
Scale = Annotated[Number, Field(ge=0.0, le=100.0)]
Decibels = Annotated[Number, Field(ge=-100.0, le=100.0)]
