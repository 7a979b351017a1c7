"""The study: what is finished is read, what was broken off goes on, the table says what was found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.spoken_digits import Cell, markdown, parser, record, study
from benchmarks.studies import finished_or_run
from workbench.config import ExperimentConfig, resolve
from workbench.errors import ConfigurationError
from workbench.events import RunPlan
from workbench.results import build_results
from workbench.runfolder import RunFolder

ARGUMENTS = ["--learners", "osttp", "--seeds", "0,1", "--tasks", "1,2", "--settings", "class"]


def results_of(config: ExperimentConfig, status: str = "finished") -> dict[str, Any]:
    tasks = config.scenario.config.tasks
    plan = RunPlan(
        scenario="split-shd",
        learner=config.learner.name,
        backbone="lif",
        hardware="ideal",
        seed=config.seed,
        dataset={"name": "x", "synthetic": True, "digest": "", "notice": ""},
        task_names=[str(task) for task in range(tasks)],
        samples=[10] * tasks,
        epochs=1,
        config=config.to_dict(),
    )
    matrix = [[0.8 + 0.1 * config.seed] * tasks for _ in range(tasks)]
    memory = {kind: {"traces": 2_000_000} for kind in ("formula", "measured")}
    return build_results(plan, matrix, None, memory, {"train": 3.0}, status)


class FakeRun:
    """Writes a run folder at once, and remembers how it was called."""

    def __init__(self, status: str = "finished") -> None:
        self.status = status
        self.calls: list[tuple[str, bool]] = []

    def __call__(
        self, config: ExperimentConfig, out: Path, observers: object, *, resume: bool
    ) -> dict[str, Any]:
        self.calls.append((out.name, resume))
        folder = RunFolder(out) if resume else RunFolder.create(out, config.to_dict(), {})
        results = results_of(config, self.status)
        folder.write_results(results)
        return results


def test_a_study_runs_every_cell_and_seed_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = parser().parse_args([*ARGUMENTS, "--out", str(tmp_path), "train.epochs=3"])
    run = FakeRun()
    lines = study(options, run)
    assert [call[0] for call in run.calls] == [
        f"osttp-{setting}-seed{seed}" for setting in ("joint-1", "class-2") for seed in (0, 1)
    ]
    assert lines[0]["acc"] == pytest.approx(0.85)
    assert lines[0]["acc_std"] == pytest.approx(0.1 / 2**0.5)
    config = json.loads((tmp_path / "osttp-class-2-seed1" / "results.json").read_text())["config"]
    assert (config["train"]["epochs"], config["track"]["mlflow"]) == (3, False)
    again = FakeRun()
    assert study(options, again) == lines
    assert again.calls == []
    assert "osttp-joint-1-seed0: accuracy 80.0 %" in capsys.readouterr().out


def test_a_broken_off_run_goes_on(tmp_path: Path) -> None:
    config = resolve(["scenario.tasks=1", "learner=osttp"])
    with pytest.raises(KeyboardInterrupt):
        finished_or_run(config, tmp_path / "run", FakeRun("interrupted"))
    run = FakeRun()
    assert finished_or_run(config, tmp_path / "run", run)["status"] == "finished"
    assert run.calls == [("run", True)]


def test_a_folder_with_other_settings_is_left_alone(tmp_path: Path) -> None:
    finished_or_run(resolve(["scenario.tasks=1", "seed=1"]), tmp_path / "run", FakeRun())
    with pytest.raises(ConfigurationError, match="other settings"):
        finished_or_run(resolve(["scenario.tasks=1", "seed=2"]), tmp_path / "run", FakeRun())


def test_the_table_has_a_row_a_cell_and_names_synthetic_data() -> None:
    runs = [results_of(resolve(["scenario.tasks=2", f"seed={seed}"])) for seed in (0, 1)]
    joint = [results_of(resolve(["scenario.tasks=1"]))]
    text = markdown([record(Cell("osttp", "class", 2), runs), record(Cell("bptt", "joint", 1), joint)])
    rows = text.splitlines()
    assert rows[2] == "| osttp | class | 2 | 2 | 85.0 ± 7.1 | 0.0 ± 0.0 | 0.0 ± 0.0 | 2.0 | 2.0 | 3.0 s |"
    assert rows[3] == "| bptt | joint | 1 | 1 | 80.0 | – | – | 2.0 | 2.0 | 3.0 s |"
    assert "synthetic" in text


def test_a_wrong_setting_is_told_before_anything_runs(tmp_path: Path) -> None:
    options = parser().parse_args([*ARGUMENTS, "--out", str(tmp_path), "train.epoch=3"])
    run = FakeRun()
    with pytest.raises(ConfigurationError, match=r"train\.epoch"):
        study(options, run)
    assert run.calls == []
