"""What a run tells its observers while it happens: progress displays, the metrics file and MLflow listen alike.

An observer overrides the methods it needs. The trainer never knows who is listening.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RunPlan:
    """What is about to run."""

    scenario: str
    learner: str
    backbone: str
    hardware: str
    seed: int
    dataset: Mapping[str, Any]
    """`name`, `synthetic`, `digest`, `notice`."""
    task_names: Sequence[str]
    samples: Sequence[int]
    """Training samples of each task."""
    epochs: int
    config: Mapping[str, Any]
    """The resolved configuration, plain data."""


class Observer:
    """Base of everything that listens to a run; every method does nothing here."""

    def run_started(self, plan: RunPlan) -> None:
        """Called once before the first task."""

    def task_started(self, task: int) -> None:
        """Called before the first epoch of a task."""

    def batch_done(
        self, task: int, epoch: int, batch: int, batches: int, loss: float | None, accuracy: float | None
    ) -> None:
        """Called after each training step; loss and accuracy are given only now and then (reading them costs)."""

    def epoch_done(self, task: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Called after each epoch with its metrics (`train_loss`, `train_accuracy`, `validation_accuracy`, ...)."""

    def task_done(self, task: int, accuracies: Sequence[float], metrics: Mapping[str, float]) -> None:
        """Called after a task with row `R[task, :]` and the task's metrics (`seconds`, `samples_per_second`, ...)."""

    def run_finished(self, results: Mapping[str, Any]) -> None:
        """Called once with the content of results.json, whatever its `status`."""
