"""Conduct a sweep: give out what is missing, survive what breaks, count what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from workbench.errors import WorkbenchError
from workbench.sweep.engines import Engine, Lost, Run, open_engine, threads_per_job
from workbench.sweep.folder import StudyFolder
from workbench.sweep.jobs import Job
from workbench.sweep.worker import Order, Outcome, give_up, run_job, state_of

MOST_DEATHS = 3
"""Times that a job's process may be killed in a sweep before the job is given up."""
GRACE = 30.0
"""Seconds to wait for the processes of a broken engine to be gone."""


@dataclass
class Summary:
    """What came of a sweep: jobs by status; seconds of the whole.

    before: finished, but not by this sweep. elsewhere: another one runs them just now.
    """

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
        most = study.status(job.name).attempts + MOST_DEATHS
        orders[job.name] = Order(
            str(study.path.resolve()), job.name, job.settings, job.overrides, config, most
        )
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

    A job that fails stops no other. One whose process is killed goes on from its checkpoint in another, a few times.
    Interrupted by the user, the sweep ends and says so in the summary.
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
    through = [name for name in summary.elsewhere if _finished(study, orders[name])]
    summary.before += through
    summary.elsewhere = [name for name in summary.elsewhere if name not in through]
    summary.interrupted += [name for name in open_orders if name not in summary.interrupted]
    summary.seconds = time.perf_counter() - begun
    for observer in observers:
        observer.sweep_finished(study, summary)
    return summary


def _give_out(
    study: StudyFolder, run: Run, orders: dict[str, Order], done: Callable[[Outcome], None]
) -> None:
    """Give out the orders until none is left; `done` takes what comes of each, and takes it out of `orders`."""
    fruitless = 0
    while orders:
        batch = _next_batch(study, orders)
        begun = {name: study.status(name).attempts for name in batch}
        try:
            run(run_job, list(batch.values()), partial(_told, study, done), partial(_ended, study, begun))
        except (WorkbenchError, KeyboardInterrupt):
            raise
        except Exception:
            # The engine's own way to say that a process was killed, a class of its own for each engine.
            left = [name for name in batch if name in orders]
            if len(left) < len(batch) or any(study.status(name).attempts > begun[name] for name in left):
                fruitless = 0
            else:
                fruitless += 1
            if fruitless >= MOST_DEATHS:
                raise
            study.until_free(left, GRACE)


def _next_batch(study: StudyFolder, orders: Mapping[str, Order]) -> dict[str, Order]:
    """Return the orders to give out next: a job that was killed often runs by itself, when all others are through.

    Where one process dies an engine may kill its neighbours, which must not be given up for it.
    """
    deaths = {name: study.status(name).attempts - orders[name].most_attempts + MOST_DEATHS for name in orders}
    suspects = [name for name in orders if deaths[name] >= MOST_DEATHS - 1]
    chosen = [name for name in orders if name not in suspects] or suspects[:1]
    return {name: orders[name] for name in chosen}


def _told(study: StudyFolder, done: Callable[[Outcome], None], result: Outcome | Lost) -> None:
    if isinstance(result, Lost):
        job = result.item.job
        with study.held(job, GRACE) as ours:
            reason = f"{type(result.error).__name__}: {result.error}".splitlines()[0]
            result = give_up(study, job, reason) if ours else Outcome(job, "elsewhere")
    done(result)


def _finished(study: StudyFolder, order: Order) -> bool:
    return state_of(study, order.job, order.config).status == "finished"


def _ended(study: StudyFolder, begun: Mapping[str, int], order: Order) -> Outcome | None:
    """Return how a job went that has been given out, by its status file; None while it waits or runs."""
    status = study.status(order.job)
    if status.attempts == begun[order.job] or status.status not in ("finished", "failed"):
        return None
    return Outcome(order.job, status.status, status.error, status.seconds)


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
