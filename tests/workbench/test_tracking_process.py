"""A run sent to MLflow through a process of its own arrives as one sent from here, and what goes wrong is told."""

from __future__ import annotations

import io
import json
import logging
import math
import os
import signal
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from workbench.events import Observer, RunPlan
from workbench.runfolder import MetricsRecorder, RunFolder, build_results
from workbench.tracking import MlflowObserver
from workbench.tracking_feed import Answers
from workbench.tracking_process import TrackingProcess, serve

if TYPE_CHECKING:
    from mlflow import MlflowClient

PLAN = RunPlan(
    scenario="split-digits",
    learner="osttp",
    backbone="lif",
    hardware="ideal",
    seed=3,
    dataset={"name": "digits", "synthetic": True, "digest": "ab12", "notice": ""},
    task_names=("one", "two"),
    samples=(20, 30),
    epochs=1,
    config={"learner": {"lr": 1e-3}},
)
ROWS = [[0.75, math.nan], [0.5, 0.25]]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture(scope="module")
def client(store: str) -> MlflowClient:
    from mlflow import MlflowClient

    with warnings.catch_warnings():
        # Making a store's tables talks of what SQLAlchemy deprecates in MLflow.
        warnings.simplefilter("ignore")
        return MlflowClient(tracking_uri=store)


def started(observer: Observer, folder: RunFolder) -> None:
    observer.run_started(PLAN)
    observer.task_started(0)
    observer.epoch_done(0, 0, {"train_loss": 0.1 + 0.2})


def finished(observer: Observer, folder: RunFolder) -> None:
    observer.task_done(0, ROWS[0], {"seconds": 1.5})
    observer.task_started(1)
    observer.epoch_done(1, 0, {"train_loss": math.nan})
    observer.task_done(1, ROWS[1], {"seconds": 1.5})
    results = build_results(PLAN, ROWS, None, {}, {"train": 10.0}, "finished", {})
    folder.write_results(results)
    MetricsRecorder(folder).run_finished(results)
    observer.run_finished(results)


def new_folder(path: Path) -> RunFolder:
    return RunFolder.create(path, PLAN.config, {"started": "2024-05-06T07:08:09+00:00"})


def read(client: MlflowClient, run_id: str | None) -> dict[str, Any]:
    assert run_id is not None
    run = client.get_run(run_id)
    own = ("folder", "mlflow.runName", "mlflow.source.name")
    curves = {
        key: [(metric.step, repr(metric.value)) for metric in client.get_metric_history(run_id, key)]
        for key in run.data.metrics
    }
    return {
        "status": run.info.status,
        "times": (run.info.start_time, run.info.end_time),
        "parameters": run.data.params,
        "tags": {key: value for key, value in run.data.tags.items() if key not in own},
        "curves": curves,
        "files": sorted(artefact.path for artefact in client.list_artifacts(run_id)),
    }


def test_a_run_arrives_as_if_it_had_been_sent_from_here(
    client: MlflowClient, store: str, tmp_path: Path
) -> None:
    here = MlflowObserver(store, "tests", "here", tmp_path / "here")
    there = TrackingProcess(store, "tests", "there", tmp_path / "there")
    for observer, name in ((here, "here"), (there, "there")):
        folder = new_folder(tmp_path / name)
        started(observer, folder)
        finished(observer, folder)
    assert there.failure is None
    found = read(client, there.run_id)
    assert found == read(client, here.run_id)
    assert found["curves"]["train_loss"] == [(1, repr(0.1 + 0.2)), (2, "nan")]
    # Not tested is not a number that is not a number.
    assert found["curves"]["test_accuracy/task_1"] == [(1, "0.25")]


def test_metrics_carry_the_time_at_which_they_were_told(
    tmp_path: Path, store: str, client: MlflowClient
) -> None:
    from dataclasses import asdict

    new_folder(tmp_path / "run")
    calls = [
        ["run_started", 1_000, asdict(PLAN)],
        ["epoch_done", 2_000, 0, 0, {"train_loss": 1.0}],
        ["task_done", 3_000, 0, [0.5, 0.5], {}],
    ]
    answers = io.StringIO()
    about = {"uri": store, "experiment": "tests", "run_name": "late", "folder": str(tmp_path / "run")}
    serve(about, io.StringIO("".join(json.dumps(call) + "\n" for call in calls)), Answers(answers))
    told = {
        name: value for line in answers.getvalue().splitlines() for name, value in json.loads(line).items()
    }
    assert set(told) == {"run_id", "over"}
    [metric] = client.get_metric_history(told["run_id"], "train_loss")
    assert metric.timestamp == 2_000


def test_a_run_that_was_killed_is_not_left_running(client: MlflowClient, store: str, tmp_path: Path) -> None:
    observer = TrackingProcess(store, "tests", "killed", tmp_path / "run")
    started(observer, new_folder(tmp_path / "run"))
    # The end of the pipe is all that the process hears of it.
    observer.feed.finish()
    assert observer.feed.process is not None
    assert observer.feed.process.returncode == 0
    found = read(client, observer.run_id)
    assert (found["status"], found["tags"]["status"]) == ("KILLED", "killed")
    assert found["curves"]["train_loss"] == [(1, repr(0.1 + 0.2))]


@pytest.mark.parametrize("fault", ["store", "process", "command"])
def test_a_failure_warns_once_and_the_run_goes_on(
    fault: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = "nonsense://store" if fault == "store" else f"sqlite:///{tmp_path}/mlflow.db"
    if fault == "command":
        monkeypatch.setattr("sys.executable", str(tmp_path / "no-python"))
    observer = TrackingProcess(uri, "tests", "failing", tmp_path / "run")
    folder = new_folder(tmp_path / "run")
    with caplog.at_level(logging.WARNING, logger="workbench.tracking"):
        started(observer, folder)
        if fault == "process":
            assert observer.feed.process is not None
            os.kill(observer.feed.process.pid, signal.SIGKILL)
            observer.feed.process.wait()
        finished(observer, folder)
    assert observer.failure is not None
    messages = [record.getMessage() for record in caplog.records if record.name == "workbench.tracking"]
    assert len(messages) == 1
    assert uri in messages[0]
    assert str(folder.path) in messages[0]
    reason = {"store": "nonsense", "process": "its process ended with code -9", "command": "no-python"}
    assert reason[fault] in messages[0]
