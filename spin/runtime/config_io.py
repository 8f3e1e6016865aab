"""Reading the configuration: YAML, then `section.key=value` overrides, then the types and ranges of spin/config.py."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import get_args, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from spin.config import Config
from spin.errors import ConfigError

MAX_FILE_SIZE = 1_000_000


def load_config(path: str | Path | None = None, overrides: Iterable[str] = ()) -> Config:
    """Reads a YAML file (None: the defaults) and applies `section.key=value` overrides in order.

    Raises:
        ConfigError: unreadable file, unknown key, wrong type, value out of range; names the key and the file or override.
    """
    tree = _read_yaml(Path(path)) if path is not None else {}
    origin = {(): str(path) if path is not None else "the defaults"}
    for override in overrides:
        _apply(tree, override, origin)
    # A section whose keys are all commented out reads as null.
    tree = {key: {} if value is None and dataclasses.is_dataclass(_section(key)) else value for key, value in tree.items()}
    try:
        return TypeAdapter(Config).validate_python(tree)
    except ValidationError as error:
        problems = error.errors()
        unknown = [problem for problem in problems if problem["type"] == "unexpected_keyword_argument"]
        raise _explain((unknown or problems)[0], origin) from error


def config_dict(config) -> dict:
    """The configuration as plain dicts, lists, numbers and strings."""
    return TypeAdapter(type(config)).dump_python(config, mode="json")


def dump_config(config: Config) -> str:
    """YAML that load_config reads back to an equal configuration."""
    return yaml.safe_dump(config_dict(config), sort_keys=False, allow_unicode=True)


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader without aliases (they allow files that grow without bound) and without doubled keys."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.events.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed here", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is not a word", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key}' appears twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> dict:
    try:
        if path.stat().st_size > MAX_FILE_SIZE:
            raise ConfigError(str(path), found=f"{path.stat().st_size} bytes", expected=f"at most {MAX_FILE_SIZE} bytes of YAML")
        tree = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(
            f"configuration file {path}",
            found=" ".join(str(error).split()) or type(error).__name__,
            expected="a readable YAML file",
            remedy="see egs/librispeech/conf/ for examples",
        ) from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"configuration file {path}", found=type(tree).__name__, expected="sections with keys")
    return tree


def _apply(tree: dict, override: str, origin: dict) -> None:
    name = f"--set {override}"
    key, equals, text = override.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or not all(path):
        raise ConfigError(name, found=repr(override), expected="section.key=value", remedy="for example --set spin.max_steps=100")
    try:
        value = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(name, found=" ".join(str(error).split()), expected="a YAML value after '='") from error
    node = tree
    for part in path[:-1]:
        child = node.get(part)
        if child is None:
            child = node[part] = {}
        if not isinstance(child, dict):
            raise ConfigError(name, found=f"'{part}' is a {type(child).__name__}", expected="a section")
        node = child
    node[path[-1]] = value
    origin[path] = name


def _explain(problem: dict, origin: dict) -> ConfigError:
    """pydantic's first problem as an error that names the key, its origin, and the nearest key that exists."""
    path = tuple(str(name) for name in problem["loc"])
    source = next(origin[path[:size]] for size in range(len(path), -1, -1) if path[:size] in origin)
    subject = f"{'.'.join(path) or 'configuration'} (from {source})"
    if problem["type"] == "unexpected_keyword_argument":
        known = _keys(path[:-1])
        close = difflib.get_close_matches(path[-1], known, n=1)
        remedy = f"did you mean '{close[0]}'?" if close else "remove it, or see spin/config.py"
        return ConfigError(subject, found="an unknown key", expected=", ".join(known), remedy=remedy)
    expected = problem["msg"].removeprefix("Value error, ").removeprefix("expected ").removeprefix("Input should be ")
    if problem["type"] == "missing":
        return ConfigError(subject, found="no value", expected=f"a value of {path[-1]}", remedy="see spin/config.py")
    return ConfigError(subject, found=_describe(problem["input"]), expected=expected, remedy="see spin/config.py")


def _section(name: str):
    return get_type_hints(Config).get(name)


def _keys(path: tuple[str, ...]) -> list[str]:
    """Names of the keys in a section."""
    kind = Config
    for name in path:
        hint = get_type_hints(kind).get(name) if dataclasses.is_dataclass(kind) else None
        nested = [argument for argument in get_args(hint) if dataclasses.is_dataclass(argument)]
        kind = hint if dataclasses.is_dataclass(hint) else nested[0] if nested else kind
    return [field.name for field in dataclasses.fields(kind)]


def _describe(value) -> str:
    text = repr(value)
    return f"{text if len(text) <= 80 else text[:77] + '...'} ({type(value).__name__})"
