"""Conduct a sweep: give out what is missing, survive what breaks, count what came of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from workbench.errors import WorkbenchError
from workbench.sweep.engines import Engine, open_engine, threads_per_job
from workbench.sweep.folder import StudyFolder
from workbench.sweep.jobs import Job
from workbench.sweep.worker import Order, Outcome, run_job, state_of

MOST_DEATHS = 3
"""Times that a job is given out again after its process was killed: one of its neighbours may have been to blame."""


@dataclass
class Summary:
    """What came of a sweep: jobs by status, with those finished before it apart; seconds of the whole."""

    finished: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    stale: dict[str, str] = field(default_factory=dict)
    elsewhere: list[str] = field(default_factory=list)
    interrupted: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether every job is finished."""
        return not (self.failed or self.stale or self.elsewhere or self.interrupted)


class SweepObserver(Protocol):
    """Is told how a sweep goes."""

    def sweep_started(
        self, study: StudyFolder, jobs: Sequence[Job], todo: Sequence[Job], workers: int
    ) -> None:
        """`todo`: the jobs that are not finished yet."""

    def job_done(self, study: StudyFolder, outcome: Outcome) -> None:
        """A job has ended, in whatever way."""

    def sweep_finished(self, study: StudyFolder, summary: Summary) -> None:
        """No job is left, or the sweep was interrupted."""


def orders_of(study: StudyFolder, jobs: Sequence[Job], threads: int) -> dict[str, Order]:
    """Return what workers are told of each job.

    Runs take `threads` threads unless their settings say otherwise, and keep no record with MLflow themselves: an
    SQLite file is not for several writers, nor in reach of another machine; the sweep does it from the run folders.
    """
    orders = {}
    for job in jobs:
        config = job.config.to_dict()
        config["threads"] = config["threads"] or threads
        config["track"] = {**config["track"], "mlflow": False}
        orders[job.name] = Order(str(study.path.resolve()), job.name, job.settings, job.overrides, config)
    return orders


def conduct_sweep(
    study: StudyFolder,
    jobs: Sequence[Job],
    *,
    workers: int,
    engine: Engine = "local",
    address: str | None = None,
    observers: Sequence[SweepObserver] = (),
) -> Summary:
    """Run every job that is not finished, `workers` at once; returns what came of all.

    A job that fails stops no other. One whose process is killed is given out again, from its checkpoint on, a few
    times. Interrupted by the user, the sweep ends and says so in the summary.
    """
    begun = time.perf_counter()
    summary = Summary()
    orders = orders_of(study, jobs, threads_per_job(workers))
    todo = []
    for job in jobs:
        state = state_of(study, job.name, orders[job.name].config)
        if state.status == "finished":
            summary.before.append(job.name)
        elif state.status == "stale":
            _count(summary, state)
        else:
            todo.append(job)
    for observer in observers:
        observer.sweep_started(study, jobs, todo, workers)
    open_orders = {job.name: orders[job.name] for job in todo}
    try:
        if open_orders:
            with open_engine(engine, workers, threads_per_job(workers), address) as run:
                for outcome in _outcomes(study, run, open_orders):
                    _count(summary, outcome)
                    for observer in observers:
                        observer.job_done(study, outcome)
    except KeyboardInterrupt:
        pass
    summary.interrupted += [name for name in open_orders if name not in summary.interrupted]
    summary.seconds = time.perf_counter() - begun
    for observer in observers:
        observer.sweep_finished(study, summary)
    return summary


def _outcomes(study: StudyFolder, run: Any, orders: dict[str, Order]) -> Iterator[Outcome]:
    """Give out the orders and yield what comes of each; takes out of `orders` what is done."""
    deaths: Counter[str] = Counter()
    while orders:
        begun = {name: study.status(name).attempts for name in orders}
        try:
            for outcome in run(run_job, list(orders.values())):
                del orders[outcome.job]
                yield outcome
        except (WorkbenchError, KeyboardInterrupt):
            raise
        except Exception as error:
            # The engine's own way to say that a process was killed, a class of its own for each engine.
            died = [name for name in orders if study.status(name).attempts > begun[name]]
            if not died:
                raise
            for name in died:
                deaths[name] += 1
                if deaths[name] >= MOST_DEATHS:
                    del orders[name]
                    yield _given_up(study, name, deaths[name], error)


def _given_up(study: StudyFolder, name: str, times: int, error: Exception) -> Outcome:
    reason = (str(error).splitlines() or [""])[0]
    told = (
        f"its process was killed {times} times, for want of memory perhaps ({type(error).__name__}: {reason})"
    )
    with study.held(name) as ours:
        if ours:
            study.write_status(replace(study.status(name), status="failed", error=told))
    return Outcome(name, "failed", told)


def _count(summary: Summary, outcome: Outcome) -> None:
    if outcome.status in ("failed", "stale"):
        getattr(summary, outcome.status)[outcome.job] = outcome.error or "no reason told"
    else:
        getattr(summary, outcome.status).append(outcome.job)


def counts(summary: Summary) -> Mapping[str, int]:
    """Return how many jobs a summary counts, by status, without zeros."""
    found = {
        key: len(getattr(summary, key))
        for key in ("finished", "before", "failed", "stale", "elsewhere", "interrupted")
    }
    return {key: count for key, count in found.items() if count}
