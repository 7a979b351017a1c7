"""Each measure reads its number, and says nothing where there is none."""

from __future__ import annotations

import pytest
from fixtures.compared import run_results

from workbench.compare.measures import HEADLINE, ON_DEVICES, chosen, measures
from workbench.errors import ConfigurationError

COSTS = {
    "operations": {
        "forward": {"mac": 10, "ac": 2.5},
        "learning": {"mac": 30, "ac": 0},
        "total": 42.5,
        "words": {"forward": 20, "learning": 50, "total": 70},
        "reads": {
            "forward": {"tiles": 4, "driven": 5, "converted": 6, "cells": 30},
            "total": {"tiles": 4, "driven": 5, "converted": 6, "cells": 30},
        },
    },
    "energy": {
        "table": "spikesim-rram",
        "forward": 1e-9,
        "learning": 3e-9,
        "total": 4e-9,
        "digital": 2.5e-9,
        "arithmetic": 2e-9,
        "words": 0.5e-9,
        "cells": 0.5e-9,
        "periphery": 1e-9,
        "writes": 0.25e-9,
    },
    "devices": {"writes": {"total": 90, "mean": 2.0, "p99": 11, "max": 14, "per_sample": 2.25}},
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
    "energy_digital": 2.5e-9,
    "energy_arithmetic": 2e-9,
    "energy_words": 0.5e-9,
    "energy_cells": 0.5e-9,
    "energy_periphery": 1e-9,
    "energy_writes": 0.25e-9,
    "words": 70,
    "words_forward": 20,
    "words_learning": 50,
    "device_writes": 90,
    "device_writes_per_sample": 2.25,
    "device_writes_max": 14,
    "device_writes_p99": 11,
    "device_reads": 30,
    "tile_reads": 4,
    "conversions": 6,
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
    assert {*HEADLINE, ON_DEVICES} <= set(found)


@pytest.mark.parametrize("absent", [{}, None])
def test_what_is_absent_is_none_and_zero_stays_zero(absent: object) -> None:
    bare = run_results(acc=None, fwt=None, baseline=None, memory=absent, time=absent, R=[])
    bare |= dict.fromkeys(("operations", "energy", "writes", "devices", "throughput", "test_loss"), absent)
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
    assert [one.name for one in chosen(["words*"])] == ["words", "words_forward", "words_learning"]
    everything = [one.name for one in measures()]
    assert [one.name for one in chosen(["all"])] == [one.name for one in chosen(["*"])] == everything


def test_an_unknown_column_names_the_nearest_and_all_there_are() -> None:
    with pytest.raises(
        ConfigurationError, match=r"'forgeting'; did you mean forgetting\? There are: all, acc, "
    ):
        chosen(["acc", "forgeting"])
    with pytest.raises(ConfigurationError, match=r"no column 'xyz\*'"):
        chosen(["xyz*"])
