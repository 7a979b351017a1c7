"""results.json: its keys, its text, and what becomes of a run that stopped early."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.events import RunPlan
from workbench.results import REQUIRED_KEYS, build_results, plain, plan_of, to_json

PLAN = RunPlan(
    scenario="split-digits",
    learner="osttp+replay",
    backbone="lif",
    hardware="ideal",
    seed=3,
    dataset={"name": "digits", "synthetic": True, "digest": "ab12", "notice": "made up"},
    task_names=("zero to one", "two to three", "four to five"),
    samples=(20, 30, 40),
    epochs=2,
    config={"learner": {"lr": 1e-3}, "seed": 3},
)
MATRIX = [[0.75, 0.25, 0.0], [0.5, 1.0, 0.25], [0.25, 0.5, 1.0]]
MEMORY = {"formula": {"parameters": 400, "traces": 100}, "measured": {"parameters": 400, "total": 512}}


def results(**changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "plan": PLAN,
        "matrix": MATRIX,
        "baseline": [0.25, 0.125, 0.0],
        "memory": MEMORY,
        "time": {"train": 1.5, "evaluate": 0.5},
        "status": "finished",
    }
    return build_results(**(arguments | changes))


def test_a_finished_run_has_every_key_and_the_measures_of_its_matrix() -> None:
    content = results(extra={"spike_rates": np.array([0.5, 0.25])})
    assert content.keys() == REQUIRED_KEYS | {"spike_rates"}
    assert content["acc"] == pytest.approx((0.25 + 0.5 + 1.0) / 3)
    assert content["bwt"] == pytest.approx((-0.5 - 0.5) / 2)
    assert content["forgetting"] == pytest.approx((0.5 + 0.5) / 2)
    assert content["fwt"] == pytest.approx((0.125 + 0.25) / 2)
    assert content["memory"]["formula"] == {"parameters": 400, "traces": 100, "total": 500}
    assert content["memory"]["measured"]["total"] == 512
    assert content["time"]["total"] == 2.0
    assert content["tasks"] == list(PLAN.task_names)
    assert json.loads(to_json(content)) == content


def test_an_interrupted_run_is_measured_over_the_tasks_it_trained() -> None:
    after_two = results(matrix=MATRIX[:2], status="interrupted")
    assert (after_two["acc"], after_two["bwt"], after_two["forgetting"], after_two["fwt"]) == (
        0.75,
        -0.25,
        0.25,
        0.125,
    )
    after_one = results(matrix=MATRIX[:1], status="interrupted")
    assert (after_one["acc"], after_one["bwt"], after_one["forgetting"]) == (0.75, None, None)
    after_none = results(matrix=[], baseline=None, status="failed")
    assert (after_none["R"], after_none["acc"], after_none["fwt"]) == ([], None, None)
    assert after_none.keys() == REQUIRED_KEYS


def test_a_hole_in_the_matrix_costs_only_what_reads_it() -> None:
    ahead_unknown = [[0.75, math.nan, math.nan], [0.5, 1.0, math.nan], [0.25, 0.5, 1.0]]
    content = results(matrix=ahead_unknown)
    assert content["fwt"] is None
    assert content["bwt"] == -0.5
    assert content["R"][0] == [0.75, None, None]


def test_one_task_has_no_transfer() -> None:
    joint = RunPlan(**(PLAN.__dict__ | {"task_names": ("all",), "samples": (90,)}))
    content = results(plan=joint, matrix=[[0.875]], baseline=[0.1])
    assert [content[key] for key in ("acc", "bwt", "fwt", "forgetting")] == [0.875, None, None, None]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"status": "done"}, "finished, interrupted, failed"),
        ({"matrix": [[0.5, 0.5]]}, "rows of 3"),
        ({"matrix": [*MATRIX, MATRIX[0]]}, "at most 3 rows"),
        ({"baseline": [0.1]}, "3 accuracies"),
        ({"extra": {"acc": 1.0}}, "acc"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        results(**changes)


def test_the_plan_comes_back_from_the_results() -> None:
    plan = plan_of(json.loads(to_json(results())))
    assert plan.learner == PLAN.learner
    assert list(plan.task_names) == list(PLAN.task_names)
    assert plain(plan.__dict__) == plain(PLAN.__dict__)


def test_text_is_sorted_and_shows_the_matrix_as_rows() -> None:
    text = to_json(results(status="finished"))
    assert "    [0.75, 0.25, 0.0],\n    [0.5, 1.0, 0.25],\n    [0.25, 0.5, 1.0]\n" in text
    keys = list(json.loads(text))
    assert keys == sorted(keys)
    shuffled = dict(reversed(list(results().items())))
    assert to_json(shuffled) == text


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), values, max_size=3))
def test_text_is_valid_json_of_the_plain_content(content: dict[str, Any]) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    assert json.loads(to_json(content), parse_constant=refuse) == plain(content)


def test_what_is_not_plain_is_refused_and_what_can_be_is_unpacked() -> None:
    assert plain({"a": np.float32(0.5), "b": Path("runs") / "1", 3: np.inf}) == {
        "a": 0.5,
        "b": "runs/1",
        "3": None,
    }
    with pytest.raises(TypeError, match="set"):
        plain({"a": {1, 2}})
