"""`key.glob=PATTERN`: every plug-in, allowed value or file that matches, as the values of a key."""

from __future__ import annotations

import glob
import types
import typing
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from workbench.config import DEFAULTS, split_learner
from workbench.errors import ConfigurationError, PluginError
from workbench.fields import nested_model
from workbench.registry import Registry
from workbench.sections import DiagnoseConfig, GeneralConfig, StreamConfig, TrackConfig, TrainConfig

SUFFIX = "glob"
_SECTIONS: dict[str, type[BaseModel]] = {
    "train": TrainConfig,
    "track": TrackConfig,
    "diagnose": DiagnoseConfig,
    "stream": StreamConfig,
}


def matching(
    path: tuple[str, ...], pattern: str, chosen: dict[str, list[Any]], registry: Registry
) -> list[Any]:
    """Return the values of the key `path` that match a shell pattern, in order.

    An axis (`learner`): installed plug-ins by name. A setting with a fixed set of values: those. A path: files. Any
    other key has nothing to match. chosen: the names swept on each axis, which tell whose settings are meant.
    Raises ConfigurationError when nothing matches, naming what there is.
    """
    key = ".".join(path)
    if len(path) == 1 and path[0] in DEFAULTS:
        known = registry.names(path[0])
        return _some(key, pattern, known, [name for name in known if fnmatchcase(name, pattern)])
    annotation = _annotation(path, chosen, registry)
    if annotation is not None and _mentions(annotation, Path):
        files = sorted(glob.glob(str(Path(pattern).expanduser())))
        return _some(key, pattern, ["no such file"], files)
    allowed = _fixed(annotation)
    if not allowed:
        raise ConfigurationError(
            f"{key}.{SUFFIX}: {key} has no fixed set of values to choose from; list them, {key}=A,B"
        )
    return _some(key, pattern, allowed, [one for one in allowed if fnmatchcase(_text(one), pattern)])


def _some(key: str, pattern: str, known: list[Any], found: list[Any]) -> list[Any]:
    if not found:
        raise ConfigurationError(
            f"{key}.{SUFFIX}={pattern}: matches nothing (there is: {', '.join(map(_text, known))})"
        )
    return found


def _annotation(path: tuple[str, ...], chosen: dict[str, list[Any]], registry: Registry) -> Any:
    """Return the type of a setting, from the first of the swept plug-ins that has it; None if none does."""
    for model, rest in _owners(path, chosen, registry):
        annotation: Any = None
        inner: type[BaseModel] | None = model
        for part in rest:
            field = None if inner is None else inner.model_fields.get(part.replace("-", "_"))
            annotation = None if field is None else field.annotation
            inner = None if field is None else nested_model(field.annotation)
        if annotation is not None:
            return annotation
    return None


def _owners(
    path: tuple[str, ...], chosen: dict[str, list[Any]], registry: Registry
) -> list[tuple[type[BaseModel], tuple[str, ...]]]:
    if path[0] not in DEFAULTS:
        return [(_SECTIONS[path[0]], path[1:])] if path[0] in _SECTIONS else [(GeneralConfig, path)]
    owners: list[tuple[type[BaseModel], tuple[str, ...]]] = []
    for name in chosen.get(path[0]) or [DEFAULTS[path[0]]]:
        try:
            parts = split_learner(str(name), registry) if path[0] == "learner" else (str(name),)
            for part in parts:
                bare = part.rpartition(":")[2].replace("-", "_")
                ours = path[1].replace("-", "_") == bare
                owners.append((registry.load(path[0], part).Config, path[2:] if ours else path[1:]))
        except PluginError:
            continue
    return owners


def _fixed(annotation: Any) -> list[Any]:
    """Return the values that a type allows, if they can be listed."""
    if annotation is bool:
        return [False, True]
    if typing.get_origin(annotation) is typing.Literal:
        return list(typing.get_args(annotation))
    # Of a list or a mapping, what its items may be is not what it may be.
    united = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return [one for inner in typing.get_args(annotation) for one in _fixed(inner)] if united else []


def _mentions(annotation: Any, kind: type) -> bool:
    return annotation is kind or any(_mentions(inner, kind) for inner in typing.get_args(annotation))


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
