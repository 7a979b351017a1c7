"""How long a job may take: from finished jobs like it, or from a few training steps timed for the purpose."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from workbench.config import ExperimentConfig
from workbench.sweep.folder import JobStatus
from workbench.sweep.jobs import Job

if TYPE_CHECKING:
    from workbench.experiment import Experiment
    from workbench.tasks import Task

BATCHES = 6
"""Training steps that are timed, after as many to warm up."""
TESTED = 128
"""Test sequences timed."""


@dataclass(frozen=True)
class Speed:
    """Seconds of a training step, of testing a sequence, and of making the experiment ready."""

    step: float
    tested: float
    ready: float


@dataclass(frozen=True)
class Estimate:
    """Seconds that a job is expected to take, and what that rests on."""

    job: str
    seconds: float
    source: str


def estimates(
    jobs: Sequence[Job],
    statuses: Mapping[str, JobStatus],
    threads: int,
    timed: Callable[[ExperimentConfig, int], float] | None = None,
) -> list[Estimate]:
    """Return an estimate for each job.

    A job takes as long as the finished ones that differ from it in the seed alone took on average; failing that, as
    long as a few of its own training steps, timed here with `threads` threads, add up to. One job stands for all that
    differ in the seed. timed: takes the time of a job, seconds; None: `expected_seconds`.
    """
    done: dict[str, list[float]] = {}
    for job in jobs:
        status = statuses.get(job.name)
        if status is not None and status.status == "finished" and status.seconds is not None:
            done.setdefault(_kind(job), []).append(status.seconds)
    measured: dict[str, float] = {}
    found = []
    for job in jobs:
        kind = _kind(job)
        if kind in done:
            seconds = sum(done[kind]) / len(done[kind])
            found.append(Estimate(job.name, seconds, f"{len(done[kind])} finished"))
            continue
        if kind not in measured:
            measured[kind] = (timed or expected_seconds)(job.config, threads)
        found.append(Estimate(job.name, measured[kind], f"{BATCHES} steps timed"))
    return found


def _kind(job: Job) -> str:
    return str({key: value for key, value in job.settings.items() if key != "seed"})


def expected_seconds(config: ExperimentConfig, threads: int) -> float:
    """Return the seconds that a run is expected to take, from a few of its training steps. Raises as a run does."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(config.threads or threads)
    try:
        from workbench.experiment import build_experiment

        begun = time.perf_counter()
        experiment = build_experiment(config, progress=False)
        ready = time.perf_counter() - begun
        return duration_of(experiment, speed_of(experiment, ready))
    finally:
        torch.set_num_threads(before)


def duration_of(experiment: Experiment, speed: Speed) -> float:
    """Return the seconds of a whole run at a speed: every training step, every test before and after each task."""
    tasks = experiment.stream.tasks
    steps = sum(-(-len(task.train) // experiment.batch_size) for task in tasks) * experiment.epochs
    tested = [len(task.test) for task in tasks]
    evaluate = experiment.config.train.evaluate
    # The untrained network is tested on every task, whatever is tested later.
    rounds = (
        sum(tested)
        + {
            "all": len(tasks) * sum(tested),
            "seen": sum(sum(tested[: index + 1]) for index in range(len(tasks))),
            "current": sum(tested),
        }[evaluate]
    )
    validated = sum(len(task.validation) for task in tasks) * experiment.epochs
    return speed.ready + speed.step * steps + speed.tested * (rounds + validated)


def speed_of(experiment: Experiment, ready: float) -> Speed:
    """Time a few steps of an experiment's own trainer, modifiers included, on the beginning of its second task.

    The experiment is used up by it. The first task, as short, warms caches up and gives modifiers a past.
    """
    from workbench.streams import build_benchmark
    from workbench.trainer import Trainer

    batch, tasks = experiment.batch_size, experiment.stream.tasks
    second = tasks[min(1, len(tasks) - 1)]
    shortened = tuple(_beginning(one, batch) for one in (tasks[0], second))
    stream = replace(experiment.stream, tasks=shortened)
    trainer = Trainer(
        rule=experiment.rule,
        modifiers=experiment.modifiers,
        network=experiment.network,
        stream=stream,
        benchmark=build_benchmark(stream),
        streams=experiment.streams,
        epochs=1,
        batch_size=batch,
        device=experiment.device,
    )
    trainer.train_task(0)
    trainer.evaluate_tasks(0)
    before = dict(trainer.seconds)
    trainer.train_task(1)
    trainer.evaluate_tasks(1)
    steps = max(1, -(-len(shortened[1].train) // batch))
    tested = max(1, sum(len(one.test) for one in shortened))
    return Speed(
        (trainer.seconds["train"] - before["train"]) / steps,
        (trainer.seconds["evaluate"] - before["evaluate"]) / tested,
        ready,
    )


def _beginning(task: Task, batch: int) -> Task:
    count = BATCHES * batch
    return replace(
        task,
        train=task.train[:count],
        validation=task.validation[:0],
        test=task.test[:TESTED],
        origins=None if task.origins is None else task.origins[:count],
    )
