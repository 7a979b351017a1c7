"""What a study is going to take: how many runs each of its parts has, how many are left, and their time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.feasibility.axes import REFERENCE
from workbench.feasibility.plan import Part, Plan
from workbench.sweep.conductor import orders_of
from workbench.sweep.estimate import estimates
from workbench.sweep.folder import StudyFolder
from workbench.sweep.jobs import Job
from workbench.sweep.worker import state_of


@dataclass(frozen=True)
class Share:
    """A part of a study. runs: those that no part before has. seconds: of work for those left."""

    title: str
    values: str
    runs: int
    left: int
    seconds: float


def forecast(plan: Plan, folder: Path, threads: int) -> list[Share]:
    """Return what each part of a plan takes, given what the study in the folder has already.

    A few training steps of each learner on each device are timed, unless such a run is finished; a device takes as
    long whatever its settings are.
    """
    study, plan = StudyFolder(folder), plan.named(folder)
    orders = orders_of(study, plan.jobs, threads)
    left = [name for name, one in orders.items() if state_of(study, name, one.config).status == "interrupted"]
    expected = _seconds(plan, study, left, threads)
    shares, counted = [], set[str]()
    for part in plan.parts:
        jobs = [job for job in part.jobs if job.name not in counted]
        counted |= {job.name for job in jobs}
        todo = [job for job in jobs if job.name in left]
        title, values = told(part)
        shares.append(Share(title, values, len(jobs), len(todo), sum(expected[_pair(job)] for job in todo)))
    return shares


def told(part: Part) -> tuple[str, str]:
    """Return what a part is called, and what is varied in it."""
    if part.axis is None:
        return "as they are", ", ".join(str(one) for one in part.grid.axes["hardware"])
    values = ", ".join(part.axis.told(value) for value in part.values)
    return f"{part.device}: {part.axis.title}", values


def _pair(job: Job) -> tuple[str, str]:
    return str(job.settings["learner"]), str(job.settings.get("hardware", REFERENCE))


def _seconds(
    plan: Plan, study: StudyFolder, left: Sequence[str], threads: int
) -> dict[tuple[str, str], float]:
    """Return how long a run of each learner on each device takes, for those that are left."""
    wanted = {_pair(job) for job in plan.jobs if job.name in left}
    some: dict[tuple[str, str], list[Job]] = {}
    for part in plan.parts:
        for job in part.jobs:
            if _pair(job) in wanted and (part.axis is None or _pair(job) not in some):
                some.setdefault(_pair(job), []).append(job)
    jobs = [job for alike in some.values() for job in alike]
    known = {job.name: study.status(job.name) for job in jobs}
    seconds = {one.job: one.seconds for one in estimates(jobs, known, threads)}
    return {pair: seconds[alike[0].name] for pair, alike in some.items()}
