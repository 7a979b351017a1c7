"""Describe a settings class field by field: the one source of `workbench show` and of reference pages."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

_NAMES = {
    int: "integer",
    float: "number",
    bool: "true or false",
    str: "text",
    Path: "path",
    type(None): "null",
}
_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "multiple_of": "multiple of"}
_LENGTHS = {"min_length": "at least", "max_length": "at most"}


@dataclass(frozen=True)
class FieldHelp:
    """One setting: its key as typed on the command line, what may be given, and what it does."""

    key: str
    type: str
    default: Any
    """Plain data; None also where there is no default, see `required`."""
    range: str
    description: str
    required: bool = False

    @property
    def shown_default(self) -> str:
        """The default as one would type it."""
        if self.required:
            return "(required)"
        if self.default == "":
            return "''"
        return self.default if isinstance(self.default, str) else json.dumps(self.default)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def describe_fields(
    model: type[BaseModel], prefix: str = "", given: BaseModel | None = None
) -> list[FieldHelp]:
    """Return the fields of a settings class, those of settings within settings under their own keys.

    given: an instance whose values are the defaults, in place of the class's own.

    >>> from workbench.plugin import LearnerConfig
    >>> [(field.key, field.type, field.range) for field in describe_fields(LearnerConfig, "learner")][:2]
    [('learner.lr', 'number', '> 0'), ('learner.optimiser', 'adam | sgd', '')]
    """
    described: list[FieldHelp] = []
    for name, field in model.model_fields.items():
        key = f"{prefix}.{name}" if prefix else name
        required = given is None and field.is_required()
        default = field.get_default(call_default_factory=True) if given is None else getattr(given, name)
        inner = nested_model(field.annotation)
        if inner is not None:
            described += describe_fields(inner, key, default if isinstance(default, inner) else None)
            continue
        limits = list(dict.fromkeys([*_limits(field.metadata), *_limits_within(field.annotation)]))
        described.append(
            FieldHelp(
                key,
                type_name(field.annotation),
                None if required else to_jsonable_python(default),
                ", ".join(limits),
                field.description or "",
                required,
            )
        )
    return described


def nested_model(annotation: Any) -> type[BaseModel] | None:
    """Return the settings class that a field holds, possibly optional, or None for anything else."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        found = [inner for inner in map(nested_model, typing.get_args(annotation)) if inner is not None]
        return found[0] if len(found) == 1 else None
    return None


def type_name(annotation: Any) -> str:
    """Return what may be given for a type, in words.

    >>> type_name(tuple[int, ...]), type_name(float | None), type_name(typing.Literal["hard", "soft"])
    ('list of integer', 'number | null', 'hard | soft')
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_name(arguments[0])
    if origin is typing.Literal:
        return " | ".join(one if isinstance(one, str) else json.dumps(one) for one in arguments)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(type_name(one) for one in arguments)
    if origin is dict:
        return f"{{key: {type_name(arguments[1])}}}"
    if origin in (tuple, list, set, frozenset):
        if origin is tuple and Ellipsis not in arguments:
            return f"[{', '.join(type_name(one) for one in arguments)}]"
        return f"list of {type_name(arguments[0])}"
    return _NAMES.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _limits_within(annotation: Any) -> Iterable[str]:
    """Limits on the members of a union or a list, `Annotated[int, Ge(1)] | None`."""
    if typing.get_origin(annotation) is typing.Annotated:
        yield from _limits(typing.get_args(annotation)[1:])
    if typing.get_origin(annotation) is not typing.Literal:
        for inner in typing.get_args(annotation):
            yield from _limits_within(inner)


def _limits(metadata: Iterable[Any]) -> Iterable[str]:
    for limit in metadata:
        # A FieldInfo inside Annotated holds its own limits; annotated_types' classes are one attribute each.
        yield from _limits(getattr(limit, "metadata", ()))
        for name, sign in _SIGNS.items():
            if getattr(limit, name, None) is not None:
                yield f"{sign} {getattr(limit, name)}"
        for name, words in _LENGTHS.items():
            if getattr(limit, name, None) is not None:
                length = getattr(limit, name)
                yield "not empty" if (name, length) == ("min_length", 1) else f"{words} {length} values"
        if getattr(limit, "pattern", None) is not None:
            yield f"matches {limit.pattern}"
