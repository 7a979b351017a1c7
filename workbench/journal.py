"""Observers that serve the run itself: what was told so far, and how long the others take."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from workbench.events import Observer, RunPlan


class Journal(Observer):
    """Remembers what observers were told of epochs and tasks, so that a resumed run can tell it again."""

    def __init__(self) -> None:
        self.entries: list[list[Any]] = []

    def epoch_done(self, task: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Keep the metrics of an epoch."""
        self.entries.append(["epoch_done", task, epoch, dict(metrics)])

    def task_done(self, task: int, accuracies: Sequence[float], metrics: Mapping[str, float]) -> None:
        """Keep row R[task, :] and the metrics of a task."""
        self.entries.append(["task_done", task, list(accuracies), dict(metrics)])

    def retell(self, observers: Sequence[Observer]) -> None:
        """Tell others everything so far."""
        latest = -1
        for name, task, *arguments in self.entries:
            for observer in observers:
                if task > latest:
                    observer.task_started(task)
                getattr(observer, name)(task, *arguments)
            latest = task


class TimedObservers(Observer):
    """Passes everything but batches on to other observers, and adds the time they take to `seconds["track"]`."""

    def __init__(self, observers: Sequence[Observer], seconds: dict[str, float]) -> None:
        self.observers = list(observers)
        self.seconds = seconds

    def run_started(self, plan: RunPlan) -> None:
        """Pass on."""
        self._tell("run_started", plan)

    def task_started(self, task: int) -> None:
        """Pass on."""
        self._tell("task_started", task)

    def epoch_done(self, task: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Pass on."""
        self._tell("epoch_done", task, epoch, metrics)

    def task_done(self, task: int, accuracies: Sequence[float], metrics: Mapping[str, float]) -> None:
        """Pass on."""
        self._tell("task_done", task, accuracies, metrics)

    def run_finished(self, results: Mapping[str, Any]) -> None:
        """Pass on."""
        self._tell("run_finished", results)

    def _tell(self, name: str, *arguments: Any) -> None:
        with stopwatch(self.seconds, "track"):
            for observer in self.observers:
                getattr(observer, name)(*arguments)


@contextmanager
def stopwatch(seconds: dict[str, float], phase: str) -> Iterator[None]:
    """Add the time spent inside this context to `seconds[phase]`."""
    begun = time.perf_counter()
    try:
        yield
    finally:
        seconds[phase] = seconds.get(phase, 0.0) + time.perf_counter() - begun
