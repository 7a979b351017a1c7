"""The `key=value` grammar and configuration files: text in, plain nested data out; keys have no meaning here.

Values are YAML 1.2 scalars, lists and mappings, so `1e-3` is a number, `[256, 256]` a list, and `off` a word.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from workbench.errors import ConfigurationError

KeyPath = tuple[str, ...]

_KEY = re.compile(r"[A-Za-z_][\w-]*(\.[A-Za-z0-9_][\w-]*)*")
_ONE_LINE = 10**9
_PLAIN, _WORD = re.compile(r"""[^][{}(),'"\s]+"""), re.compile(r"[\w.+/-]+")
_NULLS = ("null", "Null", "NULL", "~")
_FLOAT = r"[-+]?(\.[0-9]+|[0-9]+(_[0-9]+)*(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
_INTEGER = r"[-+]?([0-9]+(_[0-9]+)*|0x[0-9a-fA-F]+|0o[0-7]+|0b[01]+)"


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2, and duplicate keys refused.

    YAML 1.1, PyYAML's own dialect, reads `1e-3` as text, `off` as false and `12:30` as 750.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # PyYAML's own class attribute, replaced, not shared

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"duplicate key {key.value!r}", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_integer(self, node: yaml.ScalarNode) -> int:
        text = self.construct_scalar(node).lower()
        return int(text, 0 if text.lstrip("+-")[:2] in ("0x", "0o", "0b") else 10)

    def construct_float(self, node: yaml.ScalarNode) -> float:
        return float(re.sub(r"\.(?=inf|nan)", "", self.construct_scalar(node).lower()))


class _Dumper(yaml.SafeDumper):
    """Quotes the texts that `_Loader` would take for something else."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _prepare(loader: type[_Loader], dumper: type[_Dumper]) -> None:
    scalars = [
        ("null", "~|null|Null|NULL|", ["~", "n", "N", ""]),
        ("bool", "true|True|TRUE|false|False|FALSE", list("tTfF")),
        ("int", _INTEGER, list("-+0123456789")),
        ("float", _FLOAT, list("-+.0123456789")),
        ("merge", "<<", ["<"]),
    ]
    for name, pattern, first in scalars:
        whole = re.compile(f"(?:{pattern})$")
        for side in (loader, dumper):
            side.add_implicit_resolver(f"tag:yaml.org,2002:{name}", whole, first)
    loader.add_constructor("tag:yaml.org,2002:int", loader.construct_integer)
    loader.add_constructor("tag:yaml.org,2002:float", loader.construct_float)


_prepare(_Loader, _Dumper)


def parse_value(text: str) -> Any:
    """Return the value written as `text`. Raises ConfigurationError when it is no YAML.

    >>> [parse_value(text) for text in ("1e-3", "3", "off", "true", "null", "[256, 256]", "osttp+replay")]
    [0.001, 3, 'off', True, None, [256, 256], 'osttp+replay']
    """
    stripped = text.strip()
    if not stripped:
        raise ConfigurationError("no value given (write null for none, '' for an empty text)")
    if stripped.startswith("~/"):
        return os.path.expanduser(
            stripped
        )  # as the shell does for a bare path; a path has no other meaning here
    try:
        value = _load(stripped)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"cannot read {text!r} as a value ({_reason(error)}); quote it?") from error
    if value is None and stripped not in _NULLS:
        raise ConfigurationError(f"cannot read {text!r} as a value (# starts a comment); quote it?")
    return value


def write_value(value: Any) -> str:
    """Return a text on one line that `parse_value` reads back as the value; in it, commas separate nothing unquoted.

    >>> [write_value(value) for value in (1e-3, True, None, [128, 64], "bptt", "1e-3")]
    ['0.001', 'true', 'null', '[128, 64]', 'bptt', "'1e-3'"]
    """
    if isinstance(value, str):
        return _write_text(value, _PLAIN)
    if isinstance(value, Mapping):
        inside = [f"{_write_text(str(key), _WORD)}: {_write_item(item)}" for key, item in value.items()]
        return "{" + ", ".join(inside) + "}"
    if isinstance(value, Sequence):
        return f"[{', '.join(map(_write_item, value))}]"
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else f"{'-' if value < 0 else ''}.inf"
    return json.dumps(value)


def _write_item(value: Any) -> str:
    """Return `write_value(value)` for the inside of a list, where more letters have a meaning."""
    return _write_text(value, _WORD) if isinstance(value, str) else write_value(value)


def _write_text(text: str, plain: re.Pattern[str]) -> str:
    try:
        if plain.fullmatch(text) and ".." not in text and parse_value(text) == text:
            return text
    except ConfigurationError:
        pass
    style = "'" if text.isprintable() else '"'
    return str(yaml.dump(text, Dumper=_Dumper, default_style=style, width=_ONE_LINE)).strip()


def split_override(text: str) -> tuple[KeyPath, str]:
    """Return key path and value text of one `key=value`. Raises ConfigurationError naming what is missing.

    >>> split_override("learner.replay.size=500")
    (('learner', 'replay', 'size'), '500')
    """
    key, separator, value = text.partition("=")
    key = key.strip()
    if not separator:
        raise ConfigurationError(f"{text}: missing '='; write key=value, for example seed=3")
    if not _KEY.fullmatch(key):
        raise ConfigurationError(f"{key!r}: not a key; write key=value, for example learner.lr=1e-3")
    return tuple(key.split(".")), value


def parse_overrides(overrides: Iterable[str], choices: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the tree that `key=value` texts spell out, and the problems found, one line each.

    A key in `choices` with a plain value names a plug-in: `scenario=x` is `{"scenario": {"name": "x"}}`.
    """
    tree: dict[str, Any] = {}
    problems: list[str] = []
    taken: dict[KeyPath, str] = {}
    for text in overrides:
        try:
            path, written = split_override(text)
            value = parse_value_of(".".join(path), written)
        except ConfigurationError as error:
            problems.append(str(error))
            continue
        if path[0] in choices and len(path) == 1 and not isinstance(value, dict):
            path = (path[0], "name")
        for leaf, leaf_value in _leaves(path, value):
            alike = tuple(part.replace("-", "_") for part in leaf)
            clash = next(
                (one for one in taken if one[: len(alike)] == alike or alike[: len(one)] == one), None
            )
            if clash is not None:
                problems.append(f"{'.'.join(leaf)}: given twice ({taken[clash]} and {text})")
            else:
                taken[alike] = text
                place(tree, leaf, leaf_value)
    return tree, problems


def parse_value_of(key: str, text: str) -> Any:
    """Return `parse_value(text)`, naming `key` in the error."""
    try:
        return parse_value(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"{key}: {error}") from error


def read_config_file(path: Path) -> dict[str, Any]:
    """Return the tree in a YAML file. Raises ConfigurationError naming file, and line where there is one."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not a text file in UTF-8 (byte {error.start})") from error
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        tree = _load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path}: not valid YAML: {_reason(error, lines=True)}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigurationError(
            f"{path}: wants keys and values at the top level (seed: 3), found {tree!r:.60}"
        )
    return tree


def to_yaml(tree: Mapping[str, Any]) -> str:
    """Return a tree as YAML that `read_config_file` reads back exactly, texts like `1e-3` included.

    >>> print(to_yaml({"seed": 3, "track": {"experiment": "1e-3"}}), end="")
    seed: 3
    track:
      experiment: '1e-3'
    """
    # Not allow_unicode: PyYAML takes the line break U+0085 within a text for a space when it reads it back.
    return str(yaml.dump(tree, Dumper=_Dumper, sort_keys=False))


def place(tree: dict[str, Any], path: KeyPath, value: Any) -> None:
    """Set the value at a key path, making the mappings on the way."""
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value


def merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `top` over it; mappings are merged, everything else is replaced.

    >>> merge({"a": 1, "b": {"c": 2}}, {"b": {"d": 3}})
    {'a': 1, 'b': {'c': 2, 'd': 3}}
    """
    merged = dict(base)
    for key, value in top.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def _leaves(path: KeyPath, value: Any) -> Iterable[tuple[KeyPath, Any]]:
    if not isinstance(value, dict) or not value:
        yield path, value
        return
    for key, inner in value.items():
        yield from _leaves((*path, str(key)), inner)


def _load(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)


def _reason(error: Exception, lines: bool = False) -> str:
    if not isinstance(error, yaml.MarkedYAMLError):
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    mark = error.problem_mark
    where = f" in line {mark.line + 1}, column {mark.column + 1}" if lines and mark is not None else ""
    return f"{error.problem or error.context}{where}"
