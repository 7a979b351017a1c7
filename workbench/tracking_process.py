"""MLflow in a process of its own, so that training never waits for it.

Importing MLflow and making its tables take seconds, a batch of metrics tens of milliseconds, nearly all of it Python,
which a thread would take from the training loop. The run writes down what it is told, one line of JSON a call, and a
process beside it feeds an `MlflowObserver` with that; the run waits for it once, at its own end. A run that is killed
closes the pipe without a last word, and MLflow learns of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from workbench.events import Observer, RunPlan
from workbench.results import plain
from workbench.tracking import MlflowObserver, warn_of_failure
from workbench.tracking_feed import Answers, Feed, serve_standard_input
from workbench.tracking_store import first_line, milliseconds


class TrackingProcess(Observer):
    """Sends a run to MLflow through a process of its own.

    When MLflow fails, or the process ends before its time, it warns once as soon as it hears of it, keeps the reason in
    `failure`, and the run goes on.
    """

    def __init__(self, uri: str, experiment: str, run_name: str, folder: Path) -> None:
        about = {"uri": uri, "experiment": experiment, "run_name": run_name, "folder": str(folder)}
        self.feed = Feed(
            "workbench.tracking_process", about, lambda reason: warn_of_failure(uri, reason, folder)
        )

    @property
    def run_id(self) -> str | None:
        """The MLflow run, once the process has told it."""
        return self.feed.answers.get("run_id")

    @property
    def failure(self) -> str | None:
        """Why MLflow hears no more of the run."""
        return self.feed.failure

    def run_started(self, plan: RunPlan) -> None:
        """Tell what runs; the process starts with the first task."""
        self.feed.tell("run_started", plain(asdict(plan)))

    def task_started(self, task: int) -> None:
        """Start the process with the first task: until then the run imports and compiles, and needs the processor."""
        self.feed.start()

    def epoch_done(self, task: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Pass on."""
        self.feed.tell("epoch_done", task, epoch, _numbers(metrics))

    def task_done(self, task: int, accuracies: Sequence[float], metrics: Mapping[str, float]) -> None:
        """Pass on."""
        self.feed.tell("task_done", task, [float(accuracy) for accuracy in accuracies], _numbers(metrics))

    def run_finished(self, results: Mapping[str, Any]) -> None:
        """Pass on, and wait until MLflow has everything."""
        self.feed.tell("run_finished", plain(results))
        self.feed.finish()


def _numbers(metrics: Mapping[str, float]) -> dict[str, float]:
    return {key: float(value) for key, value in metrics.items()}


def serve(about: Mapping[str, str], calls: IO[str], answers: Answers) -> None:
    """Feed MLflow with the calls, one a line, until they end; tell of its run, of a failure, and of the end."""
    moment = milliseconds()
    observer = MlflowObserver(
        about["uri"],
        about["experiment"],
        about["run_name"],
        Path(about["folder"]),
        now=lambda: moment,
        # The run says what failed, where its own log goes.
        warn=False,
    )
    finished = False
    for line in calls:
        name, moment, *arguments = json.loads(line)
        if name == "run_started":
            arguments = [RunPlan(**arguments[0])]
        getattr(observer, name)(*arguments)
        finished = finished or name == "run_finished"
        answers.tell("run_id", observer.run_id)
        answers.tell("failure", None if observer.failure is None else first_line(observer.failure))
    if not finished:
        observer.abandon()
    answers.tell("over", "")


if __name__ == "__main__":
    serve_standard_input(serve)
