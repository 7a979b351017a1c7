"""Check plain data against a settings class; say in one line per key what is wrong and what is allowed."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from workbench.errors import nearest
from workbench.fields import nested_model
from workbench.overrides import merge

Model = TypeVar("Model", bound=BaseModel)

_WANTED = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "int_parsing": "an integer",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "path_type": "a path",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "model_attributes_type": "keys and values",
    "none_required": "null",
    "finite_number": "a finite number",
}
_BOUNDS = {
    "greater_than": ("gt", ">"),
    "greater_than_equal": ("ge", ">="),
    "less_than": ("lt", "<"),
    "less_than_equal": ("le", "<="),
}


def validate(
    model: type[Model],
    data: Mapping[str, Any],
    section: str,
    problems: list[str],
    origin: str = "",
    typed: Container[str] = (),
) -> Model | None:
    """Return the settings, or None after adding one line per faulty key to `problems`.

    Numbers, texts and booleans are not taken for each other: `true` is no number and `"3"` no integer.
    section: where the keys stand (`learner`), empty for the top level. origin: where the data comes from,
    appended to the lines of all keys but those in `typed`.
    """
    try:
        text = json.dumps(data)
    except (TypeError, ValueError, RecursionError) as error:
        problems.append(
            f"{section or 'configuration'}: holds a value that is not plain data ({error}){origin}"
        )
        return None
    try:
        # JSON mode is the strictness wanted: lists become tuples and texts paths, nothing else converts.
        return model.model_validate_json(text, strict=True)
    except ValidationError as error:
        for key, line in _lines(error, model, json.loads(text), section):
            problems.append(line + ("" if key in typed else origin))
        return None


def canonical(data: Mapping[Any, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Return the data with keys spelled as the model's fields are: `weight-decay` becomes `weight_decay`.

    Keys below a field that is itself free-form data are left alone.
    """
    result: dict[str, Any] = {}
    for key, value in data.items():
        name = str(key)
        if name not in model.model_fields and name.replace("-", "_") in model.model_fields:
            name = name.replace("-", "_")
        if name in model.model_fields and isinstance(value, Mapping):
            inner = nested_model(model.model_fields[name].annotation)
            value = canonical(value, inner) if inner else dict(value)
        result = merge(result, {name: value})
    return result


def unknown_key(key: str, section: str, allowed: Iterable[str], extra: Iterable[str] = ()) -> str:
    """Return the line for a key that does not exist: what was meant perhaps, and what is there.

    extra: full keys that are worth suggesting but would make the list of what is allowed too long.
    """
    prefix = f"{section}." if section else ""
    names = [prefix + name for name in allowed]
    pool = {name.rpartition(".")[2]: name for name in [*extra, *names]}
    guess = nearest(key, pool)
    hint = f"; did you mean {pool[guess]}?" if guess else ""
    listed = ", ".join(names) if names else f"{section or 'this section'} has no settings"
    return f"{prefix}{key}: unknown key{hint} (allowed: {listed})" if names else f"{prefix}{key}: {listed}"


def shown(value: Any) -> str:
    """Return a value as it stands in an error message, with its kind, shortened.

    >>> shown(True), shown("3"), shown(3)
    ('true (a boolean)', "'3' (text)", '3')
    """
    kind = {bool: " (a boolean)", str: " (text)", list: " (a list)", dict: " (keys and values)"}.get(
        type(value), ""
    )
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=str)
    return (text if len(text) <= 60 else text[:57] + "...") + kind


def _lines(
    error: ValidationError, model: type[BaseModel], data: Mapping[str, Any], section: str
) -> Iterable[tuple[str, str]]:
    """First part and line of each faulty key; the branches of a union, reported one by one, share a line."""
    by_key: dict[str, list[Any]] = {}
    all_faults = error.errors(include_url=False)
    for fault in all_faults:
        if fault["type"] == "too_short" and _is_above(fault["loc"], all_faults):
            continue  # pydantic leaves faulty items out before it counts them
        path = _path(fault["loc"], data)
        by_key.setdefault(_key(path, section), []).append((path, fault))
    for key, faults in by_key.items():
        wanted = list(dict.fromkeys(_WANTED[one["type"]] for _, one in faults if one["type"] in _WANTED))
        others = [_other(path, one, model, section) for path, one in faults if one["type"] not in _WANTED]
        if wanted:
            value = next(one["input"] for _, one in faults if one["type"] in _WANTED)
            others.append(f"wants {' or '.join(wanted)}, got {shown(value)}")
        name = f"{key}: " if key else ""
        first = str(faults[0][0][0]) if faults[0][0] else ""
        yield first, name + "; ".join(dict.fromkeys(others))


def _is_above(place: tuple[int | str, ...], faults: Iterable[Any]) -> bool:
    """Tell whether a fault lies inside the value at `place`."""
    return any(len(one["loc"]) > len(place) and one["loc"][: len(place)] == place for one in faults)


def _other(path: tuple[int | str, ...], fault: Any, model: type[BaseModel], section: str) -> str:
    kind, context, value = fault["type"], fault.get("ctx", {}), fault["input"]
    if kind == "extra_forbidden":
        owner = _owner(path, model)
        line = unknown_key(str(path[-1]), _key(path[:-1], section), owner.model_fields if owner else ())
        return line.partition(": ")[2]
    if kind == "missing":
        return "required, but not given"
    if kind in _BOUNDS:
        bound, sign = _BOUNDS[kind]
        return f"must be {sign} {context[bound]}, got {shown(value)}"
    if kind in ("too_short", "too_long"):
        bound = f"least {context['min_length']}" if kind == "too_short" else f"most {context['max_length']}"
        return f"must hold at {bound} values, got {shown(value)}"
    if kind in ("literal_error", "enum"):
        allowed = re.findall(r"'((?:[^'\\]|\\.)*)'", context["expected"]) or [context["expected"]]
        guess = nearest(value, allowed) if isinstance(value, str) else None
        hint = f"; did you mean {guess}?" if guess else ""
        return f"must be one of {', '.join(allowed)}; got {shown(value)}{hint}"
    if kind == "value_error":
        return f"{context['error']}; got {shown(value)}" if path else str(context["error"])
    message = str(fault["msg"])
    return f"{message[:1].lower()}{message[1:]}; got {shown(value)}"


def _path(location: tuple[int | str, ...], data: Any) -> tuple[int | str, ...]:
    """Return where in the data a fault lies: pydantic's location without the names of union branches."""
    path: list[int | str] = []
    for index, part in enumerate(location):
        if isinstance(data, dict) and (part in data or index == 0):
            path.append(part)
            data = data.get(str(part))
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            path.append(part)
            data = data[part]
        elif isinstance(data, dict) and index == len(location) - 1:
            path.append(part)
    return tuple(path)


def _key(path: tuple[int | str, ...], section: str) -> str:
    key = section
    for part in path:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else part
    return key


def _owner(path: tuple[int | str, ...], model: type[BaseModel]) -> type[BaseModel] | None:
    """Return the settings class in which the path's last part was looked for, as far as fields tell."""
    owner: type[BaseModel] | None = model
    for part in path[:-1]:
        known = owner.model_fields.get(str(part)) if owner is not None else None
        owner = nested_model(known.annotation) if known is not None else None
    return owner
