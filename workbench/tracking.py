"""Feed a run to MLflow: parameters, metrics in batches, the matrix R, artefacts, tags.

The run folder is the truth; MLflow is a copy for browsing and comparing, and a copy that fails never stops a
run. The default store is an SQLite file with its artefacts beside it; nothing leaves the machine unless a
server is named.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
import math
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import DataError, WorkbenchError
from workbench.events import Observer, RunPlan
from workbench.results import MEASURES
from workbench.runfolder import ACCURACY_PREFIX, RunFolder, read_environment, replay

if TYPE_CHECKING:
    from mlflow import MlflowClient

DEFAULT_STORE = "sqlite:///mlflow.db"
METRICS_PER_BATCH = 1000
PARAMETERS_PER_BATCH = 100
BETWEEN_BATCHES = 1000
"""Milliseconds: tasks that are over sooner than this after a batch wait for the next one, since each has its price."""
PARAMETER_LENGTH = 6000
TAG_LENGTH = 8000
KEY_LENGTH = 250
STATUS_OF_RUN = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}

logger = logging.getLogger(__name__)


def default_uri() -> str:
    """Return MLFLOW_TRACKING_URI, or the SQLite store in the working folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_STORE


def push(folder: Path, uri: str, experiment: str, run_name: str | None = None) -> str:
    """Feed a run folder to MLflow as if it ran now and return the identifier of the MLflow run.

    Raises DataError when the folder is damaged, WorkbenchError when MLflow does not take it.
    """
    observer = MlflowObserver(uri, experiment, run_name or Path(folder).resolve().name, Path(folder))
    replay(folder, observer)
    if observer.failure is not None or observer.run_id is None:
        raise WorkbenchError(f"MLflow at {uri} does not take {folder}: {observer.failure}")
    return observer.run_id


class MlflowObserver(Observer):
    """Sends a run to MLflow: one batch of metrics per task, artefacts from the run folder at the end.

    Tell it of the end after results.json and metrics.parquet are written, since it uploads them. When MLflow
    fails it warns once, keeps the reason in `failure`, and is silent from then on.
    """

    def __init__(
        self, uri: str, experiment: str, run_name: str, folder: Path, now: Callable[[], int] | None = None
    ) -> None:
        """`now`: milliseconds since 1970 at which what is told happened; None: when it is told."""
        self.uri = uri
        self.experiment = experiment
        self.run_name = run_name
        self.folder = RunFolder(Path(folder))
        self.run_id: str | None = None
        self.failure: Exception | None = None
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
        self._client = _connect(self.uri)
        environment = _environment_of(self.folder)
        started = environment.get("started")
        if started is not None:
            self._started = int(datetime.fromisoformat(started).timestamp() * 1000)
        run = self._client.create_run(
            _experiment_id(self._client, self.uri, self.experiment),
            start_time=self._started,
            run_name=self.run_name,
            tags=tags_of(plan, environment, self.folder.path),
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
        self._metrics += [(_key(key), float(value), moment, step) for key, value in metrics.items()]

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
            with _quiet():
                action()
        except (
            Exception
        ) as error:  # whatever a server or a data base thinks up must not end hours of training
            self.failure = error
            self._metrics.clear()
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
    return {_key(key): _text(value)[:PARAMETER_LENGTH] for key, value in flat.items()}


def tags_of(plan: RunPlan, environment: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Return the tags that say which data, which code and which folder a run belongs to."""
    tags = {f"dataset.{key}": _text(value) for key, value in plan.dataset.items()}
    tags |= {"status": "running", "folder": str(folder.resolve()), "mlflow.source.type": "LOCAL"}
    tags["mlflow.source.name"] = environment.get("command") or "workbench"
    if plan.dataset.get("notice"):
        tags["mlflow.note.content"] = str(plan.dataset["notice"])
    code = environment.get("code")
    if code:
        tags |= {"code.commit": code["commit"], "code.dirty": _text(code["dirty"])}
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


def _connect(uri: str) -> MlflowClient:
    # MLflow reports its use to its makers unless told not to; a run here reports to nobody.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    # Its own patience with a server that is down is minutes for each call.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    from mlflow import MlflowClient

    database = _database(uri)
    if database is not None:
        database.parent.mkdir(parents=True, exist_ok=True)
    return MlflowClient(tracking_uri=uri)


def _experiment_id(client: MlflowClient, uri: str, name: str) -> str:
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        database = _database(uri)
        beside = None if database is None else (database.parent / "mlartifacts").as_uri()
        try:
            return str(client.create_experiment(name, artifact_location=beside))
        except Exception:
            # Another run may have made it in the meantime.
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)


def _database(uri: str) -> Path | None:
    """Return the file of an SQLite store; None for a server or another data base."""
    match = re.fullmatch(r"sqlite(?:\+\w+)?:///([^?]+)(?:\?.*)?", uri)
    return Path(match[1]).resolve() if match else None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back the talk of a first use (a page of migrations) and what SQLAlchemy deprecates in MLflow."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*``noload`` loader strategy", category=DeprecationWarning)
        import mlflow  # noqa: F401  (it sets its own logging up when first imported)

        loggers = [logging.getLogger(name) for name in ("mlflow", "alembic")]
        levels = [each.level for each in loggers]
        for each in loggers:
            each.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for each, level in zip(loggers, levels, strict=True):
                each.setLevel(level)


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


def _key(name: str) -> str:
    """Return the name with what MLflow does not allow in a key replaced by an underscore."""
    return re.sub(r"[^\w\-. /]", "_", name)[:KEY_LENGTH]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def first_line(error: Exception) -> str:
    """Return what an error says, cut to its first line."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]


def milliseconds() -> int:
    """Return the time as MLflow counts it: milliseconds since 1970."""
    return time.time_ns() // 1_000_000
