"""OTTT: BPTT for one layer whose reset is left out, its trace step by step, and updates at every step."""

import pytest
import torch
from fixtures.small import STEPS, batch, gradients, network, rule

from workbench.neurons.presynaptic import presynaptic
from workbench.neurons.surrogate import slope
from workbench.rules.loss import sequence_loss


def learned(net, given, **settings):
    rule("ottt", net, **settings).train_step(given)
    return gradients(net)


def assert_same(found, expected, tolerance=1e-9):
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=tolerance, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("chunk", [1, 4, STEPS])
@pytest.mark.parametrize("values", [1, 2, 5])
def test_equals_bptt_for_one_layer_without_reset_gradient(chunk, values):
    net = network(
        hidden=(5,), reset="soft", reset_gradient="cut", readout_decay=0.0, decay_values=values, bias=True
    )
    given = batch()
    sequence_loss(net(given.inputs.double()), given, "step").backward()
    expected = gradients(net)
    assert all(value.abs().max() > 0 for value in expected.values())
    assert_same(learned(net, given, chunk=chunk), expected)


def by_hand(net, given):
    """Return OTTT's hidden gradients by its recursion: traces of the input, instantaneous errors."""
    layer, readout = net.hidden[0], net.readout
    decay = layer.cell_parameters()["decay"]
    spikes = given.inputs.double()
    with torch.no_grad():
        trajectory = layer.run(
            presynaptic(spikes, spikes), layer.initial_state(spikes.shape[1], spikes.double())
        )
        outputs = net(spikes)
        one_hot = torch.nn.functional.one_hot(given.targets, net.classes)
        error = (torch.softmax(outputs, -1) - one_hot) / (spikes.shape[0] * spikes.shape[1])
        trace = torch.zeros(*spikes.shape[1:2], layer.units, spikes.shape[2], dtype=torch.float64)
        gradient = torch.zeros_like(layer.synapse.weight)
        for t, inputs in enumerate(spikes.unbind(0)):
            trace = decay[:, None] * trace + inputs[:, None]
            cell = layer.cell
            psi = slope(cell.surrogate, trajectory.membrane[t] - cell.threshold, cell.sharpness)
            delta = (error[t] @ readout.synapse.weight) * psi
            gradient += torch.einsum("bn,bnj->nj", delta, trace)
    return gradient


@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("gradient", ["cut", "keep"])
def test_equals_its_recursion(reset, gradient):
    net = network(hidden=(5,), reset=reset, reset_gradient=gradient)
    found = learned(net, batch(), chunk=4)["hidden.0.synapse.weight"]
    torch.testing.assert_close(found, by_hand(net, batch()), rtol=1e-9, atol=1e-12)


def test_the_input_layer_is_traced_too():
    net = network(hidden=(5,), decay=0.9, readout_decay=0.0)
    found = learned(net, batch())["hidden.0.synapse.weight"]
    rule("sltt", net).train_step(batch())
    assert not torch.allclose(found, gradients(net)["hidden.0.synapse.weight"])


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("learn_decay", [False, True])
def test_gradient_does_not_depend_on_the_chunk(recurrent, learn_decay):
    net = network(hidden=(5, 4), recurrent=recurrent, learn_decay=learn_decay, bias=True)
    expected = learned(net, batch(), chunk=STEPS)
    assert set(expected) == {name for name, _ in net.named_parameters()}
    for chunk in (1, 4):
        assert_same(learned(net, batch(), chunk=chunk), expected, 1e-10)


def test_updates_at_every_step_come_after_every_step():
    net = network()
    pieces = []
    bound = rule("ottt", net, apply=lambda: pieces.append(gradients(net)), update="step")
    bound.train_step(batch())
    assert len(pieces) == STEPS
    whole = learned(net, batch())
    summed = {name: sum(piece[name] for piece in pieces) for name in whole}
    assert_same(summed, whole, 1e-10)


def test_traces_are_presynaptic_and_do_not_grow():
    net = network(hidden=(5, 4), decay=0.9, reset="hard")
    bound = rule("ottt", net, chunk=5)
    bound.train_step(batch(20))
    held = bound.live_memory().traces
    assert held == 8 * 3 * sum(layer.inputs for layer in net.layers)
    assert held == bound.memory(20, 3).traces == bound.memory(2000, 3).traces
    bound.train_step(batch(40))
    assert bound.live_memory().traces == held
