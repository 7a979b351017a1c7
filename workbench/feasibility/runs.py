"""The runs of a study as they are found in its folder, by what they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.feasibility.axes import REFERENCE
from workbench.feasibility.plan import Place, Plan
from workbench.runfolder import read_results


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, from the study's folder on, seed, and content of results.json."""

    folder: str
    seed: int
    results: Mapping[str, Any]


@dataclass(frozen=True)
class Missing:
    """A job without a finished run: its name and status."""

    job: str
    status: str


@dataclass(frozen=True)
class Found:
    """Finished runs by place, and the jobs that have none."""

    runs: Mapping[Place, Run]
    missing: tuple[Missing, ...] = field(default=())

    def of(self, learner: str, device: str) -> list[Run]:
        """Return the runs of a learner on a device as it is, by seed."""
        return self._along(learner, device, None, None)

    def reference(self, learner: str) -> list[Run]:
        """Return the runs of a learner on ideal hardware, by seed."""
        return self.of(learner, REFERENCE)

    def at(self, learner: str, device: str, axis: str, value: float | int) -> list[Run]:
        """Return the runs at one point of an axis, by seed."""
        return self._along(learner, device, axis, value)

    def values(self, device: str, axis: str) -> list[float | int]:
        """Return the values on an axis of a device at which there is a run, rising."""
        places = [place for place in self.runs if (place.device, place.axis) == (device, axis)]
        return sorted({place.value for place in places if place.value is not None})

    def curves(self) -> list[tuple[str, str]]:
        """Return the axes and devices along which there are runs, in the order of the plan."""
        pairs = [(place.axis, place.device) for place in self.runs]
        return list(dict.fromkeys((axis, device) for axis, device in pairs if axis is not None))

    def _along(self, learner: str, device: str, axis: str | None, value: Any) -> list[Run]:
        wanted = (learner, device, axis, value)
        found = [
            run for one, run in self.runs.items() if (one.learner, one.device, one.axis, one.value) == wanted
        ]
        return sorted(found, key=lambda run: run.seed)


def find(folder: Path, plan: Plan) -> Found:
    """Return what the study in a folder has of a plan. A run with other settings than planned counts as missing."""
    from workbench.sweep.conductor import orders_of
    from workbench.sweep.folder import StudyFolder
    from workbench.sweep.worker import state_of

    study, plan = StudyFolder(folder), plan.named(folder)
    orders = orders_of(study, plan.jobs, 1)
    states = {name: state_of(study, name, order.config) for name, order in orders.items()}
    finished = {name for name, state in states.items() if state.status == "finished"}
    results = {name: read_results(study.run(name).path) for name in finished}
    runs: dict[Place, Run] = {}
    for part in plan.parts:
        for place, job in zip(part.places(), part.jobs, strict=True):
            if job.name in finished:
                path = study.run(job.name).path.relative_to(study.path)
                runs[place] = Run(path.as_posix(), place.seed, results[job.name])
    known = {name: study.status(name).status for name in orders if name not in finished}
    missing = [
        Missing(name, "stale" if states[name].status == "stale" else status) for name, status in known.items()
    ]
    return Found(runs, tuple(missing))


def folders(runs: Iterable[Run]) -> list[str]:
    """Return the folders of runs, each once."""
    return list(dict.fromkeys(run.folder for run in runs))
