"""A run's folder: what is written can be read, what is damaged is named, nothing is left half-written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import yaml

from workbench.errors import ConfigurationError, DataError
from workbench.events import Observer, RunPlan
from workbench.journal import Journal
from workbench.runfolder import (
    MetricRow,
    MetricsRecorder,
    RunFolder,
    build_results,
    read_environment,
    read_metrics,
    read_results,
    replay,
    write_atomically,
)

PLAN = RunPlan(
    scenario="split-digits",
    learner="bptt",
    backbone="lif",
    hardware="ideal",
    seed=0,
    dataset={"name": "digits", "synthetic": False, "digest": "ab12", "notice": ""},
    task_names=("first", "second"),
    samples=(20, 30),
    epochs=2,
    config={"learner": {"name": "bptt", "lr": 1e-3}, "scenario": {"name": "split-digits"}},
)


class Scribe(Observer):
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def run_started(self, plan: RunPlan) -> None:
        self.heard.append(("started", plan.scenario, tuple(plan.task_names)))

    def task_started(self, task: int) -> None:
        self.heard.append(("task", task))

    def epoch_done(self, task: int, epoch: int, metrics: Mapping[str, float]) -> None:
        self.heard.append(("epoch", task, epoch, dict(metrics)))

    def task_done(self, task: int, accuracies: Sequence[float], metrics: Mapping[str, float]) -> None:
        self.heard.append(("done", task, list(accuracies), dict(metrics)))

    def run_finished(self, results: Mapping[str, Any]) -> None:
        self.heard.append(("finished", results["status"]))


def run(*observers: Observer, tasks: int = 2) -> list[list[float]]:
    """Tell a small run; the last task of an interrupted one breaks off after its first epoch."""
    matrix = []
    for observer in observers:
        observer.run_started(PLAN)
    for task in range(2):
        for observer in observers:
            observer.task_started(task)
            observer.epoch_done(task, 0, {"train_loss": 2.0 - task, "train_accuracy": 0.25})
            if task < tasks:
                observer.epoch_done(task, 1, {"train_loss": 1.5 - task, "train_accuracy": 0.5})
                observer.task_done(task, [0.75, 0.25 * (task + 1)], {"seconds": 1.25})
        if task >= tasks:
            break
        matrix.append([0.75, 0.25 * (task + 1)])
    return matrix


def write_run(path: Path, tasks: int = 2, status: str = "finished") -> tuple[RunFolder, Scribe]:
    folder = RunFolder.create(path, PLAN.config, {"code": None})
    recorder, scribe = MetricsRecorder(folder), Scribe()
    matrix = run(recorder, scribe, tasks=tasks)
    results = build_results(PLAN, matrix, [0.1, 0.1], {"formula": {}, "measured": {}}, {"train": 1.0}, status)
    folder.write_results(results)
    for observer in (recorder, scribe):
        observer.run_finished(results)
    return folder, scribe


def test_a_folder_holds_configuration_and_environment_from_the_start(tmp_path: Path) -> None:
    folder = RunFolder.create(
        tmp_path / "runs" / "one", PLAN.config, {"code": {"commit": "abc", "dirty": False}}
    )
    assert yaml.safe_load(folder.config_file.read_text()) == PLAN.config
    assert read_environment(folder.path)["code"]["commit"] == "abc"
    assert sorted(file.name for file in folder.path.iterdir()) == ["config.yaml", "environment.json"]


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    before = {file: file.read_bytes() for file in (tmp_path / "run").iterdir()}
    with pytest.raises(ConfigurationError, match="holds a run already"):
        RunFolder.create(tmp_path / "run", {"other": True}, {})
    assert {file: file.read_bytes() for file in (tmp_path / "run").iterdir()} == before


def test_a_folder_that_cannot_be_made_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match="cannot write a run folder"):
        RunFolder.create(tmp_path / "file" / "run", {}, {})


def test_results_and_metrics_come_back(tmp_path: Path) -> None:
    folder, _ = write_run(tmp_path / "run")
    assert read_results(folder.path) == read_results(folder.results_file)
    assert read_results(folder.path)["R"] == [[0.75, 0.25], [0.75, 0.5]]
    rows = read_metrics(folder.path)
    assert rows[0] == MetricRow(1, 0, 0, "train_loss", 2.0)
    assert MetricRow(4, 1, None, "test_accuracy/task_1", 0.5) in rows
    steps = [row.step for row in rows]
    assert steps == sorted(steps)
    assert steps[-1] == 4
    assert len(rows) == 4 * 2 + 2 * 3
    assert pyarrow.parquet.read_table(folder.metrics_file).column_names == [
        "step",
        "task",
        "epoch",
        "key",
        "value",
    ]


def test_metrics_are_on_disk_while_the_run_goes_on_and_when_interrupted(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, PLAN.config, {})
    recorder, journal = MetricsRecorder(folder), Journal(folder.journal_file)
    for each in (recorder, journal):
        run(each, tasks=1)
    with pytest.raises(DataError, match=r"metrics\.parquet does not exist"):
        read_metrics(tmp_path)
    journal.commit()
    live = read_metrics(tmp_path)
    assert live[-1] == MetricRow(3, 1, 0, "train_accuracy", 0.25)
    recorder.run_finished({"status": "interrupted"})
    folder.journal_file.unlink()
    assert read_metrics(tmp_path) == live


def test_a_run_without_a_number_still_leaves_a_readable_file(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, {}, {})
    MetricsRecorder(folder).run_finished({})
    assert read_metrics(tmp_path) == []


def test_a_number_that_is_none_survives_as_nan_in_metrics_and_null_in_results(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, {}, {})
    folder.write_metrics([MetricRow(1, 0, 0, "train_loss", math.nan)])
    assert math.isnan(read_metrics(tmp_path)[0].value)
    folder.write_results({"loss": math.inf})
    assert json.loads(folder.results_file.read_text()) == {"loss": None}


@pytest.mark.parametrize(("tasks", "status"), [(2, "finished"), (1, "interrupted")])
def test_replay_tells_what_the_run_told(tmp_path: Path, tasks: int, status: str) -> None:
    folder, live = write_run(tmp_path, tasks=tasks, status=status)
    again = Scribe()
    replay(folder.path, again)
    assert again.heard == live.heard


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    folder, _ = write_run(tmp_path / "run")
    with pytest.raises(DataError, match=r"results\.json does not exist"):
        read_results(tmp_path)
    with pytest.raises(DataError, match=r"metrics\.parquet does not exist"):
        read_metrics(tmp_path)

    folder.results_file.write_text(folder.results_file.read_text()[:-20])
    with pytest.raises(DataError, match=r"results\.json is damaged"):
        read_results(folder.path)
    folder.results_file.write_text('{"acc": 1, "bwt": 0}')
    with pytest.raises(DataError, match=r"lacks R, backbone"):
        read_results(folder.path)
    folder.results_file.write_bytes(b"[1, 2]")
    with pytest.raises(DataError, match="JSON object, not list"):
        read_results(folder.path)
    folder.results_file.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="damaged"):
        read_results(folder.path)

    folder.metrics_file.write_bytes(folder.metrics_file.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"metrics\.parquet is damaged"):
        read_metrics(folder.path)
    pyarrow.parquet.write_table(pyarrow.table({"step": [1]}), folder.metrics_file)
    with pytest.raises(DataError, match="must have the columns"):
        read_metrics(folder.path)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = write_run(tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(TypeError):
        folder.write_results({"odd": object()})

    def full(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(folder.results_file, b"{}")
    with pytest.raises(KeyboardInterrupt):
        folder.write_metrics([MetricRow(1, 0, 0, "x", 1.0)])
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_an_interrupted_run_is_valid_and_says_so(tmp_path: Path) -> None:
    folder, _ = write_run(tmp_path, tasks=1, status="interrupted")
    results = read_results(folder.path)
    assert (results["status"], results["acc"], results["R"]) == ("interrupted", 0.75, [[0.75, 0.25]])
