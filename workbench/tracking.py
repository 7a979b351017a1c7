"""Feed a run to MLflow: parameters, metrics in batches, the matrix R, artefacts, tags.

The run folder is the truth; MLflow is a copy for browsing and comparing, and a copy that fails never stops a
run. The default store is an SQLite file with its artefacts beside it; nothing leaves the machine unless a
server is named.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import DataError, WorkbenchError
from workbench.events import Observer, RunPlan
from workbench.results import MEASURES
from workbench.runfolder import (
    ACCURACY_PREFIX,
    RunFolder,
    read_environment,
    read_metrics,
    read_results,
    replay,
)
from workbench.tracking_store import (
    connect,
    default_uri,
    experiment_id,
    first_line,
    key_for,
    milliseconds,
    quiet,
    text_of,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = [
    "MlflowObserver",
    "default_uri",
    "final_metrics",
    "matrix_as_csv",
    "push",
    "results_digest",
    "tags_of",
]

METRICS_PER_BATCH = 1000
PARAMETERS_PER_BATCH = 100
BETWEEN_BATCHES = 1000
"""Milliseconds: tasks that are over sooner than this after a batch wait for the next one, since each has its price."""
PARAMETER_LENGTH = 6000
TAG_LENGTH = 8000
DIGEST_TAG = "results.digest"
"""Tag of a run that has been sent as a whole: the digest of its results.json."""
STATUS_OF_RUN = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}

logger = logging.getLogger(__name__)


def push(
    folder: Path,
    uri: str,
    experiment: str,
    run_name: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> str:
    """Feed a run folder to MLflow as if it ran again at its time, and return the identifier of the MLflow run.

    tags: further tags of the MLflow run. A folder does not keep the time of every epoch: within a task they are spread
    evenly. Raises DataError when the folder is damaged, WorkbenchError when MLflow does not take it.
    """
    folder = Path(folder)
    clock = _ReplayClock(folder)
    observer = MlflowObserver(
        uri, experiment, run_name or folder.resolve().name, folder, lambda: clock.moment, tags, warn=False
    )
    replay(folder, clock, observer)
    if observer.failure is not None or observer.run_id is None:
        reason = "no reason told" if observer.failure is None else first_line(observer.failure)
        raise WorkbenchError(f"MLflow at {uri} does not take {folder}: {reason}")
    return observer.run_id


def results_digest(folder: Path) -> str | None:
    """Return the SHA-256 of a folder's results.json, by which MLflow's copy of a run is known; None without one."""
    file = RunFolder(Path(folder)).results_file
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None


class _ReplayClock(Observer):
    """Tells when that happened of which an observer beside it is told, from the seconds of tasks and of the whole run.

    moment: milliseconds since 1970. Raises DataError when the folder's files are missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        results, rows = read_results(folder), read_metrics(folder)
        taken = {row.task: row.value for row in rows if row.key == "seconds" and row.epoch is None}
        tasks = len(results["tasks"])
        seconds = [max(taken.get(task, 0.0), 1e-9) for task in range(tasks)]
        sums = [0.0, *itertools.accumulate(seconds)]
        self.started = _started(_environment_of(RunFolder(folder)))
        if self.started is None:
            self.started = milliseconds()
        self.length = 1000 * float(results["time"].get("total") or 0.0)
        self.ends = [end / sums[-1] for end in sums] if tasks else [0.0]
        self.epochs = max(int(results["epochs"]), 1)
        self.moment: int = self.started

    def epoch_done(self, task: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Move on to the end of an epoch."""
        self._move(task, (epoch + 1) / self.epochs)

    def task_done(self, task: int, accuracies: Sequence[float], metrics: Mapping[str, float]) -> None:
        """Move on to the end of a task."""
        self._move(task, 1.0)

    def run_finished(self, results: Mapping[str, Any]) -> None:
        """Move on to the end of the run."""
        assert self.started is not None
        self.moment = self.started + int(self.length)

    def _move(self, task: int, done: float) -> None:
        assert self.started is not None
        begin, end = self.ends[task : task + 2]
        self.moment = self.started + int(self.length * (begin + (end - begin) * done))


def _started(environment: Mapping[str, Any]) -> int | None:
    """Return when a run began, milliseconds since 1970; None if its environment does not say."""
    started = environment.get("started")
    return None if started is None else int(datetime.fromisoformat(started).timestamp() * 1000)


class MlflowObserver(Observer):
    """Sends a run to MLflow: one batch of metrics per task, artefacts from the run folder at the end.

    Tell it of the end after results.json and metrics.parquet are written, since it uploads them. When MLflow
    fails it warns once, keeps the reason in `failure`, and is silent from then on.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        run_name: str,
        folder: Path,
        now: Callable[[], int] | None = None,
        tags: Mapping[str, str] | None = None,
        warn: bool = True,
    ) -> None:
        """`now`: milliseconds since 1970 at which what is told happened; None: when it is told.

        tags: further tags. warn: log a failure; False where whoever calls reads `failure`.
        """
        self.uri = uri
        self.experiment = experiment
        self.run_name = run_name
        self.folder = RunFolder(Path(folder))
        self.run_id: str | None = None
        self.failure: Exception | None = None
        self._tags = dict(tags or {})
        self._warn = warn
        self._client: MlflowClient | None = None
        self._now = now or milliseconds
        self._started = self._now()
        self._sent = self._started - BETWEEN_BATCHES
        self._step = 0
        self._metrics: list[tuple[str, float, int, int]] = []

    def run_started(self, plan: RunPlan) -> None:
        """Open the MLflow run with its parameters and tags."""
        self._guard(lambda: self._open(plan))

    def epoch_done(self, task: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Keep the metrics of an epoch until the task is over."""
        self._step += 1
        self._keep(metrics, self._step)

    def task_done(self, task: int, accuracies: Sequence[float], metrics: Mapping[str, float]) -> None:
        """Send what has gathered, once a second at most; R[task, :] is drawn over the number of the task."""
        # What was not tested has no accuracy, which is no measurement to be stored.
        tested = {j: accuracy for j, accuracy in enumerate(accuracies) if not math.isnan(accuracy)}
        self._keep({f"{ACCURACY_PREFIX}{j}": accuracy for j, accuracy in tested.items()}, task)
        self._keep({f"task/{key}": value for key, value in metrics.items()}, task)
        if self._now() - self._sent >= BETWEEN_BATCHES:
            self._sent = self._now()
            self._guard(self._flush)

    def run_finished(self, results: Mapping[str, Any]) -> None:
        """Send the measures and the files, and end the MLflow run with the status of the run."""
        self._keep(final_metrics(results), self._step)
        self._guard(lambda: self._close(results))

    def abandon(self) -> None:
        """End the MLflow run of a run that was killed and could not say so itself."""
        if self.run_id is not None:
            self._guard(self._kill)

    def _kill(self) -> None:
        self._flush()
        client, run_id = self._live()
        client.set_tag(run_id, "status", "killed")
        client.set_terminated(run_id, "KILLED", end_time=milliseconds())

    def _open(self, plan: RunPlan) -> None:
        self._client = connect(self.uri)
        environment = _environment_of(self.folder)
        started = _started(environment)
        self._started = self._started if started is None else started
        run = self._client.create_run(
            experiment_id(self._client, self.uri, self.experiment),
            start_time=self._started,
            run_name=self.run_name,
            tags={**tags_of(plan, environment, self.folder.path), **self._tags},
        )
        self.run_id = run.info.run_id
        self._log_parameters(parameters_of(plan))

    def _log_parameters(self, parameters: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        client, run_id = self._live()
        entries = [Param(key, value) for key, value in parameters.items()]
        for start in range(0, len(entries), PARAMETERS_PER_BATCH):
            client.log_batch(run_id, params=entries[start : start + PARAMETERS_PER_BATCH])

    def _keep(self, metrics: Mapping[str, float], step: int) -> None:
        moment = self._now()
        self._metrics += [(key_for(key), float(value), moment, step) for key, value in metrics.items()]

    def _flush(self) -> None:
        from mlflow.entities import Metric

        client, run_id = self._live()
        while self._metrics:
            batch = [Metric(*entry) for entry in self._metrics[:METRICS_PER_BATCH]]
            client.log_batch(run_id, metrics=batch)
            del self._metrics[:METRICS_PER_BATCH]

    def _close(self, results: Mapping[str, Any]) -> None:
        self._flush()
        client, run_id = self._live()
        folder = self.folder
        for file in (folder.config_file, folder.environment_file, folder.results_file, folder.metrics_file):
            if file.exists():
                client.log_artifact(run_id, str(file))
        client.log_text(run_id, matrix_as_csv(results), "accuracy_matrix.csv")
        digest = results_digest(folder.path)
        if digest is not None:
            client.set_tag(run_id, DIGEST_TAG, digest)
        client.set_tag(run_id, "status", results["status"])
        seconds = results["time"].get("total")
        ended = self._now() if seconds is None else self._started + int(seconds * 1000)
        client.set_terminated(run_id, STATUS_OF_RUN[results["status"]], end_time=ended)

    def _live(self) -> tuple[MlflowClient, str]:
        if self._client is None or self.run_id is None:
            raise RuntimeError("MLflow was not told that the run started")
        return self._client, self.run_id

    def _guard(self, action: Callable[[], None]) -> None:
        if self.failure is not None:
            return
        try:
            with quiet():
                action()
        except (
            Exception
        ) as error:  # whatever a server or a data base thinks up must not end hours of training
            self.failure = error
            self._metrics.clear()
            if self._warn:
                warn_of_failure(self.uri, first_line(error), self.folder.path)


def warn_of_failure(uri: str, reason: str, folder: Path) -> None:
    """Tell the user that MLflow hears no more of the run."""
    logger.warning(
        "MLflow tracking at %s stopped: %s. The run goes on; %s keeps every number.", uri, reason, folder
    )


def parameters_of(plan: RunPlan) -> dict[str, str]:
    """Return the plan and its configuration as flat `key.key` -> text, cut to what MLflow takes."""
    named = {
        "scenario": plan.scenario,
        "learner": plan.learner,
        "backbone": plan.backbone,
        "hardware": plan.hardware,
        "seed": plan.seed,
        "epochs": plan.epochs,
        "tasks": len(plan.task_names),
    }
    flat = {**_flatten(plan.config, "."), **named}
    return {key_for(key): text_of(value)[:PARAMETER_LENGTH] for key, value in flat.items()}


def tags_of(plan: RunPlan, environment: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Return the tags that say which data, which code and which folder a run belongs to."""
    tags = {f"dataset.{key}": text_of(value) for key, value in plan.dataset.items()}
    tags |= {"status": "running", "folder": str(folder.resolve()), "mlflow.source.type": "LOCAL"}
    tags["mlflow.source.name"] = environment.get("command") or "workbench"
    if plan.dataset.get("notice"):
        tags["mlflow.note.content"] = str(plan.dataset["notice"])
    code = environment.get("code")
    if code:
        tags |= {"code.commit": code["commit"], "code.dirty": text_of(code["dirty"])}
        tags["mlflow.source.git.commit"] = code["commit"]
    version = environment.get("packages", {}).get("continual-workbench")
    if version:
        tags["code.version"] = version
    return {key: value[:TAG_LENGTH] for key, value in tags.items()}


def final_metrics(results: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of results.json that one draws or sorts runs by; what is null is left out."""
    chosen = {key: results.get(key) for key in (*MEASURES, "memory", "time", "spike_rates")}
    return {key: value for key, value in _flatten(chosen, "/", lists=True).items() if _is_number(value)}


def matrix_as_csv(results: Mapping[str, Any]) -> str:
    """Return R as CSV: one line for each task trained, one column for each task tested."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trained up to", *results["tasks"]])
    writer.writerows([name, *row] for name, row in zip(results["tasks"], results["R"], strict=False))
    return text.getvalue()


def _environment_of(folder: RunFolder) -> dict[str, Any]:
    try:
        return read_environment(folder.path)
    except DataError:
        return {}


def _flatten(value: Any, separator: str, lists: bool = False, prefix: str = "") -> dict[str, Any]:
    items: list[tuple[Any, Any]]
    if isinstance(value, Mapping):
        items = list(value.items())
    elif lists and isinstance(value, list | tuple):
        items = list(enumerate(value))
    else:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, item in items:
        flat |= _flatten(item, separator, lists, f"{prefix}{separator}{key}" if prefix else str(key))
    return flat


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
