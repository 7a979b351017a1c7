"""Reads of arrays, against tiles that are read one by one."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from fixtures.small import batch, network
from hypothesis import given
from hypothesis import strategies as st
from test_operations import activity_of

from workbench.cost.reads import (
    Events,
    Read,
    Shape,
    by_purpose,
    forward_reads,
    one_hot_reads,
    transposed_reads,
)

STEPS, SIZE, INPUTS, CLASSES = 5, 2, 7, 3
NETWORKS = {
    "reads last": {"hidden": (5, 4), "readout_reads": "last"},
    "reads all": {"hidden": (5, 4), "readout_reads": "all", "bias": True},
    "recurrent": {"hidden": (5, 4), "recurrent": (True, False)},
}


def read_one_by_one(vector, outputs: int, tile: tuple[int, int], devices: int) -> Counter[str]:
    """Read a matrix with one vector of inputs, tile by tile and device by device."""
    counts: Counter[str] = Counter()
    for first in range(0, len(vector), tile[0]):
        for column in range(0, outputs, tile[1]):
            counts["tiles"] += 1
            width = min(tile[1], outputs - column)
            for value in vector[first : first + tile[0]]:
                counts["driven"] += value != 0
                counts["cells"] += (value != 0) * width * devices
            counts["converted"] += width
    return counts


def shapes_of(net, tile: tuple[int, int], devices: int) -> dict[str, Shape]:
    return {
        name: Shape(parameter.shape[1], parameter.shape[0], *tile, devices)
        for name, parameter in net.named_parameters()
        if parameter.dim() == 2
    }


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("tile", [(256, 256), (3, 2), (4, 5)])
def test_forward_every_tile_is_read_at_every_step(name, tile):
    net, given_batch = network(INPUTS, CLASSES, **NETWORKS[name]), batch(STEPS, SIZE, INPUTS, CLASSES)
    shapes, activity = shapes_of(net, tile, devices=2), activity_of(net, given_batch)
    with torch.no_grad():
        spikes = net.run(given_batch.inputs).spikes
    below = [given_batch.inputs, *spikes[:-1], torch.cat(spikes, 2) if net.reads_all else spikes[-1]]
    matrices = [(layer.synapse.weight, read) for layer, read in zip(net.layers, below, strict=True)]
    for layer, sent in zip(net.layers[:-1], spikes, strict=True):
        if layer.recurrent is not None:
            before = torch.cat([torch.zeros_like(sent[:1]), sent[:-1]])
            matrices.append((layer.recurrent.weight, before))
    expected: Counter[str] = Counter()
    for weight, read in matrices:
        for vector in read.reshape(-1, read.shape[2]).tolist():
            expected += read_one_by_one(vector, len(weight), tile, 2)
    found = by_purpose(forward_reads(net, shapes, activity, STEPS, 1.0))
    assert set(found) == {"forward", "total"}
    assert {kind: round(SIZE * count, 6) for kind, count in found["forward"].items()} == dict(expected)
    assert found["total"] == found["forward"]


def test_backward_inputs_and_outputs_change_places_and_all_errors_count():
    shape = Shape(inputs=7, outputs=5, tile_inputs=3, tile_outputs=2, devices=2)
    [read] = transposed_reads({"a": shape, "b": shape}, {"a": 4.0, "b": 0.0, "elsewhere": 1.0})
    once = read_one_by_one([0.5] * 5, 7, (2, 3), 2)
    assert read.events.by_kind() == {kind: 4.0 * count for kind, count in once.items()}
    assert read.bits is None
    assert shape.turned.turned == shape


def test_one_input_is_read_through_its_own_tiles_alone():
    shape = Shape(inputs=7, outputs=5, tile_inputs=3, tile_outputs=2, devices=2)
    [read] = one_hot_reads("transfers", shape, 10.0)
    once = read_one_by_one([1.0], 5, (3, 2), 2)
    assert read.events.by_kind() == {kind: 10.0 * count for kind, count in once.items()}
    assert read.sums == 0
    assert one_hot_reads("transfers", shape, 0.0) == []


def test_sums_of_tiles_are_added_digitally():
    assert Read("forward", Shape(7, 5, 3, 2, 1), vectors=10, driven=1).sums == 10 * 2 * 5
    assert Read("forward", Shape(7, 5, 7, 2, 1), vectors=10, driven=1).sums == 0


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_blocks_are_counted_tile_by_tile(inputs, outputs, rows, columns, block_rows, block_columns):
    blocks = 0
    for first in range(0, inputs, rows):
        for column in range(0, outputs, columns):
            height, width = min(rows, inputs - first), min(columns, outputs - column)
            blocks += len(range(0, height, block_rows)) * len(range(0, width, block_columns))
    read = Read("forward", Shape(inputs, outputs, rows, columns, 1), vectors=2, driven=1)
    assert read.blocks(block_rows, block_columns) == 2 * blocks


def test_purposes_add_up():
    shape = Shape(7, 5, 3, 2, 1)
    reads = [Read("transposed", shape, 1, 2), Read("forward", shape, 3, 2), Read("forward", shape, 1, 1)]
    found = by_purpose(reads)
    assert list(found) == ["forward", "transposed", "total"]
    total = sum((read.events for read in reads), Events())
    assert found["total"] == total.by_kind()
    assert found["forward"]["driven"] == 3 * 2 * 3 + 1 * 1 * 3


def test_numbers_that_are_no_spikes_have_as_many_digits_as_their_drivers():
    net = network(INPUTS, CLASSES, hidden=(5, 4), readout_reads="last")
    shapes, activity = shapes_of(net, (256, 256), 1), activity_of(net, batch(STEPS, SIZE, INPUTS, CLASSES))
    assert [read.bits for read in forward_reads(net, shapes, activity, STEPS, 1.5)] == [1.5, 1.0, 1.0]
    from dataclasses import replace

    from workbench.cost.counts import Signals

    graded = replace(activity, hidden=(Signals(others=5.0), activity.hidden[1]))
    assert [read.bits for read in forward_reads(net, shapes, graded, STEPS, None)] == [None, None, 1.0]
