"""Accuracy along the axes, and how bad a device may become before a learner loses more than is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from workbench.compare.statistics import Interval
from workbench.feasibility import numbers
from workbench.feasibility.axes import Axis, axis_named
from workbench.feasibility.runs import Found, Run, folders


@dataclass(frozen=True)
class Point:
    """Accuracy at a value of an axis: mean over seeds with its interval, by seed, and the run folders.

    loss: mean difference to ideal hardware over the seeds of both; None without any.
    """

    value: float | int
    accuracy: Interval
    by_seed: dict[int, float]
    loss: float | None
    runs: list[str]


@dataclass(frozen=True)
class Tolerance:
    """How far along an axis no more than allowed is lost: to `last`, None for nowhere.

    end: why it is no further: more is lost at `next`, that is unknown, or there is no value beyond.
    """

    last: float | int | None
    end: Literal["lost", "unknown", "all"]
    next: float | int | None


@dataclass(frozen=True)
class Curve:
    """One learner on one device along an axis, values rising.

    unknown: values planned at which there is no finished run. ideal: accuracy on ideal hardware, over the seeds of the
    points; reference: its runs.
    """

    axis: Axis
    device: str
    learner: str
    points: tuple[Point, ...]
    ideal: Interval | None
    unknown: tuple[float | int, ...] = ()
    reference: tuple[Run, ...] = ()

    def tolerance(self, allowed: float) -> Tolerance:
        """Return how far along the axis, from its best value on, no more than `allowed` is lost.

        What is unknown ends it, as what is lost does.
        """
        losses = {point.value: point.loss for point in self.points} | dict.fromkeys(self.unknown)
        last = None
        for value in sorted(losses, reverse=self.axis.worse == "down"):
            loss = losses[value]
            if loss is None or loss > allowed:
                return Tolerance(last, "unknown" if loss is None else "lost", value)
            last = value
        return Tolerance(last, "all", None)


def curves(found: Found, learners: Sequence[str]) -> list[Curve]:
    """Return every curve with a point, by axis, device and learner."""
    made = []
    for (name, device), values in found.planned.items():
        for learner in learners:
            ideal = found.reference(learner)
            points = {value: _point(value, found.at(learner, device, name, value), ideal) for value in values}
            known = tuple(point for point in points.values() if point is not None)
            if known:
                unknown = tuple(value for value, point in points.items() if point is None)
                # Fewer seeds may take part along an axis than elsewhere: like is held against like.
                seeds = {seed for point in known for seed in point.by_seed}
                alike = tuple(run for run in ideal if run.seed in seeds)
                mean = numbers.mean_of(alike, "acc")
                made.append(Curve(axis_named(name), device, learner, known, mean, unknown, alike))
    return made


def _point(value: float | int, runs: Sequence[Run], ideal: Sequence[Run]) -> Point | None:
    accuracy = numbers.mean_of(runs, "acc")
    if accuracy is None:
        return None
    difference = numbers.against(ideal, runs, "acc")
    loss = None if difference is None else difference.mean
    return Point(value, accuracy, numbers.measured(runs, "acc"), loss, folders(runs))
