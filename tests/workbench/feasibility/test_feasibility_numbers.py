"""What runs come to: bytes, writes, joules, accuracy; what one of them does not tell is unknown."""

from __future__ import annotations

import pytest
from fixtures.feasible import MEMORY, devices, energy, runs_on

from workbench.feasibility import numbers


def test_memory_is_what_learning_needs_besides_the_weights():
    found = numbers.memory(runs_on("pcm", 0.5))
    # 1200 bytes of parameters, 250 of them weights of 4 bytes that are in devices; what is written waits in 100.
    assert found.parts == {
        "parameters": 200,
        "gradients": 1000,
        "traces": 500,
        "activations": 300,
        "write buffers": 100,
    }
    assert found.total == 2100
    assert found.largest == "gradients"


def test_ideal_hardware_keeps_its_weights_in_memory():
    assert numbers.memory(runs_on("ideal", 0.5)).total == MEMORY["total"]


def test_memory_without_parts_or_unknown():
    assert numbers.memory(runs_on("pcm", 0.5, memory_at_batch_1=None)) is None
    nothing = numbers.memory(runs_on("ideal", 0.5, memory_at_batch_1={"gradients": 0, "total": 0}))
    assert (nothing.parts, nothing.total) == ({}, 0)


def test_writes_are_those_of_the_worst_seed_and_the_mean_percentile():
    runs = [*runs_on("pcm", 0.5, devices=devices(20, 10)), *runs_on("pcm", 0.5, devices=devices(60, 20))]
    found = numbers.writes(runs)
    assert (found.largest, found.p99, found.mean, found.total_per_sample) == (60, 15, 4, 50)
    assert found.samples == 40
    assert (found.largest_per_sample, found.p99_per_sample) == (1.5, 0.375)


def test_writes_of_several_epochs():
    assert numbers.writes(runs_on("pcm", 0.5, epochs=3)).samples == 120


def test_writes_are_unknown_if_one_run_does_not_tell():
    assert numbers.writes([*runs_on("pcm", 0.5), *runs_on("pcm", 0.5, devices=None)]) is None
    assert numbers.writes(runs_on("ideal", 0.5)) is None


def test_energy_is_a_mean_over_seeds_with_its_parts():
    runs = [
        *runs_on("pcm", 0.5, energy=energy(2e-7, cells=1e-7, forward=5e-8, scope="arithmetic")),
        *runs_on("pcm", 0.5, energy=energy(4e-7, cells=3e-7, forward=None)),
    ]
    found = numbers.energy(runs)
    assert found.total == pytest.approx(3e-7)
    assert found.parts == {"cells": pytest.approx(2e-7)}
    assert found.table == "horowitz-45nm"
    assert found.assumed == ("leakage is nothing",)


def test_energy_that_one_seed_does_not_know_is_unknown():
    runs = [*runs_on("pcm", 0.5), *runs_on("pcm", 0.5, energy=energy(None, left_out=["traces.mac"]))]
    found = numbers.energy(runs)
    assert (found.total, found.left_out) == (None, ("traces.mac",))
    assert numbers.energy([*runs, *runs_on("pcm", 0.5, energy=None)]) is None
    assert numbers.energy([]) is None


def test_a_sequence_takes_as_long_as_the_settings_say():
    assert numbers.sequence_seconds(runs_on("pcm", 0.5)) == 2.0
    assert numbers.sequence_seconds(runs_on("ideal", 0.5)) == numbers.DEFAULT_SEQUENCE_SECONDS
    assert numbers.sequence_seconds([]) == numbers.DEFAULT_SEQUENCE_SECONDS


def test_measures_by_seed_leave_out_what_is_unknown():
    runs = runs_on("pcm", 0.5, 0.7, 0.6)
    assert numbers.measured(runs, "acc") == {0: 0.5, 1: 0.7, 2: 0.6}
    assert numbers.mean_of(runs, "acc").mean == pytest.approx(0.6)
    assert numbers.mean_of(runs_on("pcm", 0.5, forgetting=None), "forgetting") is None
    assert numbers.against(runs_on("ideal", 0.8, 0.8), runs, "acc").mean == pytest.approx(0.2)
    assert numbers.against([], runs, "acc") is None


def test_the_untrained_network():
    assert numbers.untrained(runs_on("pcm", 0.5, 0.5)) == pytest.approx(0.15)
    assert numbers.untrained(runs_on("pcm", 0.5, baseline=None)) is None
