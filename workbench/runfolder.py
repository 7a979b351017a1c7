"""A run's folder, which is the truth about it: configuration, environment, results, metrics, checkpoint.

    config.yaml       the resolved configuration
    environment.json  machine, versions, commit, command line
    results.json      the matrix R and every measure (see `workbench.results`)
    metrics.parquet   every number of every epoch, one row each, written at the end of a session
    journal.jsonl     the same while the run goes on, see `workbench.journal`
    checkpoint.pt     written by `workbench.checkpoint`

The journal grows by what is new; every other file is written to a temporary neighbour and moved into place:
whoever reads sees the old one or the new one.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.errors import ConfigurationError, DataError
from workbench.events import Observer, RunPlan
from workbench.journal import entries_of, retell
from workbench.lazy import lazy_module
from workbench.overrides import to_yaml
from workbench.results import REQUIRED_KEYS, build_results, plain, plan_of, to_json

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet as parquet
else:
    pyarrow = lazy_module("pyarrow")
    parquet = lazy_module("pyarrow.parquet")

__all__ = [
    "ACCURACY_PREFIX",
    "MetricRow",
    "MetricsRecorder",
    "RunFolder",
    "build_results",
    "read_environment",
    "read_metrics",
    "read_results",
    "replacing",
    "replay",
    "write_atomically",
]

ACCURACY_PREFIX = "test_accuracy/task_"


class MetricRow(NamedTuple):
    """One number of a run.

    step: epochs done since the start of the run, never falling; what a curve is drawn over.
    epoch: epoch within the task; None for what is known once a task is over.
    key: `train_loss`, ...; after task i also `test_accuracy/task_j`, which is R[i, j].
    """

    step: int
    task: int
    epoch: int | None
    key: str
    value: float


@dataclass(frozen=True)
class RunFolder:
    """The files of one run under `path`."""

    path: Path

    @classmethod
    def create(cls, path: Path, config: Mapping[str, Any], environment: Mapping[str, Any]) -> RunFolder:
        """Make the folder and write config.yaml and environment.json.

        Raises ConfigurationError when it holds a run already, or cannot be made.
        """
        folder = cls(Path(path))
        if folder.config_file.exists() or folder.results_file.exists():
            raise ConfigurationError(
                f"{folder.path} holds a run already, which is not overwritten: choose another or remove it"
            )
        try:
            folder.path.mkdir(parents=True, exist_ok=True)
            write_atomically(folder.config_file, to_yaml(plain(config)).encode())
            write_atomically(folder.environment_file, to_json(environment).encode())
        except OSError as error:
            raise ConfigurationError(f"cannot write a run folder at {folder.path}: {error}") from error
        return folder

    @property
    def config_file(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def environment_file(self) -> Path:
        """Machine, versions, commit, command line."""
        return self.path / "environment.json"

    @property
    def results_file(self) -> Path:
        """The matrix R and every measure."""
        return self.path / "results.json"

    @property
    def metrics_file(self) -> Path:
        """Every number of every epoch."""
        return self.path / "metrics.parquet"

    @property
    def journal_file(self) -> Path:
        """What was told of epochs and tasks, in the order in which it was told."""
        return self.path / "journal.jsonl"

    @property
    def checkpoint_file(self) -> Path:
        """Where the checkpoint of this run belongs."""
        return self.path / "checkpoint.pt"

    def write_results(self, results: Mapping[str, Any]) -> None:
        """Write results.json; what is not a finite number becomes null."""
        write_atomically(self.results_file, to_json(results).encode())

    def write_metrics(self, rows: Iterable[MetricRow]) -> None:
        """Write metrics.parquet."""
        columns = list(zip(*rows, strict=True)) or [()] * len(MetricRow._fields)
        schema = _schema()
        arrays = [
            pyarrow.array(column, type=kind) for column, kind in zip(columns, schema.types, strict=True)
        ]
        with replacing(self.metrics_file) as temporary:
            parquet.write_table(pyarrow.table(arrays, schema=schema), temporary, compression="zstd")


class MetricsRecorder(Observer):
    """Keeps the numbers of a run and writes metrics.parquet at the end of any kind.

    Not after each task: the file is written as a whole, and what it costs would grow with the tasks behind. Until then
    the journal holds the same numbers.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.rows: list[MetricRow] = []
        self._step = 0

    def epoch_done(self, task: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Keep the metrics of an epoch."""
        self._step += 1
        self._keep(task, epoch, metrics)

    def task_done(self, task: int, accuracies: Sequence[float], metrics: Mapping[str, float]) -> None:
        """Keep row R[task, :] and the metrics of a task."""
        self._keep(task, None, {f"{ACCURACY_PREFIX}{j}": accuracy for j, accuracy in enumerate(accuracies)})
        self._keep(task, None, metrics)

    def run_finished(self, results: Mapping[str, Any]) -> None:
        """Write the file."""
        self.folder.write_metrics(self.rows)

    def _keep(self, task: int, epoch: int | None, metrics: Mapping[str, float]) -> None:
        self.rows += [MetricRow(self._step, task, epoch, key, float(value)) for key, value in metrics.items()]


def read_results(path: Path) -> dict[str, Any]:
    """Return the content of results.json; `path` is the file or its run folder.

    Raises DataError when it is missing, damaged, or lacks a key that every results.json has.
    """
    file = _file_of(path, "results.json")
    results = _read_json(file)
    missing = sorted(REQUIRED_KEYS - results.keys())
    if missing:
        raise DataError(f"{file} is no results.json of a run: it lacks {', '.join(missing)}")
    return results


def read_environment(path: Path) -> dict[str, Any]:
    """Return the content of environment.json; `path` is the file or its run folder. Raises DataError."""
    return _read_json(_file_of(path, "environment.json"))


def read_metrics(path: Path) -> list[MetricRow]:
    """Return the rows of metrics.parquet in the order written; `path` is the file or its run folder.

    A run that goes on or was killed has no such file yet: what its journal holds is returned instead. Raises DataError
    when both are missing, or the one read is damaged or has other columns.
    """
    folder = RunFolder(Path(path))
    if folder.journal_file.is_file() and not folder.metrics_file.exists():
        recorder = MetricsRecorder(folder)
        retell(entries_of(folder.journal_file, folder.journal_file.read_bytes()), [recorder])
        return recorder.rows
    file = _file_of(path, "metrics.parquet")
    try:
        # Not read_table, which would take a folder of Parquet files for one table.
        table = parquet.ParquetFile(file).read()
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{file} is damaged or no Parquet file: {error}") from error
    if not table.schema.equals(_schema()):
        raise DataError(f"{file} must have the columns {_schema().names}, not {table.schema.names}")
    return [MetricRow(*row) for row in zip(*(column.to_pylist() for column in table.columns), strict=True)]


def replay(path: Path, *observers: Observer) -> None:
    """Tell observers about the run of a folder as if it happened now, batches left out.

    Raises DataError when results.json or metrics.parquet is missing or damaged.
    """
    results = read_results(path)
    rows = read_metrics(path)
    plan: RunPlan = plan_of(results)
    for observer in observers:
        observer.run_started(plan)
    for task, rows_of_task in itertools.groupby(rows, key=lambda row: row.task):
        for observer in observers:
            observer.task_started(task)
        for epoch, group in itertools.groupby(rows_of_task, key=lambda row: row.epoch):
            _replay_group(task, epoch, {row.key: row.value for row in group}, observers)
    for observer in observers:
        observer.run_finished(results)


def _replay_group(
    task: int, epoch: int | None, metrics: dict[str, float], observers: Iterable[Observer]
) -> None:
    if epoch is not None:
        for observer in observers:
            observer.epoch_done(task, epoch, metrics)
        return
    accuracies = [value for key, value in metrics.items() if key.startswith(ACCURACY_PREFIX)]
    others = {key: value for key, value in metrics.items() if not key.startswith(ACCURACY_PREFIX)}
    for observer in observers:
        observer.task_done(task, accuracies, others)


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; move it to `target` on success, remove it on any failure."""
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(target: Path, content: bytes) -> None:
    """Write a file in one move, so that a reader or a crash never sees half of it."""
    with replacing(target) as temporary:
        temporary.write_bytes(content)


def _schema() -> pyarrow.Schema:
    return pyarrow.schema(
        [
            pyarrow.field("step", pyarrow.int64(), nullable=False),
            pyarrow.field("task", pyarrow.int32(), nullable=False),
            pyarrow.field("epoch", pyarrow.int32()),
            pyarrow.field("key", pyarrow.string(), nullable=False),
            pyarrow.field("value", pyarrow.float64(), nullable=False),
        ]
    )


def _file_of(path: Path, name: str) -> Path:
    file = Path(path) / name if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise DataError(f"{file} does not exist; is this the folder of a run that got so far?")
    return file


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{file} must hold a JSON object, not {type(content).__name__}")
    return content
