"""What two run folders hold is compared to the last bit, and the first difference is told with its place."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.bitwise import (
    Comparison,
    compare_checkpoints,
    compare_metrics,
    compare_results,
    first_difference,
    leaves,
    same,
)
from workbench.checkpoint import Checkpoint
from workbench.runfolder import MetricRow

RESULTS = {
    "scenario": "split-digits",
    "learner": "osttp",
    "seed": 3,
    "tasks": ["one", "two"],
    "dataset": {"name": "digits", "digest": "ab12" * 16, "synthetic": False, "notice": ""},
    "R": [[0.5, None], [0.1 + 0.2, 1.0]],
    "baseline": [0.25, 0.5],
    "memory": {"formula": {"traces": 12, "total": 12}},
    "time": {"total": 3.0},
    "throughput": [1.0],
    "versions": {"code": None},
    "config": {"seed": 3},
}


def by_name(comparisons: list[Comparison]) -> dict[str, Comparison]:
    return {one.name: one for one in comparisons}


def test_equal_results_are_equal_whatever_the_clock_and_the_notice_say() -> None:
    again = RESULTS | {
        "time": {"total": 9.0},
        "throughput": [7.0],
        "versions": {},
        "config": {},
        "dataset": {**RESULTS["dataset"], "notice": "no network today"},  # type: ignore[dict-item]
    }
    found = by_name(compare_results(RESULTS, again))
    assert {one.difference for one in found.values()} == {None}
    assert found["R"].extent == "4 numbers"
    assert found["data"].extent == "ab12ab12ab12, digits"


@pytest.mark.parametrize(
    ("key", "value", "name", "told"),
    [
        ("R", [[0.5, None], [0.3, 1.0]], "R", "R[1][0]: saved 0.30000000000000004, rerun 0.3"),
        ("R", [[0.5, 0.0], [0.1 + 0.2, 1.0]], "R", "R[0][1]: saved None, rerun 0.0"),
        ("R", [[0.5, None]], "R", "R[1][0]: only the saved run has it"),
        ("baseline", [0.25, 0.5, 0.5], "untrained network", "baseline[2]: only the rerun has it"),
        ("memory", {"formula": {"traces": 12.0, "total": 12}}, "memory", "saved 12, rerun 12.0"),
        (
            "dataset",
            {"name": "digits", "digest": "cd34" * 16, "synthetic": False},
            "data",
            f"dataset.digest: saved {'ab12' * 16}, rerun {'cd34' * 16}",
        ),
    ],
)
def test_the_first_difference_is_told(key: str, value: object, name: str, told: str) -> None:
    found = by_name(compare_results(RESULTS, RESULTS | {key: value}))
    assert [one.name for one in found.values() if one.difference is not None] == [name]
    assert told in str(found[name].difference)


def test_what_a_later_version_adds_is_named_and_what_it_drops_is_a_difference() -> None:
    found = by_name(compare_results(RESULTS, RESULTS | {"energy": {"total": 1.0}, "learned": [0.5]}))
    assert found["further results"].omitted == "energy: the saved run has none"
    assert found["measures"].omitted == "learned: the saved run has none"
    assert all(one.difference is None for one in found.values())
    grown = {"formula": {"traces": 12, "replay": 0, "total": 12}, "measured": {"total": 3}}
    memory = by_name(compare_results(RESULTS, RESULTS | {"memory": grown}))["memory"]
    assert memory == Comparison(
        "memory", "2 numbers; the saved run lacks memory.formula.replay, memory.measured"
    )
    assert by_name(compare_results(RESULTS | {"memory": grown}, RESULTS))["memory"].difference is not None
    found = by_name(compare_results(RESULTS | {"energy": {"total": 1.0}}, RESULTS))
    assert found["further results"].difference == "energy.total: only the saved run has it"


numbers = st.floats(allow_nan=True) | st.integers() | st.none() | st.booleans()
nested = st.recursive(
    numbers, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12
)


@given(nested)
def test_a_value_is_the_same_as_itself(value: object) -> None:
    assert first_difference(list(leaves(value)), list(leaves(value))) is None


@given(st.floats(allow_nan=False), st.booleans())
def test_the_next_number_is_another(value: float, upwards: bool) -> None:
    other = math.nextafter(value, math.inf if upwards else -math.inf)
    assert same(value, other) == (other == value)


def row(value: float, key: str = "train_loss", epoch: int | None = 0) -> MetricRow:
    return MetricRow(1, 0, epoch, key, value)


def test_metrics_are_compared_row_by_row_but_for_times_and_new_keys() -> None:
    saved = [row(0.5), row(3.0, "seconds", None), row(math.nan, "test_loss/task_0", None)]
    again = [
        row(0.5),
        row(4.0, "seconds", None),
        row(1.0, "dormant"),
        row(math.nan, "test_loss/task_0", None),
    ]
    found = compare_metrics(saved, again)
    assert found == Comparison("metrics", "2 rows, times left out; the saved run lacks dormant")
    again[0] = row(0.5 + 2**-53)
    told = compare_metrics(saved, again).difference
    assert told == "train_loss of task 0, epoch 0: saved 0.5, rerun 0.5000000000000001"
    assert compare_metrics(saved, [saved[0]]).difference == (
        "test_loss/task_0 of task 0, at the end: only the saved run has it"
    )


def checkpoint(path: Path, weight: torch.Tensor, rate: float = 0.1, epoch: int = 1) -> Path:
    optimiser = {"state": {0: {"step": torch.tensor(2.0)}}, "param_groups": [{"lr": rate}]}
    network = {"layers.0.weight": weight, "empty": torch.zeros(0)}
    Checkpoint(1, epoch, network, optimiser, {}, [{"memory": torch.tensor([1])}]).save(path)
    return path


@pytest.fixture
def weight() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, 3, generator=generator)


def test_checkpoints_are_compared_bit_for_bit(tmp_path: Path, weight: torch.Tensor) -> None:
    one = checkpoint(tmp_path / "one.pt", weight)
    equal = compare_checkpoints(one, checkpoint(tmp_path / "two.pt", weight.clone()))
    assert equal == [
        Comparison("weights", "12 numbers"),
        Comparison("optimiser", "2 numbers"),
        Comparison("rule, modifiers", "1 number"),
    ]
    other = weight.clone()
    other[2, 1] = torch.nextafter(other[2, 1], torch.tensor(math.inf))
    other[3, 0] = -other[3, 0]
    found = by_name(compare_checkpoints(one, checkpoint(tmp_path / "three.pt", other, rate=0.2)))
    saved, new = weight[2, 1].item(), other[2, 1].item()
    assert saved != new
    assert found["weights"].difference == (
        f"layers.0.weight[2, 1]: saved {saved!r}, rerun {new!r} (2 of 12 differ)"
    )
    assert found["optimiser"].difference == "param_groups[0].lr: saved 0.1, rerun 0.2"
    assert found["rule, modifiers"].difference is None


def test_zeros_of_both_signs_differ_and_equal_nans_do_not(tmp_path: Path) -> None:
    one = checkpoint(tmp_path / "one.pt", torch.tensor([math.nan, 0.0]))
    assert compare_checkpoints(one, one)[0].difference is None
    other = checkpoint(tmp_path / "two.pt", torch.tensor([math.nan, -0.0]))
    assert "[1]: saved 0.0, rerun -0.0" in str(compare_checkpoints(one, other)[0].difference)


@pytest.mark.parametrize("value", [torch.zeros(3, 4), torch.zeros(4, 3, dtype=torch.float64)])
def test_another_shape_or_type_is_told(tmp_path: Path, weight: torch.Tensor, value: torch.Tensor) -> None:
    files = checkpoint(tmp_path / "one.pt", weight), checkpoint(tmp_path / "two.pt", value)
    told = str(compare_checkpoints(*files)[0].difference)
    assert "saved [4, 3] torch.float32" in told
    assert str(value.dtype) in told


def test_weights_that_are_not_there_are_not_compared(tmp_path: Path, weight: torch.Tensor) -> None:
    again = checkpoint(tmp_path / "again.pt", weight)
    [absent] = compare_checkpoints(tmp_path / "checkpoint.pt", again)
    assert absent.omitted == "the saved run has no checkpoint.pt"
    (tmp_path / "checkpoint.pt").write_bytes(b"nonsense")
    [damaged] = compare_checkpoints(tmp_path / "checkpoint.pt", again)
    assert "damaged" in str(damaged.omitted)
    [early] = compare_checkpoints(checkpoint(tmp_path / "early.pt", weight, epoch=0), again)
    assert "task 1, epoch 0" in str(early.omitted)
    Checkpoint(1, 1, {}, {}, {}, []).save(tmp_path / "bare.pt")
    [bare] = compare_checkpoints(tmp_path / "bare.pt", again)
    assert str(bare.omitted) == f"{tmp_path / 'bare.pt'} holds none"
