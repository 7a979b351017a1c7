"""Observers that serve the run itself: what was told so far, and how long the others take."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workbench.errors import DataError
from workbench.events import Observer, RunPlan


class Journal(Observer):
    """Keeps what observers are told of epochs and tasks in a file that only grows, so that it can be told again.

    A line of the file is one call as JSON, which gives numbers back bit for bit: `["epoch_done", task, epoch, metrics]`
    or `["task_done", task, accuracies, metrics]`. What is kept is written by `commit`, at the cost of what is new: a
    checkpoint refers to the length it returns, and lines after it belong to what is to be done again.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.length = 0
        """Bytes that stand in the file."""
        self._new: list[bytes] = []

    def epoch_done(self, task: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Keep the metrics of an epoch."""
        self._keep(["epoch_done", task, epoch, _numbers(metrics)])

    def task_done(self, task: int, accuracies: Sequence[float], metrics: Mapping[str, float]) -> None:
        """Keep row R[task, :] and the metrics of a task."""
        self._keep(["task_done", task, [float(accuracy) for accuracy in accuracies], _numbers(metrics)])

    def _keep(self, entry: list[Any]) -> None:
        self._new.append(json.dumps(entry, separators=(",", ":")).encode() + b"\n")

    def commit(self) -> int:
        """Write what is new, to the disk itself, and return the length of the file, bytes."""
        if self._new:
            content = b"".join(self._new)
            with self.file.open("rb+" if self.length else "wb") as file:
                file.truncate(self.length)
                file.seek(self.length)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            self.length += len(content)
            self._new.clear()
        return self.length

    def take_up(self, length: int) -> list[list[Any]]:
        """Go on after the first `length` bytes of the file; returns their entries. Raises DataError if damaged."""
        content = self.file.read_bytes()[:length] if self.file.is_file() else b""
        if len(content) < length:
            raise DataError(
                f"{self.file}: holds {len(content)} bytes and the checkpoint counts on {length}; the run cannot be "
                "resumed"
            )
        self.length = length
        return entries_of(self.file, content)


def _numbers(metrics: Mapping[str, float]) -> dict[str, float]:
    return {key: float(value) for key, value in metrics.items()}


def entries_of(file: Path, content: bytes) -> list[list[Any]]:
    """Return the entries of a journal's content, a last line that broke off left out. Raises DataError if damaged."""
    lines = content[: content.rfind(b"\n") + 1].splitlines()
    try:
        return [list(json.loads(line)) for line in lines]
    except (TypeError, ValueError) as error:
        raise DataError(f"{file} is damaged: {error}") from error


def retell(entries: Sequence[Sequence[Any]], observers: Sequence[Observer]) -> None:
    """Tell observers everything in a journal's entries."""
    latest = -1
    for name, task, *arguments in entries:
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
