"""The runs of a study as they are found in its folder, by what they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.feasibility.axes import REFERENCE
from workbench.feasibility.plan import Place, Plan
from workbench.runfolder import read_results

if TYPE_CHECKING:
    from workbench.sweep.folder import StudyFolder
    from workbench.sweep.worker import Outcome


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, from the study's folder on, seed, and content of results.json."""

    folder: str
    seed: int
    results: Mapping[str, Any]


@dataclass(frozen=True)
class Missing:
    """A job without a finished run: its name, status, error if it has one, and log, from the study's folder on."""

    job: str
    status: str
    error: str = ""
    log: str = ""


@dataclass(frozen=True)
class Found:
    """Finished runs by place, the jobs that have none, and the values planned along each axis of a device."""

    runs: Mapping[Place, Run]
    missing: tuple[Missing, ...] = ()
    planned: Mapping[tuple[str, str], Sequence[float | int]] = field(default_factory=dict)

    def of(self, learner: str, device: str) -> list[Run]:
        """Return the runs of a learner on a device as it is, by seed."""
        return self._along(learner, device, None, None)

    def reference(self, learner: str) -> list[Run]:
        """Return the runs of a learner on ideal hardware, by seed."""
        return self.of(learner, REFERENCE)

    def at(self, learner: str, device: str, axis: str, value: float | int) -> list[Run]:
        """Return the runs at one point of an axis, by seed."""
        return self._along(learner, device, axis, value)

    def _along(self, learner: str, device: str, axis: str | None, value: Any) -> list[Run]:
        wanted = (learner, device, axis, value)
        found = [
            run for one, run in self.runs.items() if (one.learner, one.device, one.axis, one.value) == wanted
        ]
        return sorted(found, key=lambda run: run.seed)


def find(folder: Path, plan: Plan) -> Found:
    """Return what the study in a folder has of a plan. A run with other settings than planned counts as missing.

    Raises DataError for a run whose results are damaged.
    """
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
    missing = tuple(_missing(study, name, states[name]) for name in orders if name not in finished)
    planned = {
        (part.axis.name, part.device): part.values
        for part in plan.parts
        if part.axis is not None and part.device is not None
    }
    return Found(runs, missing, planned)


def _missing(study: StudyFolder, job: str, state: Outcome) -> Missing:
    """Return what is known of a job without a finished run."""
    if state.status == "stale":
        return Missing(job, "stale", state.error or "")
    known, log = study.status(job), study.log_file(job)
    # Told as finished, by a run folder that is not there any more.
    status = "missing" if known.status == "finished" else known.status
    where = log.relative_to(study.path).as_posix() if log.is_file() else ""
    return Missing(job, status, known.error or "", where)


def folders(runs: Iterable[Run]) -> list[str]:
    """Return the folders of runs, each once."""
    return list(dict.fromkeys(run.folder for run in runs))
