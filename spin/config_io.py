"""Reading the configuration: YAML, then `section.key=value` overrides, then the types and ranges of spin/config.py."""

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
EXAMPLES = Path(__file__).parents[1] / "egs" / "librispeech" / "conf"
EXAMPLE = EXAMPLES / "mini.yaml"


def load_config(path: str | Path | None = None, overrides: Iterable[str] = ()) -> Config:
    """Reads a YAML file (None: the defaults) and applies `section.key=value` overrides in order.

    Raises ConfigError for an unreadable file, an unknown key, a wrong type or range; it names the key and the file or override.
    """
    tree = _read_yaml(Path(path)) if path is not None else {}
    origin = {(): str(path) if path is not None else "the defaults"}
    for override in overrides:
        _apply(tree, override, origin)
    hints = get_type_hints(Config)
    for key in tree:
        if tree[key] is None and dataclasses.is_dataclass(hints.get(key)):  # a section whose keys are all commented out
            tree[key] = {}
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
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed here", self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            problem = f"key {key!r} is not a word" if not isinstance(key, str) else f"key '{key}' appears twice"
            if not isinstance(key, str) or key in seen:
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _load_yaml(text: str, subject: str, **more: str):
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}" if mark else str(error)
        raise ConfigError(subject, found=" ".join(where.split()) or type(error).__name__, **more) from error


def _read_yaml(path: Path) -> dict:
    subject, expected = f"configuration file {path}", "a readable YAML file"
    try:
        if path.stat().st_size > MAX_FILE_SIZE:
            raise ConfigError(subject, found=f"{path.stat().st_size} bytes", expected=f"at most {MAX_FILE_SIZE} bytes of YAML")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        names = sorted(file.name for file in EXAMPLES.glob("*.yaml"))
        remedy = f"--conf FILE, for example one of {EXAMPLES}: {', '.join(names)}"
        cause = f"relative paths start in {Path.cwd()}"
        raise ConfigError(subject, found="No such file", expected=expected, cause=cause, remedy=remedy) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(subject, found=str(error), expected=expected, remedy=f"compare {EXAMPLE}") from error
    tree = _load_yaml(text, subject, expected=expected, remedy=f"correct this line; compare {EXAMPLE}")
    if tree is not None and not isinstance(tree, dict):
        raise ConfigError(subject, found=type(tree).__name__, expected="sections with keys", remedy=f"compare {EXAMPLE}")
    return tree or {}


def _apply(tree: dict, override: str, origin: dict) -> None:
    name = f"--set {override}"
    key, equals, text = override.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or not all(path):
        raise ConfigError(name, found=repr(override), expected="section.key=value", remedy="for example --set spin.max_steps=100")
    for part in path[:-1]:
        if tree.get(part) is None:
            tree[part] = {}
        tree = tree[part]
        if not isinstance(tree, dict):
            raise ConfigError(name, found=f"'{part}' is a {type(tree).__name__}", expected="a section")
    tree[path[-1]] = _load_yaml(text, name, expected="a YAML value after '='")
    origin[path] = name


def _explain(problem: dict, origin: dict) -> ConfigError:
    """pydantic's first problem as an error that names the key, its origin, and the nearest key that exists."""
    path = tuple(str(name) for name in problem["loc"])
    source = next(origin[path[:size]] for size in range(len(path), -1, -1) if path[:size] in origin)
    found, expected, remedy = repr(problem["input"]), problem["msg"], "see spin/config.py"
    if problem["type"] == "unexpected_keyword_argument":
        known = _keys(path[:-1])
        close = difflib.get_close_matches(path[-1], known, n=1)
        found, expected = "an unknown key", ", ".join(known)
        remedy = f"did you mean '{close[0]}'?" if close else "remove it, or see spin/config.py"
    elif problem["type"] == "missing":
        found, expected = "no value", f"a value of {path[-1]}"
    else:
        for beginning in ("Value error, ", "expected ", "Input should be "):
            expected = expected.removeprefix(beginning)
        found = f"{found if len(found) <= 80 else found[:77] + '...'} ({type(problem['input']).__name__})"
    return ConfigError(f"{'.'.join(path) or 'configuration'} (from {source})", found=found, expected=expected, remedy=remedy)


def _keys(path: tuple[str, ...]) -> list[str]:
    """Names of the keys in a section."""
    kind = Config
    for name in path:
        hint = get_type_hints(kind).get(name) if dataclasses.is_dataclass(kind) else None
        nested = [argument for argument in (hint, *get_args(hint)) if dataclasses.is_dataclass(argument)]
        kind = nested[0] if nested else kind
    return [field.name for field in dataclasses.fields(kind)]
