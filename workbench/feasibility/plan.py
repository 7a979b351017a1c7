"""The runs of a feasibility study: grids of a sweep, and which run stands for what.

One grid of every learner on every device and on ideal hardware; and for each axis and device one of every learner along
the axis. A point at a device's own value is the same run as that of the first grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from workbench.config import split_learner
from workbench.errors import ConfigurationError
from workbench.feasibility.axes import (
    FLOAT,
    REFERENCE,
    Axis,
    axis_named,
    devices_of,
    own_value,
    settings_model,
)
from workbench.feasibility.request import Request
from workbench.registry import Registry
from workbench.sweep.grid import Case, Grid
from workbench.sweep.jobs import Job, jobs_of, named_as_in
from workbench.sweep.naming import named_in_study
from workbench.validation import unknown_key


@dataclass(frozen=True)
class Place:
    """What a run stands for; `axis` is None for a device as it is."""

    learner: str
    device: str
    seed: int
    axis: str | None = None
    value: float | int | None = None


@dataclass(frozen=True)
class Part:
    """One grid of a study with its jobs; `axis` and `device` are None for the grid of all devices."""

    grid: Grid
    jobs: tuple[Job, ...]
    axis: Axis | None = None
    device: str | None = None

    @property
    def values(self) -> list[float | int]:
        """The values along the axis, rising; none without an axis."""
        return [] if self.axis is None else list(self.grid.axes[self.axis.key])

    def places(self) -> list[Place]:
        """Return what each job stands for, in their order."""
        return [
            Place(
                str(job.settings["learner"]),
                str(job.settings["hardware"]),
                int(job.settings["seed"]),
                None if self.axis is None else self.axis.name,
                None if self.axis is None else job.settings[self.axis.key],
            )
            for job in self.jobs
        ]


@dataclass(frozen=True)
class Plan:
    """The grids of a study and their jobs, each under one name wherever it stands."""

    parts: tuple[Part, ...]
    unused: tuple[Axis, ...] = ()
    """Axes asked for along which none of the devices can be followed."""

    @property
    def grids(self) -> list[Grid]:
        """The grids, in order."""
        return [part.grid for part in self.parts]

    @property
    def jobs(self) -> list[Job]:
        """Every job once."""
        return list({job.name: job for part in self.parts for job in part.jobs}.values())

    def named(self, folder: Path) -> Plan:
        """Return the plan with the names that a study in the folder has for jobs it knows."""
        by_grid = [list(part.jobs) for part in self.parts]
        named = named_in_study(by_grid, self.grids, folder)
        parts = zip(self.parts, named, strict=True)
        return replace(self, parts=tuple(replace(part, jobs=tuple(jobs)) for part, jobs in parts))


def plan_of(request: Request, registry: Registry) -> Plan:
    """Return the runs that a request needs. Raises ConfigurationError listing every problem."""
    axes = {axis_named(name): values for name, values in request.axes.items()}
    devices = {axis: devices_of(axis, request.devices, registry) for axis in axes}
    scoped = _scoped(request, dict.fromkeys([*request.devices, *chain(*devices.values())]), registry)
    parts = [_part(request, [REFERENCE, *request.devices], request.seeds, scoped, registry)]
    for axis, values in axes.items():
        parts += [_along(request, axis, values, device, scoped, registry) for device in devices[axis]]
    # One name for one run, whichever grid it is met in first.
    everything = [job for part in parts for job in part.jobs]
    return Plan(
        tuple(replace(part, jobs=tuple(named_as_in(part.jobs, everything))) for part in parts),
        tuple(axis for axis in axes if not devices[axis]),
    )


def _along(
    request: Request,
    axis: Axis,
    values: Sequence[float | int],
    device: str,
    scoped: Mapping[str, Any],
    registry: Registry,
) -> Part:
    settings = _of_device(device, scoped, registry)
    own = own_value(axis, device, settings, registry)
    # The device as it is stands on the curve, at no cost: its run is there already.
    known = device in request.devices and isinstance(own, int | float) and not isinstance(own, bool)
    # Weights of floating point are better than any number of bits, and not at the other end.
    known = known and not (axis.unit == "bits" and own == FLOAT)
    everything = sorted({*values, own} if known else set(values))
    return _part(request, [device], request.axis_seeds, scoped, registry, axis, everything)


def _part(
    request: Request,
    devices: Sequence[str],
    seeds: Sequence[int],
    scoped: Mapping[str, Any],
    registry: Registry,
    axis: Axis | None = None,
    values: Sequence[float | int] = (),
) -> Part:
    """Return the grid of all learners on some devices, along an axis if one is given, and its jobs."""
    fixed = {key: value for key, value in request.settings.items() if key not in scoped}
    axes: dict[str, list[Any]] = {"learner": list(request.learners), "hardware": list(devices)}
    if axis is not None:
        axes[axis.key] = list(values)
    axes["seed"] = list(seeds)
    cases = []
    for key, value in scoped.items():
        section, field = key.split(".", 1)
        owners = _owners(section, field, axes[section], registry)
        if owners and (axis is None or key != axis.key):
            cases.append(Case(when={section: owners}, set={key: value}))
    grid = Grid(fixed, axes, (*cases, *request.cases))
    return Part(grid, tuple(jobs_of(grid, registry)), axis, None if axis is None else devices[0])


def _scoped(request: Request, devices: Iterable[str], registry: Registry) -> dict[str, Any]:
    """Return the settings that only some devices or rules have, for which the others shall not fail.

    Raises ConfigurationError for one that no device has.
    """
    named = list(devices)
    found: dict[str, Any] = {}
    for key, value in request.settings.items():
        section, _, field = key.partition(".")
        if section == "hardware" and field:
            if not _owners(section, field, named, registry):
                allowed = sorted({key for one in named for key in settings_model(one, registry).model_fields})
                raise ConfigurationError(unknown_key(field, "hardware", allowed))
            found[key] = value
        elif section == "learner" and _owners(section, field, request.learners, registry):
            found[key] = value
    return found


def _owners(section: str, field: str, names: Sequence[str], registry: Registry) -> list[str]:
    """Return which of the devices or learners have a setting of their own by that name."""
    found = []
    for name in names:
        plugin = split_learner(name, registry)[0] if section == "learner" else name
        fields = registry.load(section, plugin).Config.model_fields
        if field.replace("-", "_") in fields:
            found.append(name)
    return found


def _of_device(device: str, scoped: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    keys = [key for key in scoped if key.startswith("hardware.")]
    return {key: scoped[key] for key in keys if _owners("hardware", key.split(".", 1)[1], [device], registry)}
