"""A grid of settings: what is fixed, what is swept, and the points that come out."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from workbench.config import DEFAULTS, split_learner
from workbench.errors import ConfigurationError, PluginError, nearest
from workbench.overrides import KeyPath, place, read_config_file, split_override, write_value
from workbench.registry import Registry
from workbench.sweep.alternatives import alternatives, spelled_out, split_commas
from workbench.sweep.globs import SUFFIX, matching
from workbench.validation import validate

Point = dict[str, Any]
"""The settings of one job by dotted key."""


class Case(BaseModel):
    """Settings for the points that match: all keys of `when` have (one of) the values or patterns there."""

    model_config = ConfigDict(extra="forbid")

    when: dict[str, Any] = Field(
        description="keys and the values, lists of values or patterns they must have"
    )
    set: dict[str, Any] = Field(description="settings of the points that match; they win over the others")


class StudyFile(BaseModel):
    """The content of a study file in YAML; values of axes are lists, or texts in the grammar of the command line."""

    model_config = ConfigDict(extra="forbid")

    settings: dict[str, Any] = Field({}, description="settings of every job, in nested or dotted keys")
    axes: dict[str, Any] = Field({}, description="keys and the values each takes in turn")
    cases: list[Case] = Field([], description="further settings of the points that match")
    exclude: list[dict[str, Any]] = Field([], description="points that match one of these are left out")


@dataclass(frozen=True)
class Grid:
    """Fixed settings and axes by dotted key; the last axis turns fastest."""

    settings: dict[str, Any] = field(default_factory=dict)
    axes: dict[str, list[Any]] = field(default_factory=dict)
    cases: tuple[Case, ...] = ()
    exclude: tuple[dict[str, Any], ...] = ()

    def points(self, registry: Registry) -> list[Point]:
        """Return the settings of each job, each point once.

        A modifier's settings are left out of learners without it, so that `learner=bptt,bptt+replay
        learner.replay.size=100,500` is three points and not four. Raises ConfigurationError when nothing is left.
        """
        found: list[Point] = []
        for combination in itertools.product(*self.axes.values()):
            point = {**self.settings, **dict(zip(self.axes, combination, strict=True))}
            if any(matches(point, condition) for condition in self.exclude):
                continue
            for case in self.cases:
                if matches(point, case.when):
                    point |= case.set
            point = self._without_strangers(point, registry)
            if point not in found:
                found.append(point)
        if not found:
            raise ConfigurationError("exclude: leaves no job of the sweep")
        return found

    def varied(self) -> list[str]:
        """Return the keys that may differ between points, the axes first."""
        keys = [*self.axes, *(key for case in self.cases for key in case.set)]
        return list(dict.fromkeys(keys))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data in the form of a study file."""
        content = StudyFile(
            settings=self.settings, axes=self.axes, cases=list(self.cases), exclude=list(self.exclude)
        )
        return {key: value for key, value in content.model_dump(mode="json").items() if value}

    def _without_strangers(self, point: Point, registry: Registry) -> Point:
        """Drop settings of modifiers that other learners of the grid have and this point's has not."""
        everywhere = self.axes.get("learner", [])
        ours = _modifiers(point.get("learner"), registry)
        strangers = {name for other in everywhere for name in _modifiers(other, registry)} - ours
        return {
            key: value
            for key, value in point.items()
            if not (key.startswith("learner.") and _spelled(key.split(".")[1]) in strangers)
        }


def matches(point: Mapping[str, Any], condition: Mapping[str, Any]) -> bool:
    """Tell whether a point has, for every key of a condition, its value, one of its values, or one like its pattern.

    A plug-in that a point does not name is the default one; any other setting it does not name matches nothing.

    >>> matches({"learner": "bptt+replay", "seed": 1}, {"learner": "bptt*", "seed": [0, 1]})
    True
    """
    return all(
        any(
            _alike(point.get(key, DEFAULTS.get(key)), wanted)
            for wanted in (values if isinstance(values, list) else [values])
        )
        for key, values in condition.items()
    )


def _alike(value: Any, wanted: Any) -> bool:
    if isinstance(value, str) and isinstance(wanted, str):
        return value == wanted or fnmatchcase(value, wanted)
    return bool(value == wanted)


def grid_of(overrides: Sequence[str], file: Path | None, registry: Registry) -> Grid:
    """Return the grid that `key=value,value` texts, over a study file, spell out.

    Raises ConfigurationError listing every problem found, one a line.
    """
    content = read_study_file(file) if file is not None else StudyFile()
    return _build(content, overrides, file, registry)


def read_study_file(file: Path) -> StudyFile:
    """Return the content of a study file. Raises ConfigurationError."""
    problems: list[str] = []
    content = validate(StudyFile, read_config_file(file), "", problems, f" (in {file})")
    if content is None:
        raise ConfigurationError("\n".join(problems))
    return content


def _build(content: StudyFile, overrides: Sequence[str], file: Path | None, registry: Registry) -> Grid:
    origin = f" (in {file})" if file is not None else ""
    problems: list[str] = []
    fixed, axes = _flat(content.settings), _flat(content.axes)
    axes |= {key: fixed.pop(key) for key in list(fixed) if key.endswith(f".{SUFFIX}")}
    problems += [f"{key}: stands in settings and in axes{origin}" for key in _both(fixed, axes)]
    texts = _typed(overrides, problems)
    # What is typed wins over the file, whichever of its two parts holds the key.
    for part in (fixed, axes):
        for stored in _both(part, texts):
            del part[stored]
    values: dict[str, list[Any]] = {key: [value] for key, value in fixed.items()}
    globs: set[str] = set()
    for key, stored in [*axes.items(), *texts.items()]:
        try:
            if key.endswith(f".{SUFFIX}"):
                # In the place of the key itself, since the order of the axes is the order of the jobs.
                key = key.removesuffix(f".{SUFFIX}")
                values[key] = _patterns(stored)
                globs.add(key)
            else:
                values[key] = axis_values(key, stored, key in texts)
        except ConfigurationError as error:
            problems.append(f"{error}{'' if key in texts else origin}")
    _resolve_globs(
        values, globs, registry, {key: "" if _both(texts, [key]) else origin for key in globs}, problems
    )
    problems += [line + origin for line in _within(values)]
    cases, exclude = _conditions(content, list(values), problems, origin)
    if problems:
        raise ConfigurationError("\n".join(problems))
    swept = {key for key in values if len(values[key]) > 1}
    return Grid(
        {key: some[0] for key, some in values.items() if key not in swept},
        {key: values[key] for key in values if key in swept},
        cases,
        exclude,
    )


def _typed(overrides: Sequence[str], problems: list[str]) -> dict[str, str]:
    """Return the texts of `key=value,value` by key."""
    texts: dict[str, str] = {}
    for text in overrides:
        try:
            path, behind = split_override(text)
        except ConfigurationError as error:
            problems.append(str(error))
            continue
        key = ".".join(path)
        if _both(texts, [key]):
            problems.append(f"{key}: given twice; separate its values by commas")
        texts[key] = behind
    return texts


def _resolve_globs(
    values: dict[str, list[Any]],
    globs: set[str],
    registry: Registry,
    origins: Mapping[str, str],
    problems: list[str],
) -> None:
    """Put what matches in the place of patterns; those of plug-ins first, which tell whose settings others are."""
    for key in sorted(globs, key=lambda key: key not in DEFAULTS):
        chosen = {axis: values.get(axis, []) for axis in DEFAULTS}
        found: list[Any] = []
        for pattern in values[key]:
            try:
                found += matching(tuple(key.split(".")), str(pattern), chosen, registry)
            except ConfigurationError as error:
                problems.append(f"{error}{origins[key]}")
        values[key] = [value for index, value in enumerate(found) if value not in found[:index]]


def _conditions(
    content: StudyFile, keys: Sequence[str], problems: list[str], origin: str
) -> tuple[tuple[Case, ...], tuple[dict[str, Any], ...]]:
    """Return cases and exclusions with their keys spelled as those of the grid; a key of neither is a slip."""
    known = {
        _spelled(key): key
        for key in [*DEFAULTS, *(one for case in content.cases for one in _flat(case.set)), *keys]
    }

    def respelled(where: str, condition: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for key, value in _flat(condition).items():
            if _spelled(key) not in known:
                guess = nearest(key, known.values())
                hint = f"; did you mean {guess}?" if guess else ""
                problems.append(f"{where}: {key} is no setting of this study{hint}{origin}")
            found[known.get(_spelled(key), key)] = value
        return found

    cases = [
        Case(when=respelled("cases.when", case.when), set=respelled("cases.set", case.set))
        for case in content.cases
    ]
    return tuple(cases), tuple(respelled("exclude", one) for one in content.exclude)


def _within(values: Mapping[str, Any]) -> list[str]:
    """Return a line for each key that stands beside one it is a part of."""
    return [
        f"{inner}: given twice, {outer} is given too"
        for inner in values
        for outer in values
        if outer not in DEFAULTS and inner.startswith(f"{outer}.")
    ]


def _both(keys: Iterable[str], others: Iterable[str]) -> list[str]:
    """Return the keys that stand among the others too, in one spelling or another."""
    alike = {_bare_key(other) for other in others}
    return [key for key in keys if _bare_key(key) in alike]


def _patterns(stored: Any) -> list[Any]:
    return stored if isinstance(stored, list) else [part.strip() for part in split_commas(str(stored))]


def axis_values(key: str, stored: Any, typed: bool = False) -> list[Any]:
    """Return the values of an axis, typed as text or stored as a list or a text. Raises ConfigurationError."""
    if typed or isinstance(stored, str):
        return _unique(key, alternatives(key, stored))
    if not isinstance(stored, list):
        return [stored]
    if not stored:
        raise ConfigurationError(f"axes.{key}: holds no value")
    found = [(spelled_out(key, one) if isinstance(one, str) else None) or [one] for one in stored]
    return _unique(key, [value for values in found for value in values])


def _unique(key: str, values: list[Any]) -> list[Any]:
    for index, value in enumerate(values):
        if any(value == other and type(value) is type(other) for other in values[:index]):
            raise ConfigurationError(f"{key}: the value {write_value(value)} stands twice")
    return values


def tree_of(point: Mapping[str, Any]) -> dict[str, Any]:
    """Return a point as the nested tree of a configuration file.

    >>> tree_of({"scenario": "split-shd", "scenario.tasks": 5, "seed": 0})
    {'scenario': {'name': 'split-shd', 'tasks': 5}, 'seed': 0}
    """
    tree: dict[str, Any] = {}
    for key, value in point.items():
        path: KeyPath = tuple(key.split("."))
        place(tree, (key, "name") if key in DEFAULTS else path, value)
    return tree


def _leaves(path: KeyPath, tree: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for key, value in tree.items():
        here = (*path, *str(key).split("."))
        if isinstance(value, Mapping) and value:
            yield from _leaves(here, value)
        elif len(here) == 2 and here[0] in DEFAULTS and here[1] == "name":
            yield here[0], value
        else:
            yield ".".join(here), value


def _flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    return dict(_leaves((), tree))


def _bare_key(key: str) -> str:
    """Return a key in one spelling, that of a glob over it included."""
    return _spelled(key.removesuffix(f".{SUFFIX}"))


def _spelled(key: str) -> str:
    return key.replace("-", "_")


def _modifiers(learner: Any, registry: Registry) -> set[str]:
    try:
        parts = split_learner(str(learner or DEFAULTS["learner"]), registry)
    except PluginError:
        return set()
    return {_spelled(part.rpartition(":")[2]) for part in parts[1:]}
