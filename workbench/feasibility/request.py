"""What a feasibility study is asked for: learners, devices, seeds, axes, budgets; typed, from a file, or stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from workbench.config import DEFAULTS
from workbench.errors import ConfigurationError
from workbench.feasibility.axes import AXES, FLOAT, REFERENCE, axis_named
from workbench.feasibility.budget import Budget, budget_of
from workbench.overrides import parse_value_of, read_config_file, split_override, to_yaml
from workbench.registry import Registry
from workbench.runfolder import write_atomically
from workbench.sweep.alternatives import alternatives
from workbench.sweep.grid import Case, Grid, grid_of
from workbench.validation import validate

LEARNERS = ("osttp", "sltt", "bptt", "eprop")
DEVICES = ("pcm", "reram-om", "ecram")
SEEDS = (0, 1, 2)
FILE = "feasibility.yaml"
BUDGET, SENSITIVITY = "budget", "sensitivity"


class Stored(BaseModel):
    """The content of feasibility.yaml."""

    model_config = ConfigDict(extra="forbid")

    learners: list[str] = Field(description="learners, as typed")
    devices: list[str] = Field(description="hardware besides ideal, as typed")
    seeds: list[int] = Field(description="seeds of the runs")
    settings: dict[str, Any] = Field({}, description="settings of every run, by dotted key")
    cases: list[Case] = Field([], description="further settings of the runs that match")
    axes: dict[str, list[float | int]] = Field({}, description="values along each axis")
    axis_seeds: list[int] = Field([], description="seeds of the runs along the axes")
    budget: dict[str, Any] = Field({}, description="budgets as typed")


@dataclass(frozen=True)
class Request:
    """A study, checked as far as that goes without looking at plug-ins; `axes` holds values by the axis's name."""

    learners: tuple[str, ...] = LEARNERS
    devices: tuple[str, ...] = DEVICES
    seeds: tuple[int, ...] = SEEDS
    settings: dict[str, Any] = field(default_factory=dict)
    cases: tuple[Case, ...] = ()
    axes: dict[str, tuple[float | int, ...]] = field(default_factory=dict)
    axis_seeds: tuple[int, ...] = SEEDS
    budget: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the budgets. Raises ConfigurationError."""
        budget_of(self.budget)

    @property
    def budgets(self) -> Budget:
        """The budgets, defaults where nothing is given."""
        return budget_of(self.budget)

    @property
    def scenario(self) -> str:
        """The scenario of every run."""
        return str(self.settings.get("scenario", DEFAULTS["scenario"]))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data in the form of feasibility.yaml."""
        stored = Stored(
            learners=list(self.learners),
            devices=list(self.devices),
            seeds=list(self.seeds),
            settings=self.settings,
            cases=list(self.cases),
            axes={name: list(values) for name, values in self.axes.items()},
            axis_seeds=list(self.axis_seeds),
            budget=self.budget,
        )
        return stored.model_dump(mode="json")


def request_of(
    overrides: Sequence[str],
    registry: Registry,
    file: Path | None = None,
    *,
    only: Sequence[str] | None = None,
    axis_seeds: int | None = None,
) -> Request:
    """Return what `key=value` texts over a study file ask for.

    only: names of the axes to follow; empty for none, None for all. axis_seeds: how many of the seeds take part in
    that; None: all. Raises ConfigurationError.
    """
    ours, others = _parted(overrides)
    grid = grid_of(others, file, registry)
    learners = _several(grid, "learner", LEARNERS)
    devices = [name for name in _several(grid, "hardware", DEVICES) if name != REFERENCE]
    seeds = [int(seed) for seed in _several(grid, "seed", SEEDS)]
    extra = [key for key in grid.axes if key not in ("learner", "hardware", "seed")]
    if extra:
        raise ConfigurationError(
            f"{extra[0]}: takes one value in a feasibility study; sweep it with workbench sweep"
        )
    if not devices:
        raise ConfigurationError(f"hardware={REFERENCE}: is the reference; name devices besides it")
    if grid.exclude:
        raise ConfigurationError("exclude: a feasibility study leaves nothing out; name learners and devices")
    if axis_seeds is not None and axis_seeds < 1:
        raise ConfigurationError(f"--sensitivity-seeds {axis_seeds}: wants 1 or more")
    fixed = {key: value for key, value in grid.settings.items() if key not in ("learner", "hardware", "seed")}
    return Request(
        tuple(learners),
        tuple(devices),
        tuple(seeds),
        fixed,
        grid.cases,
        _axes(ours[SENSITIVITY], only),
        tuple(seeds[:axis_seeds]),
        _budgets(ours[BUDGET]),
    )


def budgets_alone(overrides: Sequence[str]) -> bool:
    """Tell whether nothing but budgets is asked for, or nothing at all. Raises ConfigurationError."""
    ours, others = _parted(overrides)
    return not others and not ours[SENSITIVITY]


def rebudgeted(request: Request, overrides: Sequence[str]) -> Request:
    """Return a request with other budgets. Raises ConfigurationError for anything but `budget.KEY=VALUE`."""
    ours, others = _parted(overrides)
    strange = [*others, *(f"{SENSITIVITY}.{key}={text}" for key, text in ours[SENSITIVITY].items())]
    if strange:
        raise ConfigurationError(f"--from: {strange[0]}: runs nothing, so only budget.KEY=VALUE may change")
    return Request(**{**vars(request), "budget": request.budget | _budgets(ours[BUDGET])})


def write_request(folder: Path, request: Request) -> None:
    """Store a request in a study's folder."""
    write_atomically(folder / FILE, to_yaml(request.to_dict()).encode())


def read_request(folder: Path) -> Request:
    """Return the request stored in a study's folder. Raises ConfigurationError."""
    file = folder / FILE
    if not file.is_file():
        raise ConfigurationError(f"{folder}: no feasibility study, it holds no {FILE}")
    problems: list[str] = []
    found = validate(Stored, read_config_file(file), "", problems, f" (in {file})")
    if found is None:
        raise ConfigurationError("\n".join(problems))
    for name in found.axes:
        axis_named(name)
    return Request(
        tuple(found.learners),
        tuple(found.devices),
        tuple(found.seeds),
        found.settings,
        tuple(found.cases),
        {name: tuple(values) for name, values in found.axes.items()},
        tuple(found.axis_seeds),
        found.budget,
    )


def _parted(overrides: Sequence[str]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Return the texts of `budget.KEY=` and `sensitivity.KEY=` by section and key, and the other overrides."""
    ours: dict[str, dict[str, str]] = {BUDGET: {}, SENSITIVITY: {}}
    others = []
    for text in overrides:
        path, value = split_override(text)
        if path[0] not in ours:
            others.append(text)
            continue
        key = ".".join(path[1:])
        if not key:
            raise ConfigurationError(f"{text}: write {path[0]}.KEY=VALUE")
        if key in ours[path[0]]:
            raise ConfigurationError(f"{path[0]}.{key}: given twice")
        ours[path[0]][key] = value
    return ours, others


def _several(grid: Grid, key: str, default: Sequence[Any]) -> list[Any]:
    return list(grid.axes.get(key) or ([grid.settings[key]] if key in grid.settings else default))


def _budgets(texts: Mapping[str, str]) -> dict[str, Any]:
    return {key: parse_value_of(f"{BUDGET}.{key}", text) for key, text in texts.items()}


def _axes(texts: Mapping[str, str], only: Sequence[str] | None) -> dict[str, tuple[float | int, ...]]:
    """Return the values along each axis wanted. Raises ConfigurationError."""
    given: dict[str, tuple[float | int, ...]] = {}
    for key, text in texts.items():
        values = alternatives(f"{SENSITIVITY}.{key}", text)
        if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            raise ConfigurationError(f"{SENSITIVITY}.{key}={text}: wants numbers")
        try:
            axis = axis_named(key)
        except ConfigurationError as error:
            raise ConfigurationError(f"{SENSITIVITY}.{key}: {error}") from error
        if axis.unit == "bits" and FLOAT in values:
            raise ConfigurationError(
                f"{SENSITIVITY}.{key}={text}: {FLOAT} stands for floating point, as {REFERENCE} hardware has it; "
                "leave it out"
            )
        given[axis.name] = tuple(sorted(set(values)))
    try:
        wanted = [axis.name for axis in AXES] if only is None else [axis_named(name).name for name in only]
    except ConfigurationError as error:
        raise ConfigurationError(f"--only: {error}") from error
    left_out = [name for name in given if name not in wanted]
    if left_out:
        raise ConfigurationError(f"{SENSITIVITY}.{left_out[0]}: given, and not to be followed")
    return {axis.name: given.get(axis.name, axis.values) for axis in AXES if axis.name in wanted}
