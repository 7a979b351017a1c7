"""MLflow in a process of its own, so that training never waits for it.

Importing MLflow and making its tables take seconds, a batch of metrics tens of milliseconds, nearly all of it Python,
which a thread would take from the training loop. The run writes down what it is told, one line of JSON a call, and a
process beside it feeds an `MlflowObserver` with that; the run waits for it once, at its own end. A run that is killed
closes the pipe without a last word, and MLflow learns of it.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from workbench.events import Observer, RunPlan
from workbench.results import plain
from workbench.tracking import MlflowObserver, warn_of_failure
from workbench.tracking_store import first_line, milliseconds

Call = list[Any]
"""Name, milliseconds since 1970, and arguments of what was told."""


class TrackingProcess(Observer):
    """Sends a run to MLflow through a process of its own.

    When MLflow fails, or the process ends before its time, it warns once as soon as it hears of it, keeps the reason in
    `failure`, and the run goes on. run_id: the MLflow run, once the process has told it.
    """

    def __init__(self, uri: str, experiment: str, run_name: str, folder: Path) -> None:
        self.uri = uri
        self.folder = folder
        self.run_id: str | None = None
        self.failure: str | None = None
        self._about = {"uri": uri, "experiment": experiment, "run_name": run_name, "folder": str(folder)}
        # What is to be sent waits here and not in the pipe, which holds no more than 64 KiB; None is the end.
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._process: subprocess.Popen[str] | None = None
        self._threads: list[threading.Thread] = []

    def run_started(self, plan: RunPlan) -> None:
        """Tell what runs; the process starts with the first task."""
        self._tell("run_started", plain(asdict(plan)))

    def task_started(self, task: int) -> None:
        """Start the process with the first task: until then the run imports and compiles, and needs the processor."""
        self._start()

    def epoch_done(self, task: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Pass on."""
        self._tell("epoch_done", task, epoch, _numbers(metrics))

    def task_done(self, task: int, accuracies: Sequence[float], metrics: Mapping[str, float]) -> None:
        """Pass on."""
        self._tell("task_done", task, [float(accuracy) for accuracy in accuracies], _numbers(metrics))

    def run_finished(self, results: Mapping[str, Any]) -> None:
        """Pass on, and wait until MLflow has everything."""
        self._tell("run_finished", plain(results))
        self._start()
        self._calls.put(None)
        for thread in self._threads:
            thread.join()
        if self._process is not None:
            self._process.wait()

    def _tell(self, name: str, *arguments: Any) -> None:
        if self.failure is None:
            self._calls.put([name, milliseconds(), *arguments])

    def _start(self) -> None:
        if self._process is not None or self.failure is not None:
            return
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "workbench.tracking_process", json.dumps(self._about)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                env={**os.environ, "PYTHONPATH": path},
                # Ctrl-C is meant for the run, which ends MLflow's run in its own time.
                start_new_session=True,
            )
        except OSError as error:
            self._fail(str(error))
            return
        for work in (self._write, self._listen):
            thread = threading.Thread(
                target=work, args=(self._process,), name="workbench tracking", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def _write(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        try:
            with process.stdin as pipe:
                while (call := self._calls.get()) is not None:
                    pipe.write(json.dumps(call) + "\n")
                    pipe.flush()
        except OSError:
            # It ended before its time; `_listen` says so.
            pass

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        over = False
        with process.stdout as pipe:
            for line in pipe:
                answer = json.loads(line)
                self.run_id = answer.get("run_id", self.run_id)
                over = over or "over" in answer
                if "failure" in answer:
                    self._fail(answer["failure"])
        if not over and self.failure is None:
            self._fail(f"its process ended with code {process.wait()}")

    def _fail(self, reason: str) -> None:
        self.failure = reason
        warn_of_failure(self.uri, reason, self.folder)


def _numbers(metrics: Mapping[str, float]) -> dict[str, float]:
    return {key: float(value) for key, value in metrics.items()}


def serve(about: Mapping[str, str], calls: IO[str], answers: IO[str]) -> None:
    """Feed MLflow with the calls, one a line, until they end; tell of its run, of a failure, and of the end."""
    moment = milliseconds()
    observer = MlflowObserver(
        about["uri"], about["experiment"], about["run_name"], Path(about["folder"]), now=lambda: moment
    )
    told: dict[str, str] = {}

    def answer(name: str, value: str | None) -> None:
        if value is not None and name not in told:
            told[name] = value
            answers.write(json.dumps({name: value}) + "\n")
            answers.flush()

    finished = False
    for line in calls:
        name, moment, *arguments = json.loads(line)
        if name == "run_started":
            arguments = [RunPlan(**arguments[0])]
        getattr(observer, name)(*arguments)
        finished = finished or name == "run_finished"
        answer("run_id", observer.run_id)
        answer("failure", None if observer.failure is None else first_line(observer.failure))
    if not finished:
        observer.abandon()
    answer("over", "")


def _main() -> None:
    # What libraries print goes to standard error: standard output holds the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    # The run says what failed, where its own log goes.
    logging.getLogger("workbench.tracking").disabled = True
    with open(0, encoding="utf-8", closefd=False) as calls, answers:
        serve(json.loads(sys.argv[1]), calls, answers)


if __name__ == "__main__":
    _main()
