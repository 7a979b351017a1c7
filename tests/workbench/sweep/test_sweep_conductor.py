"""Sweeps conducted over engines that break in every way, played by a function of the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fixtures import sweeps

from workbench.errors import ConfigurationError
from workbench.sweep import conductor
from workbench.sweep.conductor import MOST_DEATHS, Summary, conduct_sweep, counts, orders_of
from workbench.sweep.engines import Lost
from workbench.sweep.folder import JobStatus, StudyFolder
from workbench.sweep.jobs import Job
from workbench.sweep.worker import Order, Outcome

OVERRIDES = ("learner=bptt", "seed=0..3")


class Watching:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def sweep_started(self, study: StudyFolder, jobs: list[Job], todo: list[Job], workers: int) -> None:
        self.told.append((len(jobs), len(todo), workers))

    def job_done(self, study: StudyFolder, outcome: Outcome) -> None:
        self.told.append((outcome.job, outcome.status))

    def sweep_finished(self, study: StudyFolder, summary: Summary) -> None:
        self.told.append(summary)


class BrokenError(Exception):
    """What an engine raises whose process was killed."""


@pytest.fixture
def sweep(third_party: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Conduct a sweep of four jobs over an engine that does with each order what it is told."""
    monkeypatch.syspath_prepend(third_party)
    monkeypatch.setattr(conductor, "GRACE", 0.2)
    study, jobs = sweeps.study_of(tmp_path, *OVERRIDES)

    def conduct(work: Callable[[StudyFolder, Order], Any], **options: Any) -> tuple[Summary, list[list[str]]]:
        batches: list[list[str]] = []

        @contextmanager
        def engine(*arguments: Any) -> Iterator[Callable[..., None]]:
            def run(function: Any, items: list[Order], done: Callable[[Any], None], ended: Any) -> None:
                batches.append([one.job for one in items])
                for item in items:
                    done(work(study, item))

            yield run

        monkeypatch.setattr(conductor, "open_engine", engine)
        return conduct_sweep(study, jobs, workers=2, **options), batches

    return study, [job.name for job in jobs], conduct


def finish(study: StudyFolder, order: Order) -> Outcome:
    """Do a job, as far as anybody can tell from outside."""
    attempts = study.status(order.job).attempts + 1
    study.write_status(JobStatus(order.job, "finished", attempts=attempts))
    return Outcome(order.job, "finished", seconds=1.0)


def die(study: StudyFolder, order: Order) -> Outcome:
    """Begin a job and be killed; given up when that happened too often, as a worker does."""
    status = study.status(order.job)
    if status.attempts >= order.most_attempts:
        return Outcome(order.job, "failed", "killed")
    study.write_status(replace(status, status="running", attempts=status.attempts + 1))
    raise BrokenError("a process was killed")


def test_all_jobs_are_given_out_once_and_observers_told(sweep) -> None:
    _, names, conduct = sweep
    watching = Watching()
    summary, batches = conduct(finish, observers=[watching])
    assert batches == [names]
    assert (summary.finished, summary.complete, counts(summary)) == (names, True, {"finished": 4})
    assert watching.told == [(4, 4, 2), *((name, "finished") for name in names), summary]


def test_a_failure_stops_no_other(sweep) -> None:
    _, names, conduct = sweep

    def work(study: StudyFolder, order: Order) -> Outcome:
        return Outcome(order.job, "failed", "why") if order.job == names[1] else finish(study, order)

    summary, _ = conduct(work)
    assert summary.failed == {names[1]: "why"}
    assert counts(summary) == {"finished": 3, "failed": 1}
    assert not summary.complete


def test_a_killed_job_is_given_out_again_with_those_not_done(sweep) -> None:
    _, names, conduct = sweep

    def work(study: StudyFolder, order: Order) -> Outcome:
        return (
            die(study, order)
            if order.job == names[1] and not study.status(order.job).attempts
            else finish(study, order)
        )

    summary, batches = conduct(work)
    assert batches == [names, names[1:]]
    assert counts(summary) == {"finished": 4}


def test_a_job_that_kills_every_process_is_given_up_and_its_neighbours_are_not(sweep) -> None:
    """The engine kills the neighbour along with it, which has run for as long each time."""
    study, names, conduct = sweep
    culprit, neighbour = names[1], names[2]

    def work(study: StudyFolder, order: Order) -> Outcome:
        if order.job == neighbour and not study.status(culprit).attempts:
            return finish(study, order)
        if order.job == culprit:
            status = study.status(neighbour)
            if status.status != "finished" and len(batches) < MOST_DEATHS:
                study.write_status(replace(status, status="running", attempts=status.attempts + 1))
            return die(study, order)
        return finish(study, order)

    batches: list[int] = []

    def counted(study: StudyFolder, order: Order) -> Outcome:
        if order.job in (names[0], culprit):
            batches.append(1)
        return work(study, order)

    summary, given = conduct(counted)
    assert summary.failed == {culprit: "killed"}
    assert sorted(summary.finished) == sorted(set(names) - {culprit})
    # It dies for the last time by itself, when all others are through, and is only asked after that.
    assert given[-2:] == [[culprit], [culprit]]
    assert study.status(culprit).attempts == MOST_DEATHS


def test_an_engine_that_gives_a_job_up_fails_that_job(sweep) -> None:
    study, names, conduct = sweep

    def work(study: StudyFolder, order: Order) -> Any:
        return (
            Lost(order, BrokenError("four workers died\nand so on"))
            if order.job == names[0]
            else finish(study, order)
        )

    summary, _ = conduct(work)
    told = "its process was killed, 0 attempts in all (BrokenError: four workers died)"
    assert summary.failed == {names[0]: told}
    assert (study.status(names[0]).status, study.status(names[0]).error) == ("failed", told)
    assert len(summary.finished) == 3


def test_an_engine_that_never_begins_a_job_is_given_up(sweep) -> None:
    _, _, conduct = sweep

    def work(study: StudyFolder, order: Order) -> Outcome:
        raise BrokenError("cannot even start")

    with pytest.raises(BrokenError, match="cannot even start"):
        conduct(work)


@pytest.mark.parametrize("error", [ConfigurationError("no such cluster")])
def test_faults_of_the_user_are_not_tried_again(error: Exception, sweep) -> None:
    _, _, conduct = sweep
    calls: list[str] = []

    def work(study: StudyFolder, order: Order) -> Outcome:
        calls.append(order.job)
        raise error

    with pytest.raises(type(error)):
        conduct(work)
    assert len(calls) == 1


def test_an_interrupt_ends_the_sweep_and_is_told(sweep) -> None:
    _, names, conduct = sweep

    def work(study: StudyFolder, order: Order) -> Outcome:
        if order.job == names[1]:
            raise KeyboardInterrupt
        return finish(study, order)

    watching = Watching()
    summary, _ = conduct(work, observers=[watching])
    assert (summary.finished, summary.interrupted) == (names[:1], names[1:])
    assert watching.told[-1] is summary


def test_jobs_of_another_sweep_count_as_finished_when_they_are(
    sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, names, conduct = sweep
    ended: set[str] = set()

    def state(study: StudyFolder, job: str, config: Any) -> Outcome:
        return Outcome(job, "finished" if job in ended else "interrupted")

    def work(study: StudyFolder, order: Order) -> Outcome:
        if order.job == names[0]:
            ended.add(order.job)
        return Outcome(order.job, "elsewhere") if order.job in names[:2] else finish(study, order)

    monkeypatch.setattr(conductor, "state_of", state)
    summary, _ = conduct(work)
    assert (summary.before, summary.elsewhere) == (names[:1], names[1:2])
    assert not summary.complete


def test_finished_and_stale_jobs_are_not_given_out(sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    _, names, conduct = sweep
    states = dict(zip(names, ("finished", "stale", "interrupted", "finished"), strict=True))
    monkeypatch.setattr(
        conductor, "state_of", lambda study, job, config: Outcome(job, states[job], states[job])
    )
    watching = Watching()
    summary, batches = conduct(finish, observers=[watching])
    assert batches == [[names[2]]]
    assert (summary.before, summary.stale) == ([names[0], names[3]], {names[1]: "stale"})
    assert watching.told[0] == (4, 1, 2)


def test_orders_say_threads_and_leave_mlflow_to_the_sweep(
    third_party: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(third_party)
    study, [job] = sweeps.study_of(tmp_path)
    assert orders_of(study, [job], 2)[job.name].config["threads"] == 2
    track = job.config.track.model_copy(update={"mlflow": True})
    chosen = replace(job, config=replace(job.config, threads=3, track=track))
    order = orders_of(study, [chosen], 2)[job.name]
    assert order.config["threads"] == 3
    assert order.config["track"]["mlflow"] is False
    assert order.most_attempts == MOST_DEATHS
