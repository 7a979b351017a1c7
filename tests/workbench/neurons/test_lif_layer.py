"""LIF layers and stacks in one piece == product and scan one after the other: values, every gradient, what is kept."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workbench.cost.measure import SavedTensors
from workbench.neurons import lif_layer, lif_scan, lif_stack, native
from workbench.neurons.cell import Cell
from workbench.neurons.events import words_of
from workbench.neurons.lif import LIF, spread_decays
from workbench.neurons.lif_layer import Units
from workbench.neurons.lif_stack import Readout
from workbench.neurons.surrogate import SURROGATES

INPUTS, UNITS, CLASSES = 11, 7, 3


def lif(reset="soft", reset_gradient="cut", surrogate="fast-sigmoid") -> LIF:
    # A blunt surrogate, so that every path of the gradient carries weight in the comparison.
    return LIF((0.7, 0.95), 3, True, 1.0, reset, reset_gradient, surrogate, 2.0)


CELLS = [lif(*setting) for setting in itertools.product(("soft", "hard"), ("cut", "keep"), SURROGATES)]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sparse(*shape: int, density: float, seed: int = 0) -> Tensor:
    chance = torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (chance < density).double()


def units(cell: LIF, inputs: int, width: int, batch: int, *, recurrent: bool, bias: bool, seed: int) -> Units:
    """Return units whose tensors all want a gradient."""
    found = Units(
        cell,
        spread_decays(width, 0.8, 0.95, 3).double(),
        0.5 * draw(batch, width, seed=seed),
        1.5 * draw(width, inputs, seed=seed + 1) / inputs**0.5 + 0.3,
        0.2 * draw(width, seed=seed + 2) if bias else None,
        0.3 * draw(width, width, seed=seed + 3) if recurrent else None,
    )
    for tensor in leaves(found):
        tensor.requires_grad_()
    return found


def leaves(*parts: Units | Readout) -> list[Tensor]:
    return [tensor for part in parts for tensor in part.tensors() if tensor is not None]


def plain_layer(layer: Units, activity: Tensor) -> tuple[Tensor, Tensor]:
    """Return product and fold, as the contract of cells has them."""
    currents = torch.nn.functional.linear(activity, layer.weight, layer.bias)
    parameters = {"decay": layer.decay}
    state, spikes = Cell.scan(layer.cell, parameters, layer.start[None], currents, layer.recurrent)
    return state[0], spikes


def assert_same(found, expected, tolerance=1e-10):
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("recurrent", "bias"), [(False, False), (False, True), (True, True)])
@pytest.mark.parametrize("density", [0.05, 0.6])
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_layer_equals_product_and_loop(cell, density, recurrent, bias):
    layer = units(cell, INPUTS, UNITS, 4, recurrent=recurrent, bias=bias, seed=1)
    activity = sparse(12, 4, INPUTS, density=density).requires_grad_()
    by_last, by_spikes = draw(4, UNITS, seed=7), draw(12, 4, UNITS, seed=8)
    results = []
    for run in (lif_layer.scan, plain_layer):
        last, spikes = run(layer, activity)
        error = (last * by_last).sum() + (spikes * by_spikes).sum()
        results.append((last, spikes, *torch.autograd.grad(error, [activity, *leaves(layer)])))
    assert 0 < results[0][1].mean() < 1
    assert_same(*results)


def stack(cell: LIF, batch: int, *, recurrent: bool, bias: bool, reads_all: bool, widths=(UNITS, 5), seed=3):
    sizes = itertools.pairwise((INPUTS, *widths))
    hidden = [
        units(cell, m, n, batch, recurrent=recurrent, bias=bias, seed=seed + 10 * i)
        for i, (m, n) in enumerate(sizes)
    ]
    read = sum(widths) if reads_all else widths[-1]
    parts = (torch.full((CLASSES,), 0.9), draw(batch, CLASSES), draw(CLASSES, read), draw(CLASSES))
    decay, start, weight, offset = (part.double().requires_grad_() for part in parts)
    return hidden, Readout(decay, start, weight, offset if bias else None)


def layer_by_layer(hidden, readout, activity: Tensor) -> Tensor:
    """Return what the layers compute one after the other in plain torch."""
    spikes = []
    for layer in hidden:
        activity = plain_layer(layer, activity)[1]
        spikes.append(activity)
    read = torch.cat(spikes, dim=-1) if readout.weight.shape[1] > len(hidden[-1].weight) else activity
    value, outputs = readout.start, []
    for current in torch.nn.functional.linear(read, readout.weight, readout.bias):
        value = readout.decay * value + current
        outputs.append(value)
    return torch.stack(outputs)


@settings(max_examples=40, deadline=None)
@given(
    cell=st.sampled_from(CELLS),
    steps=st.integers(1, 12),
    batch=st.integers(1, 5),
    density=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    recurrent=st.booleans(),
    bias=st.booleans(),
    reads_all=st.booleans(),
    block=st.sampled_from([1, 40, 1 << 17]),
)
def test_a_stack_equals_its_layers(cell, steps, batch, density, recurrent, bias, reads_all, block):
    hidden, readout = stack(cell, batch, recurrent=recurrent, bias=bias, reads_all=reads_all)
    activity = sparse(steps, batch, INPUTS, density=density).requires_grad_()
    by_output = draw(steps, batch, CLASSES, seed=5)
    results = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "_BLOCK", block)
        for run in (lif_stack.scan, layer_by_layer):
            outputs = run(hidden, readout, activity)
            wanted = [activity, *leaves(*hidden, readout)]
            results.append((outputs, *torch.autograd.grad((outputs * by_output).sum(), wanted)))
    assert_same(*results)


@pytest.mark.parametrize("recurrent", [False, True])
def test_a_stack_is_the_same_bit_for_bit_whatever_the_threads(recurrent, monkeypatch):
    monkeypatch.setattr(native, "_SMALL", 1)
    hidden, readout = stack(lif(), 6, recurrent=recurrent, bias=True, reads_all=True, widths=(40, 30))
    activity = sparse(20, 6, INPUTS, density=0.1)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            outputs = lif_stack.scan(hidden, readout, activity)
            found.append((outputs, *torch.autograd.grad(outputs.square().sum(), leaves(*hidden, readout))))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


@pytest.mark.parametrize("as_counts", [False, True])
def test_a_stack_keeps_membranes_and_bits(as_counts):
    steps, batch, widths = 20, 6, (70, 30)
    hidden, readout = stack(lif(), batch, recurrent=False, bias=True, reads_all=False, widths=widths)
    activity = sparse(steps, batch, INPUTS, density=0.1)
    activity = activity.to(torch.uint8) if as_counts else activity
    saved = SavedTensors([activity, *leaves(*hidden, readout)])
    with saved.watching():
        lif_stack.scan(hidden, readout, activity)
    rows = steps * batch
    bits = sum(8 * rows * words_of(width) + 8 * (rows + 1) for width in (INPUTS, *widths))
    assert saved.take() == bits + 8 * rows * (sum(widths) + CLASSES)


def test_frozen_parts_get_no_gradient():
    hidden, readout = stack(lif(), 4, recurrent=False, bias=False, reads_all=False)
    hidden[0].weight.requires_grad_(False)
    hidden[0].decay.requires_grad_(False)
    outputs = lif_stack.scan(hidden, readout, sparse(10, 4, INPUTS, density=0.1))
    outputs.sum().backward()
    assert hidden[0].weight.grad is None
    assert hidden[0].decay.grad is None
    assert hidden[1].weight.grad is not None


@settings(max_examples=30, deadline=None)
@given(cell=st.sampled_from(CELLS), steps=st.integers(1, 7), own=st.booleans(), wide=st.booleans())
def test_slopes_owed_and_transport_equal_the_reference(cell, steps, own, wide):
    # Wide: more than a tile of the adjoint holds.
    batch, width = (3, 900) if wide else (3, 5)
    membrane, start = 1 + draw(steps, batch, width), 1 + draw(batch, width, seed=1)
    decay, signal = spread_decays(width, 0.8, 0.95, 3).double(), draw(steps, batch, width, seed=2)
    weight = draw(width, seed=4) if own else None

    def results():
        head = (cell, decay, start, membrane)
        return (
            lif_scan.weighed_by_slope(cell, membrane, signal),
            lif_scan.leaky_owed(decay, signal),
            *lif_scan.transport(*head, weight),
            *lif_scan.adjoint(*head, signal, weight, draw(batch, width, seed=3)),
        )

    found = results()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_KERNELS", "reference")
        assert_same(found, results())


def test_a_decay_gradient_that_nobody_wants_is_not_computed():
    cell, membrane = lif(), draw(4, 2, UNITS)
    decay = torch.full((UNITS,), 0.9, dtype=torch.float64)
    arguments = (cell, decay, draw(2, UNITS), membrane, draw(4, 2, UNITS, seed=1))
    gradient, start, decays = lif_scan.adjoint(*arguments, by_decay=False)
    expected = lif_scan.adjoint(*arguments)
    assert torch.equal(gradient, expected[0])
    assert torch.equal(start, expected[1])
    assert not decays.any()
    assert expected[2].any()
