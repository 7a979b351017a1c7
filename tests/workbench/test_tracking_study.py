"""Studies in MLflow: a parent and nested runs, each once, whichever way they are sent; the page that shows them."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import ProxyHandler, build_opener

import pytest

from workbench import cli
from workbench.errors import ConfigurationError, DataError, WorkbenchError
from workbench.events import RunPlan
from workbench.overrides import to_yaml
from workbench.runfolder import MetricsRecorder, RunFolder, build_results
from workbench.tracking_feed import Answers
from workbench.tracking_page import check_store, serving
from workbench.tracking_push import push_all, push_study
from workbench.tracking_record import StudyRecord
from workbench.tracking_store import store_name
from workbench.tracking_study import StudyTracking, serve

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

STARTED = 1_714_979_289_000
"""2024-05-06T07:08:09 UTC, milliseconds since 1970."""
AXES = {"learner": ["bptt", "osttp"], "seed": [0, 1]}


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


def write_run(
    path: Path, learner: str = "bptt", seed: int = 0, acc: float = 0.5, status: str = "finished"
) -> Path:
    """Write a run folder of two tasks that took 30 s and 10 s."""
    config = {"scenario": {"name": "digits"}, "learner": {"name": learner}, "seed": seed}
    plan = RunPlan(
        scenario="digits",
        learner=learner,
        backbone="lif",
        hardware="ideal",
        seed=seed,
        dataset={"name": "digits", "synthetic": False, "digest": "ab", "notice": ""},
        task_names=("one", "two"),
        samples=(20, 30),
        epochs=2,
        config=config,
    )
    folder = RunFolder.create(path, config, {"started": "2024-05-06T07:08:09+00:00"})
    recorder = MetricsRecorder(folder)
    for task, seconds in ((0, 30.0), (1, 10.0)):
        for epoch in range(2):
            recorder.epoch_done(task, epoch, {"train_loss": 1.0 - task / 2 - epoch / 4})
        recorder.task_done(task, [acc, acc], {"seconds": seconds})
    results = build_results(plan, [[acc, acc], [acc, acc]], None, {}, {"train": 80.0}, status, {})
    folder.write_results(results)
    recorder.run_finished(results)
    return path


def write_study(path: Path) -> Path:
    for learner in AXES["learner"]:
        for seed in (0, 1):
            name = f"{learner}-seed{seed}"
            write_run(path / "runs" / name, str(learner), seed, 0.5 + seed / 4)
    content = {"sweeps": [{"settings": {"scenario": "digits"}, "axes": AXES}]}
    (path / "study.yaml").write_text(to_yaml(content))
    (path / "jobs").mkdir()
    return path


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_study(tmp_path / "a study's folder")


def runs_in(client: MlflowClient, experiment: str) -> list[Run]:
    found = client.get_experiment_by_name(experiment)
    return [] if found is None else list(client.search_runs([found.experiment_id]))


def parents_and_children(client: MlflowClient, experiment: str) -> tuple[list[Run], list[Run]]:
    runs = runs_in(client, experiment)
    return (
        [run for run in runs if "mlflow.parentRunId" not in run.data.tags],
        [run for run in runs if "mlflow.parentRunId" in run.data.tags],
    )


def tracked(study: Path, store: str, experiment: str, status: str = "finished") -> StudyTracking:
    tracking = StudyTracking(store, experiment, "my study", study)
    tracking.started(AXES, 5)
    for folder in sorted((study / "runs").iterdir()):
        tracking.job_done(folder, "finished")
    tracking.job_done(study / "runs" / "never-begun", "failed")
    tracking.close(status)
    return tracking


def test_a_sweep_is_a_parent_with_a_nested_run_for_each_job_and_none_comes_twice(
    client: MlflowClient, store: str, study: Path
) -> None:
    first = tracked(study, store, "sweeps", "failed")
    assert first.failure is None
    [parent], children = parents_and_children(client, "sweeps")
    assert parent.info.run_id == first.run_id
    assert (parent.info.run_name, parent.info.status, parent.data.tags["status"]) == (
        "my study",
        "FAILED",
        "failed",
    )
    assert (parent.data.params["learner"], parent.data.params["seed"]) == ("bptt, osttp", "0, 1")
    assert (parent.data.tags["axis.learner"], parent.data.tags["jobs"]) == ("bptt, osttp", "5")
    assert parent.data.metrics["acc/osttp"] == 0.625
    assert (parent.data.metrics["jobs/finished"], parent.data.metrics["jobs/failed"]) == (4, 1)
    names = [f"{learner}-seed{seed}" for learner in ("bptt", "osttp") for seed in (0, 1)]
    assert sorted(run.info.run_name for run in children) == names
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    # The study grows, and a run is made anew.
    write_run(study / "runs" / "osttp-seed2", "osttp", 2, 0.75)
    for file in (study / "runs" / "bptt-seed0").iterdir():
        file.unlink()
    write_run(study / "runs" / "bptt-seed0", "bptt", 0, 0.25)
    grown = {**AXES, "seed": [0, 1, 2]}
    told = served(study, store, "sweeps", ["started", grown, 6], ["close", "finished"])
    assert told == {"run_id": first.run_id, "over": ""}
    [parent], children = parents_and_children(client, "sweeps")
    assert (parent.info.status, parent.data.tags["axis.seed"]) == ("FINISHED", "0, 1, 2")
    assert sorted(run.info.run_name for run in children) == sorted([*names, "osttp-seed2"])
    assert [run.data.metrics["acc"] for run in children if run.info.run_name == "bptt-seed0"] == [0.25]
    assert parent.data.metrics["acc/osttp"] == pytest.approx((0.5 + 0.75 + 0.75) / 3)
    # A parent that was deleted is not taken up again.
    client.delete_run(parent.info.run_id)
    assert served(study, store, "sweeps", ["started", grown, 6])["run_id"] != first.run_id


def served(study: Path, store: str, experiment: str, *calls: list[Any]) -> dict[str, str]:
    """Be the process that is fed these calls; returns its answers."""
    lines = "".join(json.dumps([name, 0, *arguments]) + "\n" for name, *arguments in calls)
    answers = io.StringIO()
    about = {"uri": store, "experiment": experiment, "name": "my study", "folder": str(study)}
    serve(about, io.StringIO(lines), Answers(answers))
    return {key: value for line in answers.getvalue().splitlines() for key, value in json.loads(line).items()}


def test_a_sweep_that_is_killed_leaves_no_run_running(client: MlflowClient, store: str, study: Path) -> None:
    served(study, store, "killed", ["started", AXES, 4])
    [parent], children = parents_and_children(client, "killed")
    assert (parent.info.status, parent.data.tags["status"]) == ("KILLED", "killed")
    assert len(children) == 4


def test_a_damaged_run_folder_is_no_failure_of_mlflow(client: MlflowClient, store: str, study: Path) -> None:
    (study / "runs" / "bptt-seed1" / "metrics.parquet").write_bytes(b"damaged")
    (study / "runs" / "bptt-seed0" / "results.json").write_text("{")
    calls = [["job_done", str(folder), "finished"] for folder in sorted((study / "runs").iterdir())]
    told = served(study, store, "damaged", ["started", AXES, 4], *calls, ["close", "finished"])
    assert told.keys() == {"run_id", "over"}
    [parent], children = parents_and_children(client, "damaged")
    assert parent.info.status == "FINISHED"
    assert sorted(run.info.run_name for run in children) == ["osttp-seed0", "osttp-seed1"]
    assert parent.data.metrics["acc/osttp"] == 0.625


@pytest.mark.parametrize("fault", ["store", "command"])
def test_a_failure_warns_once_and_the_sweep_goes_on(
    fault: str, study: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "command":
        monkeypatch.setattr("sys.executable", str(study / "no-python"))
    with caplog.at_level(logging.WARNING, logger="workbench.tracking_study"):
        tracking = tracked(study, "nonsense://me:secret@store", "tests")
    assert tracking.failure is not None
    [message] = [record.getMessage() for record in caplog.records if record.name.startswith("workbench")]
    assert "The sweep goes on" in message
    assert "secret" not in message.partition(" stopped:")[0]
    assert {"store": "nonsense", "command": "no-python"}[fault] in message


def test_mlflow_is_imported_in_the_other_process_alone() -> None:
    code = "import sys, workbench.tracking_study; print({'mlflow', 'torch', 'avalanche'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "set()\n"


def test_a_run_is_pushed_once_unless_again(
    client: MlflowClient, store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "it's a run")
    outcomes = []
    for more in ((), (), ("--again",)):
        assert cli.main(["track", "push", str(run), "--uri", store, "--experiment", "single", *more]) == 0
        shown = capsys.readouterr()
        assert shown.err == ""
        outcomes.append(re.search("sent|there already", shown.out))
    assert [found[0] for found in outcomes if found] == ["sent", "there already", "sent"]
    assert len(runs_in(client, "single")) == 2
    # The same results under another name are another run, and other results under the same name too.
    [renamed] = push_all([Path(run.rename(tmp_path / "b"))], store, "single", False, [])
    assert renamed.what == "sent"
    [other] = push_all([write_run(tmp_path / "c" / "b", acc=0.75)], store, "single", False, [])
    assert other.what == "sent"
    [default] = push_all([tmp_path / "b"], store, None, False, [])
    assert default.experiment == "digits"


def test_pushed_numbers_stand_at_their_times(client: MlflowClient, store: str, tmp_path: Path) -> None:
    [pushed] = push_all([write_run(tmp_path / "timed")], store, "times", False, [])
    assert pushed.run_id is not None
    run = client.get_run(pushed.run_id)
    assert (run.info.start_time, run.info.end_time) == (STARTED, STARTED + 80_000)
    losses = client.get_metric_history(pushed.run_id, "train_loss")
    # Two tasks took 30 and 10 of 40 s, the whole run 80 s.
    told = sorted((one.step, one.timestamp - STARTED) for one in losses)
    assert told == [(1, 30_000), (2, 60_000), (3, 70_000), (4, 80_000)]
    accuracies = client.get_metric_history(pushed.run_id, "test_accuracy/task_0")
    assert sorted(one.timestamp - STARTED for one in accuracies) == [60_000, 80_000]


def test_a_study_is_pushed_as_a_sweep_would_be_tracked(client: MlflowClient, store: str, study: Path) -> None:
    write_run(study / "runs" / "bptt-seed9", seed=9, status="failed")
    (study / "runs" / "begun").mkdir()
    for name in ("config.yaml", "environment.json"):
        (study / "runs" / "begun" / name).write_text("{}")
    [outcome] = push_all([study], store, "pushed study", False, [])
    assert outcome.what == "5 runs sent, 1 without results"
    [parent], children = parents_and_children(client, "pushed study")
    assert (parent.info.run_name, parent.info.status) == ("a study's folder", "FAILED")
    assert parent.data.params["learner"] == "bptt, osttp"
    assert (len(children), parent.data.metrics["acc/bptt"]) == (5, 0.625)
    assert sorted({run.info.status for run in children}) == ["FAILED", "FINISHED"]
    # Without a name the store's own notes on the study count, not the scenario.
    [again] = push_all([study], store, None, False, [])
    assert (again.what, again.experiment) == (
        "0 runs sent, 5 there already, 1 without results",
        "pushed study",
    )
    assert len(runs_in(client, "pushed study")) == 6
    copy = push_study(study, [study / "runs" / "bptt-seed0"], store, "pushed study", again=True)
    assert copy.run_id not in {None, parent.info.run_id}


def test_faulty_folders_are_told_and_the_others_sent(
    client: MlflowClient, store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = write_run(tmp_path / "all" / "good"), write_run(tmp_path / "all" / "bad")
    (bad / "metrics.parquet").unlink()
    assert cli.main(["track", "push", str(good.parent), "--uri", store, "--experiment", "faulty"]) == 2
    shown = capsys.readouterr()
    assert f"{bad / 'metrics.parquet'} does not exist" in shown.err
    assert [run.info.run_name for run in runs_in(client, "faulty")] == ["good"]
    assert cli.main(["track", "push", str(tmp_path / "nowhere"), "--uri", store]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_a_store_that_does_not_take_it_is_told_without_password(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["track", "push", str(study / "runs"), "--uri", "nonsense://me:secret@store"]) == 2
    assert "error: MLflow at nonsense://store" in capsys.readouterr().err
    with pytest.raises(WorkbenchError, match="nonsense://store does not take"):
        StudyRecord("nonsense://me:secret@store", "tests", "name", study).open({}, 1)


@pytest.mark.timeout(600)
def test_the_page_is_served_on_loopback_with_every_run_and_ends_with_its_workers(
    client: MlflowClient, store: str, tmp_path: Path
) -> None:
    [pushed] = push_all([write_run(tmp_path / "shown")], store, "page", False, [])
    port = free_port()
    code = f"import sys; from workbench.cli import main; sys.exit(main(['ui', '--uri', '{store}', '--port', '{port}']))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-u", "-c", code], stdout=subprocess.PIPE, text=True, env=environment
    ) as ui:
        assert ui.stdout is not None
        try:
            assert store_name(store) in ui.stdout.readline()
            assert ui.stdout.readline().startswith(f"http://127.0.0.1:{port} ")
            page = fetch(f"http://127.0.0.1:{port}/")
            assert "<!doctype html>" in page[:200].lower()
            assert "MLflow" in page
            assert '"shown"' in fetch(
                f"http://127.0.0.1:{port}/api/2.0/mlflow/runs/get?run_id={pushed.run_id}"
            )
            artefact = f"http://127.0.0.1:{port}/get-artifact?path=results.json&run_uuid={pushed.run_id}"
            assert fetch(artefact) == (tmp_path / "shown" / "results.json").read_text()
            with pytest.raises(ConfigurationError, match="in use"), serving(store, port):
                pass
            # An address of this machine too, on which a server that listens everywhere would answer.
            assert not answers(port, "127.0.0.2")
        finally:
            ui.send_signal(signal.SIGINT)
            rest = ui.stdout.read()
        assert ui.wait(30) == 0
        assert "ended" in rest
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and answers(port):
        time.sleep(0.1)
    assert not answers(port)


def fetch(address: str) -> str:
    with build_opener(ProxyHandler({})).open(address, timeout=30) as answer:
        return str(answer.read().decode())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int, address: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0


@pytest.mark.parametrize("uri", ["sqlite:///{}/none.db", "{}/mlruns", "file://{}/mlruns"])
def test_a_store_that_is_not_there_is_told(
    uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["ui", "--uri", uri.format(tmp_path)]) == 2
    shown = capsys.readouterr()
    assert f"no MLflow store at {tmp_path}" in shown.err
    assert shown.out == ""
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="track push"):
        check_store(uri.format(tmp_path))


def test_a_server_has_its_own_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ui", "--uri", "https://me:secret@host/x"]) == 2
    assert "https://host/x is a server with a page of its own" in capsys.readouterr().err


def test_a_server_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho out of order >&2\nexit 3\n")
    script.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(script))
    with (
        pytest.raises(WorkbenchError, match=r"(?s)code 3:.*out of order"),
        serving("sqlite:///x.db", free_port()),
    ):
        pass
