"""What arrays take over of a training sample, and what stays digital."""

from __future__ import annotations

import pytest
import torch
from fixtures.arrays import PlainArray
from fixtures.small import network, rule

from workbench.cost.counts import MeanActivity, Operations, Signals, Transposed, Words
from workbench.cost.devices import Arrays, digital_parameters, left_operations, left_words
from workbench.cost.reads import by_purpose
from workbench.hardware.chip import Chip
from workbench.hardware.pcm import PCM
from workbench.hardware.pulsed import PCMPair, ReRamES
from workbench.hardware.settings import CrossbarConfig
from workbench.randomness import RandomStreams

STEPS, INPUTS, CLASSES, UNITS = 10.0, 7, 3, 5


def net(**settings: object):
    return network(INPUTS, CLASSES, **({"hidden": (UNITS,)} | settings))


def steady(made) -> MeanActivity:
    return MeanActivity.steady(Signals(ones=2.0), [Signals(ones=1.5) for _ in made.layers[:-1]], STEPS)


def plain_chip(made, **settings: object) -> Chip:
    return Chip(made, RandomStreams(0), CrossbarConfig(**settings), PlainArray)


def attached(hardware, made, **settings: object) -> Chip:
    return hardware(hardware.Config(**settings)).attach(made.float(), RandomStreams(0))


def updated(chip: Chip, times: int) -> Chip:
    """Ask for changes of every weight."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(times):
        for stored in chip.stored:
            with torch.no_grad():
                stored.parameter += 0.01 * torch.randn(stored.parameter.shape, generator=generator)
        chip.update()
    return chip


def test_an_array_is_seen_as_its_tiles():
    chip = plain_chip(net(recurrent=True), rows=3, columns=2)
    shapes = Arrays.of(chip, 1).shapes
    assert set(shapes) == {"hidden.0.synapse.weight", "hidden.0.recurrent.weight", "readout.synapse.weight"}
    shape = shapes["hidden.0.synapse.weight"]
    assert (shape.inputs, shape.outputs, shape.tile_inputs, shape.tile_outputs) == (INPUTS, UNITS, 3, 2)
    assert shape.devices == 1


@pytest.mark.parametrize(
    ("hardware", "settings", "devices"),
    [
        (PCM, {}, 2),
        (ReRamES, {}, 1),
        (PCMPair, {}, 2),
        (ReRamES, {"update": "tiki-taka-2"}, 1),
        (PCMPair, {"update": "tiki-taka"}, 2),
    ],
)
def test_devices_of_a_weight_that_a_read_sees(hardware, settings, devices):
    arrays = Arrays.of(attached(hardware, net(), **settings), 1)
    assert {shape.devices for shape in arrays.shapes.values()} == {devices}


def test_columns_of_fast_arrays_are_read_at_transfers():
    made = net()
    chip = updated(attached(ReRamES, made, update="tiki-taka-2", transfer_every=2), 6)
    arrays = Arrays.of(chip, samples=12)
    pace = arrays.pace(STEPS)
    assert pace.updates == 6 / 12
    assert pace.transfers == dict.fromkeys(arrays.shapes, 3 / 12)
    found = by_purpose(arrays.reads(made, steady(made), 1.0, Transposed({}), pace))
    # One input of each matrix, one device a weight of the fast array.
    assert found["transfers"] == {
        "tiles": 2 * 0.25,
        "driven": 2 * 0.25,
        "converted": (UNITS + CLASSES) * 0.25,
        "cells": (UNITS + CLASSES) * 0.25,
    }
    planned = arrays.planned_pace(STEPS, updates=0.5)
    assert planned.transfers == pace.transfers
    # The buffer's numbers of a column, read and written.
    assert arrays.buffered(pace) == Words(2.0, 2.0, UNITS * INPUTS + UNITS * CLASSES)


def test_an_accumulator_is_gone_through_at_every_update():
    chip = updated(attached(ReRamES, net(), update="mixed-precision", transfer_every=3), 6)
    arrays = Arrays.of(chip, samples=12)
    weights = UNITS * INPUTS + UNITS * CLASSES
    assert arrays.buffered(arrays.pace(STEPS)) == Words(weights / 2, weights / 2, weights)
    direct = Arrays.of(attached(ReRamES, net()), samples=12)
    assert direct.buffered(direct.pace(STEPS)) == Words()


def test_while_a_network_learns_no_drift_is_measured():
    made = net()
    arrays = Arrays.of(attached(PCM, made), samples=1)
    pace = arrays.planned_pace(STEPS, updates=0.25)
    reads = arrays.reads(made, steady(made), 1.0, Transposed({}), pace)
    assert {read.purpose for read in reads} == {"forward"}


def test_writes_of_all_devices_are_pulses():
    chip = updated(plain_chip(net()), 3)
    assert Arrays.of(chip, 9).pulses == 3 * (INPUTS * UNITS + UNITS * CLASSES)


@pytest.mark.parametrize("learner", ["bptt", "sltt", "ostl"])
def test_products_with_arrays_are_no_digital_operations_and_move_no_words(learner):
    made = net(hidden=(UNITS, 4), bias=True, readout_reads="last", readout_decay=0.9)
    arrays = Arrays.of(plain_chip(made, rows=3, columns=2), 1)
    bound, activity = rule(learner, made), steady(made)
    count, words = bound.operations(STEPS, 1, activity), bound.words(STEPS, 1, activity)
    transposed = arrays.transposed(bound, STEPS, 1)
    reads = arrays.reads(made, activity, 1.0, transposed, arrays.planned_pace(STEPS, 1.0))
    left = left_operations(made, count, transposed, reads, STEPS)
    # Biases, and sums of 3, 2 and 2 tiles.
    tiles = [(INPUTS, UNITS), (UNITS, 4), (4, CLASSES)]
    sums = sum((-(-inputs // 3) - 1) * outputs for inputs, outputs in tiles)
    assert left.synapses == Operations(ac=STEPS * (UNITS + 4 + CLASSES + sums))
    back = sum((-(-outputs // 2) - 1) * inputs for inputs, outputs in tiles[1:])
    products = STEPS * (UNITS * 4 + 4 * CLASSES)
    assert left.errors == Operations(count.errors.mac - products, count.errors.ac + STEPS * back)
    assert (left.cells, left.traces, left.gradients) == (count.cells, count.traces, count.gradients)
    moved = left_words(made, words, transposed, STEPS)
    biases = UNITS + 4 + CLASSES
    assert digital_parameters(made) == biases
    assert moved.weights == Words(STEPS * biases, 0.0, biases)
    assert moved.transported.moved == 0
    assert (moved.traces, moved.errors, moved.history) == (words.traces, words.errors, words.history)


def test_errors_that_meet_the_weights_exactly_meet_a_digital_copy():
    made = net()
    bound = rule("sltt", made)
    exact = Arrays.of(plain_chip(made, backward_reads="exact"), 1)
    assert dict(exact.transposed(bound, STEPS, 1).times) == {}
    assert dict(Arrays.of(plain_chip(made), 1).transposed(bound, STEPS, 1).times) == {
        "readout.synapse.weight": STEPS
    }


def test_what_settings_make_one_assume():
    assert Arrays.of(plain_chip(net()), 1).assumed == ()
    assert "repeats" in Arrays.of(plain_chip(net(), bound_management=True), 1).assumed[0]
    assert Arrays.of(plain_chip(net(), dac_bits=7), 1).driver_bits == 7
