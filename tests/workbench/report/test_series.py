"""The numbers behind charts, against sums by hand and a brute-force front."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
from fixtures.compared import write_run
from fixtures.reported import write_group
from hypothesis import given
from hypothesis import strategies as st

from workbench.compare.collect import Group, collect, grouped
from workbench.errors import DataError
from workbench.report import series
from workbench.runfolder import MetricRow, RunFolder

T_OF_THREE = 4.302652729911275
"""97.5 % quantile of Student's t with two degrees of freedom."""


def groups(folder: Path) -> list[Group]:
    return grouped(collect([folder]))


def interval(values: list[float]) -> tuple[float, float, float]:
    """Return mean and 95 % interval of three values."""
    mean = sum(values) / 3
    half = T_OF_THREE * math.sqrt(sum((value - mean) ** 2 for value in values) / 2 / 3)
    return mean, mean - half, mean + half


def test_accuracy_on_the_tasks_seen_is_a_mean_over_seeds_of_means_over_tasks(tmp_path: Path) -> None:
    write_group(tmp_path, "bptt", 0)
    first, second = series.seen_accuracy(groups(tmp_path))
    assert first == {"group": "bptt", "tasks": 1, "mean": 90.0, "seeds": 3, "low": 90.0, "high": 90.0}
    mean, low, high = interval([100 * (0.4 + 0.01 * seed + 0.8) / 2 for seed in range(3)])
    assert (second["mean"], second["low"], second["high"]) == pytest.approx((mean, low, high), rel=1e-4)


def test_a_task_not_tested_is_left_out_of_means(tmp_path: Path) -> None:
    write_run(tmp_path / "a", R=[[0.5, None], [None, 0.25]])
    rows = series.seen_accuracy(groups(tmp_path))
    assert [row["mean"] for row in rows] == [50.0, 25.0]
    assert not any("low" in row for row in rows)
    matrix, every = series.accuracy_matrix(groups(tmp_path))
    assert [(row["after"], row["task"], row["accuracy"]) for row in matrix] == [(1, 1, 50.0), (2, 2, 25.0)]
    assert every == 1


def test_large_matrices_show_each_nth_task_and_the_last(tmp_path: Path) -> None:
    tasks = 200
    rows = [[0.5] * tasks for _ in range(tasks)]
    write_run(tmp_path / "a", R=rows, tasks=[f"task {number}" for number in range(tasks)])
    matrix, every = series.accuracy_matrix(groups(tmp_path))
    shown = sorted({row["task"] for row in matrix})
    assert every == 2
    assert shown[-1] == tasks
    assert {later - earlier for earlier, later in itertools.pairwise(shown)} == {every}
    assert len(matrix) == len(shown) ** 2 <= series.MOST_CELLS


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_the_front_holds_what_nothing_beats(points: list[tuple[int, int]]) -> None:
    expected = []
    for one in points:
        beaten = False
        for other in points:
            no_worse = other[0] <= one[0] and other[1] <= one[1]
            beaten |= no_worse and (other[0] < one[0] or other[1] < one[1])
        expected.append(not beaten)
    assert series.pareto(points) == expected


def test_trades_know_which_way_is_better(tmp_path: Path) -> None:
    # More memory, less forgetting, more accuracy: all on both fronts, but for the one that costs more for nothing.
    for place, learner in enumerate(("a", "b", "c")):
        write_group(tmp_path, learner, place)
    write_group(tmp_path, "worse", 0, memory={"measured": {"total": 10**7}, "formula": {}})
    for measure, higher in (("forgetting", False), ("acc", True)):
        rows = series.trades(groups(tmp_path), measure, higher=higher)
        assert {row["group"]: row["front"] for row in rows} == {
            "a": True,
            "b": True,
            "c": True,
            "worse": False,
        }
    assert rows[0]["memory"] == pytest.approx(100_000 / 2**20, rel=1e-4)


def test_memory_parts_add_up_and_come_by_formula_where_nothing_was_measured(tmp_path: Path) -> None:
    write_group(tmp_path, "bptt", 0)
    formula = {"formula": {"parameters": 2**20, "replay": 2**21, "total": 3 * 2**20}, "measured": {}}
    write_group(tmp_path, "dry", 0, memory=formula)
    rows = series.memory_parts(groups(tmp_path))
    parts = {(row["group"], row["part"]): row["mean"] for row in rows}
    assert sum(mean for (group, _), mean in parts.items() if group == "bptt") == pytest.approx(
        1e5 / 2**20, rel=1e-4
    )
    assert {key: mean for key, mean in parts.items() if key[0] == "dry"} == {
        ("dry", "parameters"): 1.0,
        ("dry", "replay"): 2.0,
    }


def test_layers_and_steps_keep_their_places(tmp_path: Path) -> None:
    write_group(tmp_path, "bptt", 1)
    found = groups(tmp_path)
    rows = series.by_layer(found, "dormant", 100.0)
    assert [(row["layer"], row["tasks"], row["mean"]) for row in rows] == [
        ("hidden layer 1", 1, 0.0),
        ("hidden layer 1", 2, 12.5),
        ("hidden layer 2", 1, 25.0),
        ("hidden layer 2", 2, 50.0),
    ]
    steps = series.memory_by_steps(found)
    assert [(row["steps"], row["mean"]) for row in steps] == [
        (10, series.short(2e5 / 2**20)),
        (100, series.short(4e5 / 2**20)),
        (1000, series.short(6e5 / 2**20)),
    ]


def test_alignment_is_by_layer_and_pass(tmp_path: Path) -> None:
    write_group(tmp_path, "bptt", 5)
    rows = series.gradient_alignment(groups(tmp_path))
    assert [row["layer"] for row in rows[::3]] == ["hidden layer 1", "hidden layer 2", "readout"]
    assert [(row["epochs"], row["mean"], row["seeds"]) for row in rows[:3]] == [
        (1, 0.95, 3),
        (2, 0.9, 3),
        (3, 0.85, 3),
    ]


def test_long_curves_are_thinned_by_averaging_neighbours_within_each_seed(tmp_path: Path) -> None:
    for seed in range(3):
        run = write_run(tmp_path / str(seed), seed=seed)
        RunFolder(run).write_metrics(
            MetricRow(step, 0, step, "gradient_cosine/readout", step / 1000 + seed) for step in range(1, 121)
        )
    rows = series.gradient_alignment(groups(tmp_path))
    assert [row["epochs"] for row in rows] == list(range(3, 121, 3))
    # Steps 1, 2, 3 in the mean; the spread is that of three seeds, not of nine numbers.
    mean, low, high = interval([0.002, 1.002, 2.002])
    assert (rows[0]["mean"], rows[0]["low"], rows[0]["high"]) == pytest.approx((mean, low, high), rel=1e-4)


def test_damaged_metrics_are_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a")
    assert series.gradient_alignment(groups(tmp_path)) == []
    (run / "metrics.parquet").write_bytes(b"no table")
    with pytest.raises(DataError, match=r"a/metrics\.parquet is damaged"):
        series.gradient_alignment(groups(tmp_path))


@pytest.mark.parametrize(
    "absent", [{}, {"memory_by_steps": None, "spike_rates": None, "dormant": None, "energy": None}]
)
def test_what_runs_do_not_hold_gives_no_rows(absent: dict[str, Any], tmp_path: Path) -> None:
    write_run(tmp_path / "a", **absent)
    found = groups(tmp_path)
    assert series.memory_by_steps(found) == series.by_layer(found, "dormant") == []
    assert series.phases(found, {"energy_forward": "forward"}, 1.0) == series.single(found, "writes") == []
