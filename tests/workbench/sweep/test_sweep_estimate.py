"""How long jobs may take: finished jobs first, then steps timed; the sum over a whole run is exact."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fixtures.small import task_stream

from workbench.config import ExperimentConfig, resolve
from workbench.sweep.estimate import Estimate, Speed, duration_of, estimates, expected_seconds
from workbench.sweep.folder import JobStatus
from workbench.sweep.grid import Grid
from workbench.sweep.jobs import Job, jobs_of

SETTINGS = {"scenario": "split-digits", "scenario.tasks": 2, "scenario.bins": 4, "backbone.hidden": [8]}


@pytest.fixture
def jobs() -> list[Job]:
    """Return jobs of two learners with three seeds each."""
    return jobs_of(Grid(SETTINGS, {"learner": ["bptt", "sltt"], "seed": [0, 1, 2]}))


def test_finished_jobs_that_differ_in_the_seed_come_first(jobs: list[Job]) -> None:
    timed: list[str] = []

    def time_it(config: ExperimentConfig, threads: int) -> float:
        assert threads == 3
        timed.append(f"{config.learner.name} {config.seed}")
        return 7.0

    statuses = {
        jobs[0].name: JobStatus(jobs[0].name, "finished", seconds=10.0),
        jobs[1].name: JobStatus(jobs[1].name, "finished", seconds=20.0),
        jobs[2].name: JobStatus(jobs[2].name, "failed", seconds=900.0),
        jobs[3].name: JobStatus(jobs[3].name, "interrupted"),
    }
    found = estimates(jobs, statuses, 3, time_it)
    assert found[:3] == [Estimate(job.name, 15.0, "2 finished") for job in jobs[:3]]
    assert found[3:] == [Estimate(job.name, 7.0, "6 steps timed") for job in jobs[3:]]
    # One stands for all that differ in the seed.
    assert timed == ["sltt 0"]


@pytest.mark.parametrize(
    ("evaluate", "tests"),
    [
        # Three tasks with 10 test sequences each; all are tested before the first.
        ("all", 30 + 3 * 30),
        ("seen", 30 + 10 + 20 + 30),
        ("current", 30 + 3 * 10),
    ],
)
def test_a_run_is_the_sum_of_its_steps_and_tests(evaluate: str, tests: int) -> None:
    stream = task_stream(tasks=3, samples=11)
    counts = [(len(task.train), len(task.validation), len(task.test)) for task in stream.tasks]
    assert counts == [(22, 10, 10)] * 3
    experiment: Any = SimpleNamespace(
        stream=stream,
        batch_size=8,
        epochs=5,
        config=SimpleNamespace(train=SimpleNamespace(evaluate=evaluate)),
    )
    # Three batches of 22 sequences; validation after every epoch.
    steps, validated = 3 * 3 * 5, 3 * 10 * 5
    assert duration_of(experiment, Speed(step=1.0, tested=0.0, ready=0.0)) == steps
    assert duration_of(experiment, Speed(step=0.0, tested=1.0, ready=0.0)) == tests + validated
    assert duration_of(experiment, Speed(step=2.0, tested=0.5, ready=100.0)) == 100 + 2 * steps + 0.5 * (
        tests + validated
    )


def test_steps_are_timed_of_modifiers_too_and_threads_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    config = resolve(
        [f"{key}={value}" for key, value in SETTINGS.items()] + ["learner=bptt+replay", "device=cpu"]
    )
    seen: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", seen.append)
    before = torch.get_num_threads()
    assert expected_seconds(config, 2) > 0
    assert expected_seconds(replace(config, threads=3), 2) > 0
    assert seen == [2, before, 3, before]
