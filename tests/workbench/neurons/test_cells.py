"""Every cell: scan == fold(step), gradients == autograd of the plain loop, local derivatives == autograd of a step."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workbench.neurons.cell import Cell, fold
from workbench.neurons.leaky import LeakyIntegrator
from workbench.neurons.lif import LIF, spread_decays
from workbench.neurons.lru import LRU
from workbench.neurons.memoryless import Memoryless
from workbench.neurons.snu import SNU
from workbench.neurons.surrogate import SURROGATES, slope, spike
from workbench.neurons.trajectory import LinearisedTrajectory

STEPS, BATCH, UNITS = 9, 3, 5


def lif(reset="soft", reset_gradient="cut", surrogate="fast-sigmoid", learn_decay=True) -> LIF:
    # A blunt surrogate, so that every path of the gradient carries weight in the comparison.
    return LIF((0.7, 0.95), 3, learn_decay, 1.0, reset, reset_gradient, surrogate, 2.0)


LIF_CELLS = [lif(*setting) for setting in itertools.product(("soft", "hard"), ("cut", "keep"), SURROGATES)]
SNU_CELLS = [
    SNU(0.7, learn_decay=True, output_function=h, state_function=g, reset_gradient=reset)
    for h, g, reset in itertools.product(
        ("step", "sigmoid"), ("identity", "relu", "leaky-relu"), ("keep", "cut")
    )
]
CELLS: list[Cell] = [
    *LIF_CELLS,
    *SNU_CELLS,
    LeakyIntegrator(0.9, learn_decay=True),
    LeakyIntegrator(0.0),
    LRU(0.5, 0.95),
    LRU(0.5, 0.95, normalisation="derived"),
    *(Memoryless(g) for g in ("tanh", "relu", "gelu", "identity")),
]
RECURRENT = [
    (cell, recurrent)
    for cell, recurrent in itertools.product(CELLS, (False, True))
    if not recurrent or (cell.state_size > 0 and cell.current_size == 1)
]


def problem(cell: Cell, seed: int, recurrent: bool, steps: int = STEPS, batch: int = BATCH):
    """Return leaves (currents, start, raw parameters, recurrent) in float64, and readout weights."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    raw = {k: v.double() + 0.1 * draw(UNITS) for k, v in cell.initial_parameters(UNITS, generator).items()}
    currents = 0.5 + 0.7 * draw(steps, batch, cell.current_size * UNITS)
    start = draw(cell.state_size, batch, UNITS)
    weight = 0.3 * draw(UNITS, UNITS) if recurrent else None
    leaves = [currents, start, *raw.values(), *([weight] if weight is not None else [])]
    for leaf in leaves:
        leaf.requires_grad_()
    by_output, by_state = draw(steps, batch, cell.output_size * UNITS), draw(cell.state_size, batch, UNITS)
    return raw, currents, start, weight, leaves, by_output, by_state


@pytest.mark.parametrize("kernels", ["fast", "reference"])
@pytest.mark.parametrize(("cell", "recurrent"), RECURRENT, ids=str)
def test_scan_and_its_gradients_equal_the_plain_loop(cell, recurrent, kernels, monkeypatch):
    monkeypatch.setenv("WORKBENCH_KERNELS", kernels)
    raw, currents, start, weight, leaves, by_output, by_state = problem(cell, 0, recurrent)
    results = []
    for scan in (lambda *a: fold(cell, *a), cell.scan):
        state, outputs = scan(cell.constrain(raw), start, currents, weight)
        error = (outputs * by_output).sum() + (state * by_state).sum()
        results.append((state, outputs, *torch.autograd.grad(error, leaves, materialize_grads=True)))
    for plain, fused in zip(*results, strict=True):
        torch.testing.assert_close(fused, plain, rtol=1e-10, atol=1e-10)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    setting=st.sampled_from(RECURRENT),
    steps=st.integers(1, 6),
    batch=st.integers(1, 3),
    cut=st.integers(0, 6),
)
def test_scan_of_a_sequence_equals_scans_of_its_parts(seed, setting, steps, batch, cut):
    cell, recurrent = setting
    raw, currents, start, weight, *_ = problem(cell, seed, recurrent, steps, batch)
    parameters = cell.constrain(raw)
    _, whole = cell.scan(parameters, start, currents, weight)
    parts, state = [], start
    for piece in (currents[:cut], currents[cut:]):
        if len(piece):
            state, outputs = cell.scan(parameters, state, piece, weight)
            parts.append(outputs)
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("cell", "recurrent"), RECURRENT, ids=str)
def test_local_derivatives_equal_autograd_of_a_step(cell, recurrent):
    raw, currents, start, weight, _, signal, _ = problem(cell, 1, recurrent)
    parameters = {name: value.detach() for name, value in cell.constrain(raw).items()}
    detached = None if weight is None else weight.detach()
    arguments = (parameters, start.detach(), currents.detach(), detached)
    fast = cell.run(*arguments)
    reference = LinearisedTrajectory.record(cell, *arguments)
    torch.testing.assert_close(fast.outputs, reference.outputs)
    mine, theirs = fast.adjoint(signal), reference.adjoint(signal)
    torch.testing.assert_close(mine.currents, theirs.currents, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(mine.parameters, theirs.parameters, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(fast.instantaneous(signal), reference.instantaneous(signal))
    for name, expected in vars(reference).items():
        torch.testing.assert_close(getattr(fast.linearised(), name), expected, rtol=1e-10, atol=1e-10)
    if not recurrent:  # with recurrence the reference carries the output as one more state
        torch.testing.assert_close(mine.state, theirs.state, rtol=1e-10, atol=1e-10)
        carried, expected = fast.transport(), reference.transport()
        torch.testing.assert_close(carried.product, expected.product, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(carried.drive, expected.drive, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(carried.parameters, expected.parameters, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("cell", [c for c in CELLS if c.state_size and not isinstance(c, LRU)], ids=str)
def test_leak_is_what_a_silent_unit_loses_in_a_step(cell):
    generator = torch.Generator().manual_seed(3)
    parameters = cell.constrain(cell.initial_parameters(UNITS, generator))
    state = cell.initial_state(BATCH, UNITS, torch.zeros(1))
    state[0] = 0.5  # below every threshold
    after, _ = cell.step(parameters, state, torch.zeros(BATCH, UNITS))
    torch.testing.assert_close(after[0], cell.leak(parameters) * state[0])


def test_a_readout_without_decay_has_no_memory():
    cell = LeakyIntegrator(0.0)
    parameters = cell.constrain(cell.initial_parameters(UNITS, torch.Generator()))
    currents = torch.randn(STEPS, BATCH, UNITS, generator=torch.Generator().manual_seed(0))
    trajectory = cell.run(parameters, cell.initial_state(BATCH, UNITS, currents), currents)
    assert torch.equal(trajectory.outputs, currents)
    assert torch.equal(trajectory.adjoint(currents).currents, currents)
    with pytest.raises(ValueError, match="must start above 0"):
        LeakyIntegrator(0.0, learn_decay=True)


@pytest.mark.parametrize("cell", LIF_CELLS[:4], ids=str)
def test_kernels_equal_the_reference_in_float32_over_threads(cell, monkeypatch):
    generator = torch.Generator().manual_seed(2)
    currents = torch.rand(40, 16, 64, generator=generator) * 0.4
    start = torch.zeros(1, 16, 64)
    parameters = {"decay": spread_decays(64, 0.8, 0.97, 4)}
    monkeypatch.setenv("WORKBENCH_KERNELS", "reference")
    expected = cell.run(parameters, start, currents)
    monkeypatch.setenv("WORKBENCH_KERNELS", "fast")
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = cell.run(parameters, start, currents)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found.outputs, expected.outputs)
    torch.testing.assert_close(found.membrane, expected.membrane, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", SURROGATES)
def test_surrogate_is_the_gradient_of_the_spike_and_peaks_at_the_threshold(name):
    v = torch.linspace(-2, 2, 101, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(spike(v, name, 3.0).sum(), v)
    assert torch.equal(gradient, slope(name, v.detach(), 3.0))
    assert gradient.argmax() == 50
    assert (gradient >= 0).all()


def test_soft_reset_subtracts_and_hard_reset_clears():
    currents = torch.tensor([1.5, 0.0]).reshape(2, 1, 1)
    start = torch.zeros(1, 1, 1)
    decay = {"decay": torch.tensor([0.5])}
    soft, spikes = LIF(reset="soft").scan(decay, start, currents)
    hard, _ = LIF(reset="hard").scan(decay, start, currents)
    assert spikes.flatten().tolist() == [1.0, 0.0]
    assert soft.item() == 0.25
    assert hard.item() == 0.0


@settings(max_examples=30, deadline=None)
@given(
    low=st.floats(0.05, 0.9), width=st.floats(0.0, 0.09), values=st.integers(1, 9), size=st.integers(1, 30)
)
def test_spread_decays_lie_between_their_bounds(low, width, values, size):
    decays = spread_decays(size, low, low + width, values)
    assert decays.shape == (size,)
    assert decays.unique().numel() <= values
    assert (decays >= low - 1e-6).all()
    assert (decays <= low + width + 1e-6).all()
