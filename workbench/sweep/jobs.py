"""The jobs of a sweep: points of the grid as checked configurations with names that stay."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from workbench.config import DEFAULTS, ExperimentConfig
from workbench.errors import ConfigurationError, WorkbenchError
from workbench.overrides import write_value
from workbench.registry import Registry
from workbench.sweep.grid import Grid, Point, tree_of

LONGEST_NAME = 120


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    name: of its run folder, and of its status and log files. settings: what the grid says of it, by dotted key.
    """

    name: str
    settings: Point
    config: ExperimentConfig

    @property
    def overrides(self) -> list[str]:
        """The settings as one would type them after `workbench run`."""
        return [f"{key}={write_value(value)}" for key, value in self.settings.items()]


def jobs_of(grid: Grid, registry: Registry | None = None) -> list[Job]:
    """Return the jobs of a grid, in its order, each configuration once.

    Raises ConfigurationError, which lists every problem of any job, one a line.
    """
    registry = registry or Registry.discover()
    problems: dict[str, list[str]] = {}
    jobs: dict[str, Job] = {}
    varied = grid.varied()
    points = grid.points(registry)
    for point in points:
        label = ", ".join(f"{key}={write_value(point[key])}" for key in varied if key in point)
        try:
            config = ExperimentConfig.from_dict(tree_of(point), registry)
        except WorkbenchError as error:
            for line in str(error).splitlines():
                problems.setdefault(line, []).append(label)
            continue
        # Settings at their defaults make no difference, said or unsaid.
        jobs.setdefault(identity(config), Job(job_name(point, varied, config), point, config))
    if problems:
        raise ConfigurationError(
            "\n".join(_told(line, labels, len(points)) for line, labels in problems.items())
        )
    return list(jobs.values())


def named_as_in(jobs: Sequence[Job], earlier: Sequence[Job]) -> list[Job]:
    """Return the jobs, those among `earlier` ones as these: what was run under one name is not run under another.

    The words in a name depend on the grid, the identity at its end does not.
    """
    names = {identity(job.config): job.name for job in reversed(earlier)}
    return [replace(job, name=names.get(identity(job.config), job.name)) for job in jobs]


def _told(line: str, labels: Sequence[str], points: int) -> str:
    if len(labels) == points:
        return line
    others = len(labels) - 1
    more = f", and in {others} more job{'s' if others > 1 else ''}" if others else ""
    return f"{line} (in the job {labels[0]}{more})"


def job_name(point: Mapping[str, Any], varied: Sequence[str], config: ExperimentConfig) -> str:
    """Return a name for people, the learner and what varies, and for the machine: the identity of the settings."""
    keys = ["learner", *(key for key in varied if key not in ("learner", "seed"))]
    words = [
        config.learner.name if key == "learner" else write_value(point[key]) for key in keys if key in point
    ]
    words = words if "learner" in point else [config.learner.name, *words]
    readable = "-".join(re.sub(r"[^A-Za-z0-9_.+=-]+", "_", word).strip("_") for word in words)
    return f"{readable[:LONGEST_NAME]}-seed{config.seed}-{identity(config)}"


def identity(config: ExperimentConfig) -> str:
    """Return eight hexadecimal digits for what a run computes.

    Settings at their defaults do not count, so that a new setting of a later version leaves old jobs as they are;
    nor does what only says where to compute and to keep record.
    """
    chosen: dict[str, Any] = {"seed": config.seed}
    choices = [
        ("learner", config.learner.rule),
        *((axis, getattr(config, axis)) for axis in DEFAULTS if axis != "learner"),
    ]
    choices += [(f"modifier {place}", choice) for place, choice in enumerate(config.learner.modifiers)]
    for key, choice in choices:
        chosen[key] = [choice.name, choice.config.model_dump(mode="json", exclude_defaults=True)]
    for section in ("train", "diagnose", "stream"):
        chosen[section] = getattr(config, section).model_dump(mode="json", exclude_defaults=True)
    text = json.dumps(chosen, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
