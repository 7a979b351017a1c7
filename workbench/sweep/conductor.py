"""Conduct a sweep: give out what is missing, survive what breaks, count what came of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from workbench.errors import WorkbenchError
from workbench.sweep.engines import Engine, Run, open_engine, threads_per_job
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

    workers: 0 for as many as the cluster at `address` has room for.

    A job that fails stops no other. One whose process is killed is given out again, from its checkpoint on, a few
    times. Interrupted by the user, the sweep ends and says so in the summary.
    """
    begun = time.perf_counter()
    summary = Summary()
    # The machines of a cluster are not known here: one thread a job leaves it to the cluster how many it runs.
    threads = threads_per_job(workers) if address is None else 1
    orders = orders_of(study, jobs, threads)
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

    def done(outcome: Outcome) -> None:
        open_orders.pop(outcome.job, None)
        _count(summary, outcome)
        for observer in observers:
            observer.job_done(study, outcome)

    try:
        if open_orders:
            with open_engine(engine, workers, threads, address) as run:
                _give_out(study, run, open_orders, done)
    except KeyboardInterrupt:
        pass
    summary.interrupted += [name for name in open_orders if name not in summary.interrupted]
    summary.seconds = time.perf_counter() - begun
    for observer in observers:
        observer.sweep_finished(study, summary)
    return summary


def _give_out(
    study: StudyFolder, run: Run, orders: dict[str, Order], done: Callable[[Outcome], None]
) -> None:
    """Give out the orders until none is left; `done` takes what comes of each, and takes it out of `orders`."""
    deaths: Counter[str] = Counter()
    while orders:
        begun = {name: study.status(name).attempts for name in orders}
        try:
            run(run_job, list(orders.values()), done, partial(_ended, study, begun))
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
                    done(_given_up(study, name, deaths[name], error))


def _ended(study: StudyFolder, begun: Mapping[str, int], order: Order) -> Outcome | None:
    """Return how a job went that has been given out, by its status file; None while it waits or runs."""
    status = study.status(order.job)
    if status.attempts == begun[order.job] or status.status not in ("finished", "failed"):
        return None
    return Outcome(order.job, status.status, status.error, status.seconds)


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
