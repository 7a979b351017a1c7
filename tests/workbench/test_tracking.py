"""What MLflow holds after a run, read back from a real SQLite store."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from workbench.errors import DataError, WorkbenchError
from workbench.events import RunPlan
from workbench.runfolder import MetricsRecorder, RunFolder, build_results
from workbench.tracking import MlflowObserver, default_uri, final_metrics, parameters_of, push, tags_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PLAN = RunPlan(
    scenario="split-digits",
    learner="osttp+replay",
    backbone="lif",
    hardware="ideal",
    seed=3,
    dataset={"name": "digits", "synthetic": True, "digest": "ab12", "notice": "SYNTHETIC: made up"},
    task_names=("zero, one", "two"),
    samples=(20, 30),
    epochs=2,
    config={
        "learner": {"name": "osttp+replay", "lr": 1e-3, "odd key?": True},
        "backbone": {"hidden": [256, 256], "note": "x" * 7000, **{f"field{i}": i for i in range(120)}},
    },
)
ENVIRONMENT = {
    "started": "2024-05-06T07:08:09+00:00",
    "command": "workbench run scenario=split-digits",
    "code": {"commit": "c0ffee", "dirty": True},
    "packages": {"continual-workbench": "0.1.0"},
}
MEMORY = {"formula": {"parameters": 400}, "measured": {"parameters": 404}}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    # With a space, since people's folders have them.
    return f"sqlite:///{tmp_path_factory.mktemp('a store')}/new/mlflow.db"


@pytest.fixture(scope="module")
def client(store: str, tmp_path_factory: pytest.TempPathFactory) -> MlflowClient:
    """A client of a store that has been used once, so that its tables stand."""
    track(tmp_path_factory.mktemp("first"), store)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=store)


def track(path: Path, uri: str, status: str = "finished", experiment: str = "tests") -> MlflowObserver:
    folder = RunFolder.create(path / "run", PLAN.config, ENVIRONMENT)
    recorder = MetricsRecorder(folder)
    observer = MlflowObserver(uri, experiment, "a run", folder.path)
    matrix: list[list[float]] = []
    observer.run_started(PLAN)
    for task in range(2 if status == "finished" else 1):
        for each in (recorder, observer):
            each.task_started(task)
            for epoch in range(2):
                each.epoch_done(task, epoch, {"train_loss": 2.0 - task - epoch / 4})
            each.task_done(task, [0.75, 0.25 * (task + 1)], {"seconds": 1.5, "samples_per_second": 800.0})
        matrix.append([0.75, 0.25 * (task + 1)])
    results = build_results(
        PLAN, matrix, [0.1, 0.1], MEMORY, {"train": 10.0}, status, {"spike_rates": {"layer 0": [0.5, 0.25]}}
    )
    folder.write_results(results)
    for each in (recorder, observer):
        each.run_finished(results)
    return observer


def run_of(client: MlflowClient, observer: MlflowObserver) -> Run:
    assert observer.failure is None
    assert observer.run_id is not None
    return client.get_run(observer.run_id)


def history(client: MlflowClient, run_id: str, key: str) -> list[tuple[int, float]]:
    return sorted((metric.step, metric.value) for metric in client.get_metric_history(run_id, key))


def test_a_run_can_be_read_back(client: MlflowClient, store: str, tmp_path: Path) -> None:
    run = run_of(client, track(tmp_path, store))
    identifier = run.info.run_id
    assert (run.info.status, run.info.run_name) == ("FINISHED", "a run")
    assert run.info.end_time - run.info.start_time == 10_000
    assert run.data.params["learner"] == "osttp+replay"
    assert run.data.params["learner.lr"] == "0.001"
    assert run.data.params["learner.odd key_"] == "true"
    assert run.data.params["backbone.hidden"] == "[256, 256]"
    assert run.data.params["backbone.field119"] == "119"
    assert len(run.data.params["backbone.note"]) == 6000
    assert history(client, identifier, "train_loss") == [(1, 2.0), (2, 1.75), (3, 1.0), (4, 0.75)]
    assert history(client, identifier, "test_accuracy/task_1") == [(0, 0.25), (1, 0.5)]
    assert run.data.metrics["acc"] == 0.625
    assert run.data.metrics["bwt"] == 0.0
    assert run.data.metrics["memory/measured/total"] == 404
    assert run.data.metrics["spike_rates/layer 0/1"] == 0.25
    tags = run.data.tags
    assert (tags["dataset.name"], tags["dataset.synthetic"], tags["dataset.digest"]) == (
        "digits",
        "true",
        "ab12",
    )
    assert tags["mlflow.note.content"] == "SYNTHETIC: made up"
    assert (tags["code.commit"], tags["code.dirty"], tags["status"]) == ("c0ffee", "true", "finished")


def test_the_files_of_the_folder_are_artefacts_beside_the_store(
    client: MlflowClient, store: str, tmp_path: Path
) -> None:
    observer = track(tmp_path, store)
    identifier = run_of(client, observer).info.run_id
    names = {artefact.path for artefact in client.list_artifacts(identifier)}
    assert names == {
        "config.yaml",
        "environment.json",
        "results.json",
        "metrics.parquet",
        "accuracy_matrix.csv",
    }
    artefacts = Path(store.removeprefix("sqlite:///")).parent / "mlartifacts" / identifier / "artifacts"
    for name in names - {"accuracy_matrix.csv"}:
        assert (artefacts / name).read_bytes() == (observer.folder.path / name).read_bytes()
    matrix = (artefacts / "accuracy_matrix.csv").read_text()
    assert matrix == 'trained up to,"zero, one",two\n"zero, one",0.75,0.25\ntwo,0.75,0.5\n'


@pytest.mark.parametrize(("status", "theirs"), [("interrupted", "KILLED"), ("failed", "FAILED")])
def test_a_run_that_stopped_says_how(
    client: MlflowClient, store: str, tmp_path: Path, status: str, theirs: str
) -> None:
    run = run_of(client, track(tmp_path, store, status))
    assert (run.info.status, run.data.tags["status"]) == (theirs, status)
    assert "bwt" not in run.data.metrics


def test_metrics_go_in_batches_at_the_end_of_tasks(
    client: MlflowClient, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient as Client

    sizes: list[int] = []
    log_batch: Callable[..., Any] = Client.log_batch

    def counted(self: MlflowClient, run_id: str, metrics: Any = (), params: Any = (), **rest: Any) -> Any:
        sizes.append(len(metrics))
        return log_batch(self, run_id, metrics=metrics, params=params, **rest)

    monkeypatch.setattr(Client, "log_batch", counted)
    monkeypatch.delattr(Client, "log_metric")
    folder = RunFolder.create(tmp_path, PLAN.config, ENVIRONMENT)
    observer = MlflowObserver(store, "tests", "long", folder.path)
    observer.run_started(PLAN)
    sizes.clear()
    for epoch in range(700):
        observer.epoch_done(0, epoch, {"train_loss": 1.0, "train_accuracy": 0.5})
    assert sizes == []
    observer.task_done(0, [0.5, 0.5], {"seconds": 1.0})
    assert sizes == [1000, 403]
    assert observer.failure is None
    assert observer.run_id is not None
    assert len(history(client, observer.run_id, "train_loss")) == 700


def test_short_tasks_share_a_batch_and_no_number_is_lost(
    client: MlflowClient, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient as Client

    sizes: list[int] = []
    log_batch: Callable[..., Any] = Client.log_batch

    def counted(self: MlflowClient, run_id: str, metrics: Any = (), **rest: Any) -> Any:
        sizes.append(len(metrics))
        return log_batch(self, run_id, metrics=metrics, **rest)

    moment = 1_000_000
    observer = MlflowObserver(store, "tests", "short tasks", tmp_path, now=lambda: moment)
    observer.run_started(PLAN)
    monkeypatch.setattr(Client, "log_batch", counted)
    for task in range(40):
        moment += 250
        observer.epoch_done(task, 0, {"train_loss": float(task)})
        observer.task_done(task, [0.5], {"seconds": 0.25})
    # At once, and then with every fourth task; each brings three numbers.
    assert sizes == [3] + [12] * 9
    observer.abandon()
    assert sum(sizes) == 40 * 3
    assert observer.run_id is not None
    assert len(history(client, observer.run_id, "train_loss")) == 40


def test_pushing_a_folder_gives_the_same_run(client: MlflowClient, store: str, tmp_path: Path) -> None:
    live = run_of(client, track(tmp_path, store))
    pushed = client.get_run(push(tmp_path / "run", store, "elsewhere"))
    assert pushed.data.metrics == live.data.metrics
    assert pushed.data.params == live.data.params
    assert history(client, pushed.info.run_id, "train_loss") == history(
        client, live.info.run_id, "train_loss"
    )
    same = [tag for tag in live.data.tags if tag != "mlflow.runName"]
    assert {tag: pushed.data.tags[tag] for tag in same} == {tag: live.data.tags[tag] for tag in same}
    assert (pushed.info.run_name, pushed.info.status) == ("run", "FINISHED")
    assert (pushed.info.start_time, pushed.info.end_time) == (live.info.start_time, live.info.end_time)


def test_a_deleted_experiment_is_taken_up_again(client: MlflowClient, store: str, tmp_path: Path) -> None:
    first = run_of(client, track(tmp_path / "1", store, experiment="short-lived"))
    client.delete_experiment(first.info.experiment_id)
    second = run_of(client, track(tmp_path / "2", store, experiment="short-lived"))
    assert second.info.experiment_id == first.info.experiment_id


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:9", "nonsense://store", "sqlite:////proc/no/such/place.db"]
)
def test_a_store_that_fails_warns_once_and_the_run_goes_on(
    uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="workbench.tracking"):
        observer = track(tmp_path, uri)
    messages = [record.getMessage() for record in caplog.records if record.name == "workbench.tracking"]
    assert observer.failure is not None
    assert len(messages) == 1
    assert uri in messages[0]
    assert str(tmp_path / "run") in messages[0]
    assert json.loads((tmp_path / "run" / "results.json").read_text())["acc"] == 0.625
    with pytest.raises(WorkbenchError, match="does not take"):
        push(tmp_path / "run", uri, "tests")


def test_an_interrupt_is_not_taken_for_a_failure(
    client: MlflowClient, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient as Client

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "log_batch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        MlflowObserver(store, "tests", "stopped", tmp_path).run_started(PLAN)


@pytest.mark.usefixtures("client")
def test_nothing_is_said_and_nothing_global_stays(
    store: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    level, filters = logging.getLogger("mlflow").level, list(warnings.filters)
    track(tmp_path, f"sqlite:///{tmp_path}/mlflow.db")
    assert capfd.readouterr() == ("", "")
    assert (logging.getLogger("mlflow").level, list(warnings.filters)) == (level, filters)
    import mlflow

    assert mlflow.active_run() is None
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"].lower() in {"true", "1"}


def test_a_damaged_folder_is_not_pushed(store: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"results\.json"):
        push(tmp_path, store, "tests")


def test_the_store_is_the_environments_or_a_file_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somewhere:5000")
    assert default_uri() == "http://somewhere:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert default_uri() == "sqlite:///mlflow.db"


def test_tags_and_parameters_of_a_run_from_a_wheel() -> None:
    bare = RunPlan(
        **(PLAN.__dict__ | {"dataset": {"name": "shd", "synthetic": False, "notice": ""}, "config": {}})
    )
    tags = tags_of(bare, {"code": None}, Path("run"))
    assert "mlflow.note.content" not in tags
    assert "code.commit" not in tags
    assert parameters_of(bare)["tasks"] == "2"


def test_final_metrics_leave_out_what_is_null_or_no_number() -> None:
    results = {"acc": 0.5, "bwt": None, "memory": {"measured": {"total": 3, "kind": "peak"}}, "time": {}}
    assert final_metrics(results) == {"acc": 0.5, "memory/measured/total": 3}
