"""The final page: right numbers, loud notices, commands that can be copied, at any width."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from workbench.events import RunPlan
from workbench.report.summary import summary
from workbench.report.units import clock, count, difference, duration, percent, short_path, size
from workbench.results import build_results

NOTICE = "This data is made by a machine; do not compare it."
MATRIX = [[0.9, 0.1, 0.0], [0.95, 0.8, 0.1], [0.4, 0.6, 0.7]]
MEMORY = {
    "formula": {"parameters": 2048, "traces": 1024, "replay": 0},
    "measured": {"parameters": 2048, "traces": 1126, "replay": 0},
}


def plan(learner: str = "osttp", tasks: int = 3, **dataset: Any) -> RunPlan:
    names = ("zero one", "two three", "four five")[:tasks]
    data = {"name": "digits", "synthetic": False, "digest": "ab12", "notice": ""} | dataset
    return RunPlan("split-digits", learner, "lif", "ideal", 7, data, names, (20,) * tasks, 2, {})


def results(
    status: str = "finished", rows: int = 3, of: RunPlan | None = None, **extra: Any
) -> dict[str, Any]:
    of = of or plan()
    tasks = len(of.task_names)
    matrix = [row[:tasks] for row in MATRIX[:rows]]
    time = {"train": 90.0, "evaluate": 10.0, "total": 100.0}
    return build_results(of, matrix, [0.1] * tasks, MEMORY, time, status, extra)


def text_of(content: dict[str, Any], width: int = 80, out: Path = Path("run"), **options: Any) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False, legacy_windows=False)
    console.print(summary(content, out, **options), crop=False)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def row(text: str, label: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.strip().startswith(label))
    return re.split(r"\s{2,}", line.strip().removeprefix(label).strip())


def test_accuracy_is_given_learned_final_and_forgotten() -> None:
    text = text_of(results())
    assert row(text, "1  zero one") == ["90.0", "40.0", "55.0"]
    assert row(text, "2  two three") == ["80.0", "60.0", "20.0"]
    assert row(text, "3  four five") == ["70.0", "70.0", "–"]
    assert "from the best accuracy since the task was learned" in text
    assert row(text, "ACC")[0] == "56.7 %"
    assert row(text, "BWT")[0] == "-35.0 points"
    assert row(text, "FWT")[0] == "0.0 points"
    assert row(text, "forgetting")[0] == "37.5 points"
    assert row(text, "untrained")[0] == "10.0 %"


def test_memory_shows_formula_beside_measurement_and_leaves_out_what_is_unused() -> None:
    text = text_of(results())
    assert row(text, "parameters") == ["2.00 KiB", "2.00 KiB", "0.0 %"]
    assert row(text, "traces") == ["1.00 KiB", "1.10 KiB", "+10.0 %"]
    assert row(text, "total") == ["3.00 KiB", "3.10 KiB", "+3.3 %"]
    assert "replay" not in text


def test_time_is_shared_out_and_speed_is_given() -> None:
    text = text_of(results(throughput={"samples_per_second": [100.0, 300.0]}))
    assert row(text, "train") == ["1 min 30 s", "90.0 %"]
    assert row(text, "evaluate") == ["10.0 s", "10.0 %"]
    assert "150 training samples per second (100 to 300 by task)" in text
    assert "120 training samples per second\n" in text_of(results(throughput=120))


@pytest.mark.parametrize(
    ("rates", "cells"),
    [
        ([0.5, 0.25], ["0.2500"]),
        ([[0.5, 0.125], [0.5, 0.25]], ["0.1250", "0.2500"]),
        ([{"layer 1": 0.5, "layer 2": 0.125}, {"layer 1": 0.5, "layer 2": 0.25}], ["0.1250", "0.2500"]),
        ({"layer 1": 0.5, "layer 2": 0.25}, ["0.2500"]),
        ({"layer 1": [0.5, 0.5], "layer 2": [0.125, None]}, ["0.1250", "–"]),
    ],
)
def test_spike_rates_are_shown_in_whatever_form_they_come(rates: Any, cells: list[str]) -> None:
    assert row(text_of(results(spike_rates=rates)), "layer 2") == cells


def test_what_is_absent_is_not_shown() -> None:
    bare = results()
    bare |= {"memory": {}, "time": {}, "baseline": None, "fwt": None}
    text = text_of(bare)
    for absent in ("Memory", "Time", "Spikes", "untrained", "per second"):
        assert absent not in text
    assert row(text, "FWT")[0] == "–"


def test_one_task_is_not_said_to_transfer() -> None:
    text = text_of(results(of=plan(tasks=1), rows=1))
    assert row(text, "ACC")[0] == "90.0 %"
    assert "BWT" not in text


@pytest.mark.parametrize(("status", "rows"), [("interrupted", 2), ("interrupted", 0), ("failed", 1)])
def test_a_run_that_stopped_says_so_first(status: str, rows: int) -> None:
    text = text_of(results(status, rows, error="the disk is full"))
    assert text.strip().startswith(f"{status.upper()} after {rows} of 3 tasks. the disk is full")
    assert ("(not trained)" in text) == (rows > 0)
    assert "Files in run" in text


def test_a_hole_in_the_matrix_is_a_dash() -> None:
    content = results()
    content["R"][2][0] = None
    assert row(text_of(content), "1  zero one") == ["90.0", "–", "–"]


def test_the_notice_of_synthetic_data_is_loud() -> None:
    text = text_of(results(of=plan(synthetic=True, notice=NOTICE)))
    assert "SYNTHETIC DATA" in text
    assert NOTICE in text
    assert "digits is synthetic" in text_of(results(of=plan(synthetic=True)))
    assert "SYNTHETIC" not in text_of(results())


def test_the_next_commands_repeat_the_run_with_another_learner() -> None:
    overrides = ["scenario=split-shd", "learner=osttp", "learner.lr=0.1", "scenario.path=my data", "seed=4"]
    text = text_of(results(), overrides=overrides, tracking_uri="sqlite:///mlflow.db")
    assert "  workbench show learner osttp\n" in text
    assert "  workbench run scenario=split-shd learner=bptt 'scenario.path=my data' seed=4\n" in text
    assert "  mlflow ui --backend-store-uri sqlite:///mlflow.db\n" in text
    replay = text_of(results(of=plan("osttp+replay")))
    assert (
        "workbench run scenario=split-digits learner=bptt+replay backbone=lif hardware=ideal seed=7\n"
        in replay
    )
    assert "mlflow" not in replay
    exact = text_of(results(of=plan("bptt")), tracking_uri="http://server:5000")
    assert "workbench list" in exact
    assert "  http://server:5000\n" in exact


@pytest.mark.parametrize("width", [60, 80, 120])
def test_everything_fits_but_commands_and_paths_which_stay_whole(width: int) -> None:
    out = Path(
        "/a/rather/deep/folder/that/is/longer/than/any/of/the/widths/a/terminal/is/likely/to/have/runs/run-of-today"
    )
    content = results(of=plan(synthetic=True, notice=NOTICE * 3), spike_rates=[0.1, 0.2], throughput=100)
    lines = text_of(content, width, out, overrides=["x=" + "y" * 130, "learner=osttp"]).splitlines()
    assert f"Files in {out}" in lines
    assert f"  workbench run x={'y' * 130} learner=bptt" in lines
    assert all(len(line) <= width or str(out) in line or "yyyy" in line for line in lines)


def test_units_at_their_edges() -> None:
    assert [size(value) for value in (None, 1023, 1024, 10235, 1024**2 - 1)] == [
        "–",
        "1023 B",
        "1.00 KiB",
        "10.0 KiB",
        "1024 KiB",
    ]
    assert percent(-0.0001, sign=True) == "0.0"
    assert difference(None, 5) == difference(5, None) == difference(0, 0) == "–"
    assert [duration(value) for value in (None, math.inf, 59.96, 3599.6)] == [
        "–",
        "–",
        "1 min 00 s",
        "1 h 00 min",
    ]
    assert [clock(value) for value in (-1, 59.6, math.inf)] == ["0:00", "1:00", "-:--"]
    assert [count(value) for value in (None, 0, 999.96, 1234567)] == ["–", "0", "1,000", "1,234,567"]


def test_paths_are_short_inside_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert short_path(tmp_path / "runs" / "a") == str(Path("runs") / "a")
    assert short_path(tmp_path.parent) == str(tmp_path.parent.resolve())
