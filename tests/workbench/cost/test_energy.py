"""Energies of a training sample: counts times prices, and what is not priced."""

from __future__ import annotations

import pytest

from workbench.cost.counts import OperationCount, Operations, WordCount, Words
from workbench.cost.energy import DeviceWork, Work, energy
from workbench.cost.prices import EnergyTable, load_table
from workbench.cost.reads import Read, Shape

COUNT = OperationCount(
    synapses=Operations(ac=10),
    cells=Operations(mac=5),
    errors=Operations(mac=100),
    gradients=Operations(mac=7, ac=3),
)
# Memories of 8 KiB and of 4 KiB, at 10 and 5 pJ a word.
WORDS = WordCount(state=Words(3, 3, 2048), traces=Words(20, 20, 1024), updates=Words(1, 1, 0))
ARITHMETIC = ((5 * 4.6 + 10 * 0.9) * 1e-12, (107 * 4.6 + 3 * 0.9) * 1e-12)
SHAPE = Shape(inputs=300, outputs=100, tile_inputs=256, tile_outputs=256, devices=2)
READS = (
    Read("forward", SHAPE, vectors=10, driven=30),
    Read("transposed", SHAPE.turned, vectors=10, driven=100, bits=None),
    Read("transfers", SHAPE, vectors=5, driven=1, one_hot=True),
)
PRICES = {
    "mac": {"energy_pj": 4.6, "source": "me"},
    "ac": {"energy_pj": 0.9, "source": "me"},
    "cell": {"energy_pj": 0.01, "source": "me"},
    "drive": {"energy_pj": 0.5, "source": "me"},
    "conversion": {"energy_pj": 2.0, "source": "me"},
    "tile": {"energy_pj": 100.0, "rows": 64, "columns": 64, "source": "me"},
    "pulse": {"rram": {"energy_pj": 0.6, "source": "me"}, "other": {"energy_pj": 3.3, "source": "a guess"}},
}


def priced(**changed: object) -> EnergyTable:
    """Return a table of all prices for devices, some of them changed, or left out if None."""
    return EnergyTable.model_validate({k: v for k, v in (PRICES | changed).items() if v is not None})


def on_devices(**changed: object) -> Work:
    known = {"reads": READS, "pulses": 50.0, "cells": "rram"} | changed
    return Work(COUNT, WORDS, writes=1000, devices=DeviceWork(**known))


def test_energy_is_counts_times_prices():
    found = energy("mine", priced(), Work(COUNT, WORDS, writes=50))
    assert (found["forward"], found["learning"]) == pytest.approx(ARITHMETIC, rel=1e-12)
    assert found["total"] == found["digital"] == found["arithmetic"] == found["forward"] + found["learning"]
    assert (found["left_out"], found["writes"], found["scope"]) == ([], None, "arithmetic")
    assert (found["words"], found["cells"], found["periphery"]) == (None, None, None)
    assert found["picojoules"] == {"mac": 4.6, "ac": 0.9}


def test_words_cost_what_their_memory_does():
    found = energy("horowitz-45nm", load_table("horowitz-45nm"), Work(COUNT, WORDS))
    assert found["words"] == pytest.approx((6 * 10 + 40 * 5) * 1e-12)
    assert found["forward"] == pytest.approx(ARITHMETIC[0] + 6 * 10e-12)
    assert found["learning"] == pytest.approx(ARITHMETIC[1] + 40 * 5e-12)
    assert found["arithmetic"] == pytest.approx(sum(ARITHMETIC))
    assert found["digital"] == found["total"] == pytest.approx(found["arithmetic"] + found["words"])


def test_words_that_nobody_counted_make_the_energy_unknown_where_they_have_a_price():
    found = energy("horowitz-45nm", load_table("horowitz-45nm"), Work(COUNT))
    assert (found["total"], found["digital"], found["words"]) == (None, None, None)
    assert found["arithmetic"] == pytest.approx(sum(ARITHMETIC))
    assert found["left_out"] == ["words"]
    assert energy("mine", priced(), Work(COUNT))["total"] == pytest.approx(sum(ARITHMETIC))


def test_a_phase_with_operations_that_are_not_priced_is_unknown_and_not_cheap():
    found = energy("loihi", load_table("loihi"), Work(COUNT, WORDS, writes=50))
    # The units' own updates are part of a synaptic event's price; dense errors are not.
    assert found["forward"] == pytest.approx(10 * 23.6e-12)
    assert found["learning"] is None
    assert found["total"] is None
    assert found["writes"] == pytest.approx(50 * 120e-12)
    assert found["left_out"] == ["cells.mac", "errors.mac", "gradients.mac"]
    dense = energy("loihi", load_table("loihi"), Work(OperationCount(synapses=Operations(mac=1))))
    assert dense["forward"] is None


def test_written_weights_belong_to_learning():
    table = EnergyTable.model_validate({"write": {"energy_pj": 2.0, "source": "me"}})
    found = energy("mine", table, Work(OperationCount(), writes=3))
    assert (found["forward"], found["learning"]) == (0.0, pytest.approx(6e-12))
    assert found["digital"] == found["total"] == found["writes"]


def test_devices_and_their_periphery_are_apart():
    found = energy("mine", priced(), on_devices())
    cells = {
        "forward": 10 * 30 * 100 * 2 * 0.01,
        "transposed": 10 * 100 * 300 * 2 * 0.01,
        "transfers": 5 * 1 * 100 * 2 * 0.01,
    }
    # Two tiles of 256 and 44 inputs; blocks of 64: (4 + 1) x 2 of them.
    periphery = {
        "forward": 10 * (30 * 0.5 + 2 * 100 * 2.0 + 10 * 100.0),
        # 100 inputs in one tile, 300 outputs in two.
        "transposed": 10 * (2 * 100 * 0.5 + 300 * 2.0 + 2 * 5 * 100.0),
        "transfers": 5 * (1 * 0.5 + 100 * 2.0 + 2 * 100.0),
    }
    assert found["writes"] == pytest.approx(50 * 0.6e-12)
    assert found["cells"] == pytest.approx(1e-12 * sum(cells.values()) + found["writes"])
    assert found["periphery"] == pytest.approx(1e-12 * sum(periphery.values()))
    assert found["digital"] == pytest.approx(sum(ARITHMETIC))
    assert found["total"] == pytest.approx(found["cells"] + found["periphery"] + found["digital"])
    forward = sum(one["forward"] for one in (cells, periphery))
    assert found["forward"] == pytest.approx(ARITHMETIC[0] + 1e-12 * forward)
    assert found["total"] == pytest.approx(found["forward"] + found["learning"])
    assert found["picojoules"]["pulse"] == 0.6
    assert "write" not in found["picojoules"]


@pytest.mark.parametrize(
    ("bits", "drivers", "table_bits", "times"),
    [
        (1.0, 0, 8, 1),
        (2.5, 0, 8, 2.5),
        (None, 0, 8, 8),
        (None, 6, 8, 6),
        (None, 6, None, 1),
        (3.0, 0, None, 1),
    ],
)
def test_numbers_enter_bit_by_bit_where_drivers_have_no_levels(bits, drivers, table_bits, times):
    work = on_devices(reads=[Read("forward", SHAPE, 10, 30, bits)], pulses=0.0, input_bits=drivers)
    once = on_devices(reads=[Read("forward", SHAPE, 10, 30)], pulses=0.0)
    found = energy("mine", priced(input_bits=table_bits), work)
    plain = energy("mine", priced(), once)
    assert found["cells"] == pytest.approx(times * plain["cells"])
    assert found["periphery"] == pytest.approx(times * plain["periphery"])


@pytest.mark.parametrize(
    ("missing", "entry", "unknown"),
    [
        ("cell", "reads.cell", "cells"),
        ("drive", "reads.drive", "periphery"),
        ("conversion", "reads.conversion", "periphery"),
        ("tile", "reads.tile", "periphery"),
    ],
)
def test_reads_without_a_price_make_the_energy_unknown(missing, entry, unknown):
    found = energy("mine", priced(**{missing: None}), on_devices())
    assert found["left_out"] == [entry]
    assert (found["total"], found["forward"], found["learning"], found[unknown]) == (None,) * 4
    assert found["digital"] == pytest.approx(sum(ARITHMETIC))


def test_a_price_of_nothing_is_a_price():
    found = energy("mine", priced(drive={"energy_pj": 0, "source": "wires are free"}), on_devices())
    assert found["left_out"] == []
    assert found["total"] > 0


def test_reads_or_writes_of_devices_that_nobody_counted_are_left_out():
    found = energy("mine", priced(), on_devices(reads=None))
    assert (found["left_out"], found["total"], found["cells"]) == (["reads"], None, None)
    found = energy("mine", priced(), on_devices(pulses=None))
    assert (found["left_out"], found["writes"], found["learning"]) == (["pulses"], None, None)
    assert found["forward"] > 0


@pytest.mark.parametrize(("cells", "name"), [("ecram", "ecram"), (None, "other")])
def test_pulses_on_cells_without_a_price_are_left_out_or_stood_in_for_and_said(cells, name):
    own = {"rram": PRICES["pulse"]["rram"]}
    found = energy("mine", priced(pulse=own), on_devices(cells=cells))
    assert (found["left_out"], found["writes"]) == ([f"pulses.{name}"], None)
    found = energy("mine", priced(), on_devices(cells=cells))
    assert found["writes"] == pytest.approx(50 * 3.3e-12)
    assert "is priced as other: a guess" in found["assumed"][-1]
    assert energy("mine", priced(), on_devices())["assumed"] == []


def test_the_table_for_devices_prices_all_that_a_device_does():
    table = load_table("spikesim-rram")
    for cells in ("rram", "pcm", "eflash", "ecram", "capacitor", None):
        found = energy("spikesim-rram", table, on_devices(cells=cells))
        assert found["left_out"] == []
        assert found["total"] == pytest.approx(found["digital"] + found["cells"] + found["periphery"])
        assert len(found["assumed"]) >= len(table.assumes) > 0


def test_a_read_of_a_crossbar_costs_what_spikesim_says():
    shape = Shape(64, 64, 256, 256, devices=1)
    found = energy(
        "spikesim-rram",
        load_table("spikesim-rram"),
        Work(OperationCount(), WordCount(), devices=DeviceWork([Read("forward", shape, 1, 64)], 0.0)),
    )
    # A PE of one crossbar in a cycle, less its neuron: H-tree, memory, buffers, 64 conversions, 8 times the array.
    expected = 19.64 * 8 + 4.64 + 397 + 8 * 0.2 + 64 * (2.03084 + 0.094245) + 8 * 1.76423
    assert found["total"] == pytest.approx(expected * 1e-12, rel=1e-6)
    assert found["cells"] == pytest.approx(8 * 1.76423e-12, rel=1e-6)


def test_the_table_of_arithmetic_does_not_price_devices():
    found = energy("horowitz-45nm", load_table("horowitz-45nm"), on_devices())
    assert found["total"] is None
    assert "reads.cell" in found["left_out"]
    assert "pulses.rram" in found["left_out"]
    assert found["digital"] > 0
