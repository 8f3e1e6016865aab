"""Reading the configuration: YAML into the dataclasses of spin/config.py, then section.key=value overrides, then range checks."""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import types
import typing
from collections.abc import Iterable
from pathlib import Path

import yaml

from spin.config import Config
from spin.errors import ConfigError
from spin.runtime.limits import PATHS, check

MAX_FILE_SIZE = 1_000_000


def load_config(path: str | Path | None = None, overrides: Iterable[str] = ()) -> Config:
    """Reads a YAML file (None: the defaults) and applies `section.key=value` overrides in their order.

    A path that begins with ~ or ~user lies in that user's home folder: shells do not expand the ~ of `--set key=~/x`.

    Raises:
        ConfigError: unreadable file, unknown key, wrong type, value out of range; names the key and the file or override.
    """
    tree = _read_yaml(Path(path)) if path is not None else {}
    origin = {(): str(path) if path is not None else "the defaults"}
    for override in overrides:
        _apply(tree, override, origin)
    return check(_build(Config, tree, (), origin))


def config_dict(config) -> dict:
    """The configuration as plain dicts, lists, numbers and strings."""
    return _plain(dataclasses.asdict(config))


def dump_config(config: Config) -> str:
    """YAML that load_config reads back to an equal configuration."""
    return yaml.safe_dump(config_dict(config), sort_keys=False, allow_unicode=True)


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


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
                raise yaml.constructor.ConstructorError(None, None, f"key '{key}' stands here twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> dict:
    try:
        if path.stat().st_size > MAX_FILE_SIZE:
            raise ConfigError(str(path), found=f"{path.stat().st_size} bytes", expected=f"at most {MAX_FILE_SIZE} bytes of YAML")
        tree = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            f"configuration file {path}",
            found=reason,
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


def _where(path: tuple, origin: dict) -> str:
    """'key (from the file or the override that set it)'."""
    source = next((origin[path[:size]] for size in range(len(path), -1, -1) if path[:size] in origin), "")
    return f"{'.'.join(path) or 'configuration'} (from {source})"


def _build(kind: type, tree: dict, path: tuple, origin: dict):
    if not isinstance(tree, dict):
        raise ConfigError(_where(path, origin), found=_describe(tree), expected="a section of keys")
    hints = typing.get_type_hints(kind)
    values = {}
    for key, value in tree.items():
        if key not in hints:
            close = difflib.get_close_matches(str(key), hints, n=1)
            raise ConfigError(
                _where((*path, str(key)), origin),
                found="an unknown key",
                expected=", ".join(hints),
                remedy=f"did you mean '{close[0]}'?" if close else "remove it, or see spin/config.py",
            )
        values[key] = _convert(hints[key], value, (*path, key), origin)
    missing = [
        field.name
        for field in dataclasses.fields(kind)
        if field.name not in values and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(_where(path, origin), found="no " + ", ".join(missing), expected=", ".join(hints))
    return kind(**values)


def _convert(hint, value, path: tuple, origin: dict):
    if dataclasses.is_dataclass(hint):
        return _build(hint, value if value is not None else {}, path, origin)
    kind, arguments = typing.get_origin(hint), typing.get_args(hint)
    if kind in (typing.Union, types.UnionType):
        inner = next(argument for argument in arguments if argument is not type(None))
        return None if value is None else _convert(inner, value, path, origin)
    if kind is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(_where(path, origin), found=_describe(value), expected=f"a list of {arguments[0].__name__}")
        return tuple(_convert(arguments[0], item, path, origin) for item in value)
    if kind is dict:
        if not isinstance(value, dict):
            raise ConfigError(_where(path, origin), found=_describe(value), expected="a section of keys")
        return {key: _convert(arguments[1], item, (*path, key), origin) for key, item in value.items()}
    return _convert_scalar(hint, value, path, origin)


def _convert_scalar(hint: type, value, path: tuple, origin: dict):
    if hint is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:  # YAML 1.1 reads 1e-4 as a word
            value = float(value)
        except (ValueError, OverflowError):
            pass
    if hint is str and isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if type(value) is not hint or (hint is float and not math.isfinite(value)):
        raise ConfigError(_where(path, origin), found=_describe(value), expected=hint.__name__)
    return os.path.expanduser(value) if ".".join(path) in PATHS and value.isprintable() else value


def _describe(value) -> str:
    text = repr(value)
    return f"{text if len(text) <= 80 else text[:77] + '...'} ({type(value).__name__})"
