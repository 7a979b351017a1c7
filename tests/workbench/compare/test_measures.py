"""Each measure reads its number, and says nothing where there is none."""

from __future__ import annotations

import pytest
from fixtures.compared import run_results

from workbench.compare.measures import HEADLINE, chosen, measures
from workbench.errors import ConfigurationError

COSTS = {
    "operations": {"forward": {"mac": 10, "ac": 2.5}, "learning": {"mac": 30, "ac": 0}, "total": 42.5},
    "energy": {"table": "horowitz-45nm", "forward": 1e-9, "learning": 3e-9, "total": 4e-9},
    "writes": {"updates": 7, "parameters": 5, "total": 35, "per_sample": 0.875, "per_parameter": 7.0},
    "R": [[0.9, 0.0], [0.5, 0.7]],
    "test_loss": [[1.0, 3.0], [2.0, 1.0]],
}
EXPECTED = {
    "acc": 0.6,
    "learned": 0.8,
    "bwt": -0.4,
    "fwt": -0.2,
    "forgetting": 0.4,
    "loss": 1.5,
    "memory": 6144,
    "memory_formula": 7168,
    "memory_traces": 1024,
    "memory_replay": 0,
    "operations": 42.5,
    "operations_forward": 12.5,
    "operations_learning": 30,
    "mac_learning": 30,
    "ac_forward": 2.5,
    "ac_learning": 0,
    "energy": 4e-9,
    "energy_forward": 1e-9,
    "energy_learning": 3e-9,
    "writes": 35,
    "writes_per_sample": 0.875,
    "writes_per_parameter": 7,
    "updates": 7,
    "time_train": 2.0,
    "time_total": 3.0,
    "throughput": 150.0,
}


def test_every_measure_reads_its_number() -> None:
    found = {one.name: one.read(run_results(**COSTS)) for one in measures()}
    assert {name: found[name] for name in EXPECTED} == pytest.approx(EXPECTED)
    assert len(found) == len(measures())
    assert set(HEADLINE) <= set(found)


@pytest.mark.parametrize("absent", [{}, None])
def test_what_is_absent_is_none_and_zero_stays_zero(absent: object) -> None:
    bare = run_results(acc=None, fwt=None, baseline=None, memory=absent, time=absent, R=[])
    bare |= dict.fromkeys(("operations", "energy", "writes", "throughput", "test_loss"), absent)
    found = {one.name: one.read(bare) for one in measures()}
    assert {name for name, value in found.items() if value is not None} == {"bwt", "forgetting"}
    older = {one.name: one.read(run_results(acc=0.0)) for one in measures()}
    assert (older["acc"], older["memory_replay"], older["energy"], older["writes"]) == (0.0, 0.0, None, None)


def test_holes_in_the_matrix_leave_no_half_true_mean() -> None:
    holes = run_results(
        R=[[0.9, None], [None, None]], test_loss=[[1.0, None], [None, 2.0]], throughput=[None]
    )
    found = {one.name: one.read(holes) for one in measures()}
    assert (found["learned"], found["loss"], found["throughput"]) == (None, None, None)


def test_columns_are_chosen_by_name_and_pattern_in_the_order_asked_for() -> None:
    assert [one.name for one in chosen(["forgetting", "acc", "forgetting"])] == ["forgetting", "acc"]
    assert [one.name for one in chosen(["energy*"])] == ["energy", "energy_forward", "energy_learning"]
    everything = [one.name for one in measures()]
    assert [one.name for one in chosen(["all"])] == [one.name for one in chosen(["*"])] == everything


def test_an_unknown_column_names_the_nearest_and_all_there_are() -> None:
    with pytest.raises(
        ConfigurationError, match=r"'forgeting'; did you mean forgetting\? There are: all, acc, "
    ):
        chosen(["acc", "forgeting"])
    with pytest.raises(ConfigurationError, match=r"no column 'xyz\*'"):
        chosen(["xyz*"])
