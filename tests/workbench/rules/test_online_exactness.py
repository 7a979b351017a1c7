"""Online gradients of every backbone against BPTT in float64: exact where theory says so."""

import dataclasses

import pytest
import torch
from fixtures.backbones import build
from test_eligibility import StepOnly
from torch.nn import functional

from workbench.neurons.presynaptic import presynaptic
from workbench.plugin import SequenceBatch
from workbench.rules.eligibility import LayerEligibility
from workbench.rules.online import OnlinePass, stretches
from workbench.rules.signals import spatial_signals

STEPS, BATCH = 13, 3


def data():
    generator = torch.Generator().manual_seed(4)
    inputs = (torch.rand(STEPS, BATCH, 6, generator=generator) < 0.5).double()
    return SequenceBatch(inputs, torch.tensor([0, 2, 3]))


def bptt(network, batch):
    """Return gradients by parameter name of the step loss, and the true signal dE/dy and input of every layer."""
    activity, signals, activities = batch.inputs, [], []
    for layer in network.layers:
        activities.append(activity.detach())
        _, activity = layer(activity)
        activity.retain_grad()
        signals.append(activity)
    functional.cross_entropy(activity.flatten(0, 1), batch.targets.repeat(STEPS)).backward()
    gradients = {name: parameter.grad.clone() for name, parameter in network.named_parameters()}
    network.zero_grad()
    return gradients, [signal.grad for signal in signals], activities


def assert_equal(network, gradients, tolerance):
    for name, parameter in network.named_parameters():
        assert gradients[name].abs().max() > 1e-6, f"{name} is not put to the test"
        torch.testing.assert_close(
            parameter.grad, gradients[name], rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


LRU_SETTINGS = [
    {"normalisation": "learned", "nonlinearity": "gelu"},
    {"normalisation": "derived", "nonlinearity": "tanh"},
    {"normalisation": "learned", "nonlinearity": "relu", "features": (4,)},
    {"normalisation": "learned", "nonlinearity": "identity", "bias": False},
]


@pytest.mark.parametrize("chunk", [1, 4, STEPS])
@pytest.mark.parametrize("setting", LRU_SETTINGS, ids=lambda s: "-".join(map(str, s.values())))
def test_online_gradients_of_a_linear_recurrent_block_equal_bptt(setting, chunk):
    network, batch = build("lru", **setting), data()
    gradients, _, _ = bptt(network, batch)
    assert {"hidden.0.nu_log", "hidden.0.theta_log"} <= set(gradients)
    OnlinePass(network, spatial_signals).learn(batch, chunk)
    assert_equal(network, gradients, 1e-10)


@pytest.mark.parametrize("chunk", [1, 4])
def test_traces_of_complex_units_are_held_once_per_complex_number(chunk):
    """The general form of traces, four real numbers a synapse, gives the same gradients as one complex number."""
    found, sizes = [], []
    for step_only in (False, True):
        network, batch = build("lru"), data()
        layer = network.layers[0]
        if step_only:
            layer.cell = TwoByTwo(layer.cell)
        online = OnlinePass(network, spatial_signals)
        online.learn(batch, chunk)
        found.append([parameter.grad for parameter in network.parameters()])
        sizes.append(online.credits[0].bytes())
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    parameters = 8 * 2 * BATCH * 5 * 3
    assert sizes[1] - parameters == 2 * (sizes[0] - parameters) == 8 * 4 * BATCH * 5 * 6


class TwoByTwo(StepOnly):
    """A complex cell that defines `step` alone and keeps to itself that it is complex."""

    state_size, current_size, output_size = 2, 2, 2


SNU_SETTINGS = [
    {"name": name, "recurrent": False, "learn_decay": learned, "reset_gradient": reset, "state_function": g}
    for name in ("snu", "ssnu")
    for learned, reset, g in (
        (True, "keep", "leaky-relu"),
        (True, "cut", "identity"),
        (False, "keep", "relu"),
    )
]


@pytest.mark.parametrize("chunk", [1, 5, STEPS])
@pytest.mark.parametrize("setting", SNU_SETTINGS, ids=lambda s: "-".join(map(str, s.values())))
def test_online_gradients_of_a_layer_of_spiking_neural_units_equal_bptt(setting, chunk):
    network, batch = build(**setting), data()
    gradients, _, _ = bptt(network, batch)
    OnlinePass(network, spatial_signals).learn(batch, chunk)
    assert_equal(network, gradients, 1e-10)


@pytest.mark.parametrize("chunk", [1, 5])
@pytest.mark.parametrize("name", ["snu", "ssnu", "lru"])
def test_traces_with_the_true_signal_equal_bptt_in_deep_networks(name, chunk):
    settings = (
        {} if name == "lru" else {"recurrent": False, "readout_decay": 0.7, "learn_readout_decay": True}
    )
    network, batch = build(name, hidden=(5, 4), **settings), data()
    gradients, signals, activities = bptt(network, batch)
    for layer, signal, activity in zip(network.layers, signals, activities, strict=True):
        state = layer.initial_state(BATCH, activity)
        eligibility = LayerEligibility(layer)
        for first, last in stretches(STEPS, chunk):
            stretch = slice(first, last)
            source = presynaptic(activity[stretch], activity)
            trajectory = layer.run(source, state)
            eligibility.accumulate(trajectory, signal[stretch], source, None, last=last == STEPS)
            state = trajectory.state
        eligibility.settle()
    assert_equal(network, gradients, 1e-10)


@pytest.mark.parametrize("chunk", [1, 5, STEPS])
@pytest.mark.parametrize("name", ["snu", "ssnu"])
def test_a_recurrent_unit_that_defines_step_alone_learns_the_same(name, chunk):
    found = []
    for step_only in (False, True):
        network, batch = build(name, recurrent=True, learn_decay=True), data()
        layer = network.layers[0]
        if step_only:
            layer.cell = PairOfStates(layer.cell)
        OnlinePass(network, spatial_signals).learn(batch, chunk)
        found.append([parameter.grad for parameter in network.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


class PairOfStates(StepOnly):
    """A spiking neural unit that defines `step` alone."""

    state_size = 2


def test_trajectories_tell_what_they_hold():
    from workbench.neurons.trajectory import held_by

    for name in ("lif", "snu", "lru"):
        layer = build(name).layers[0]
        activity = data().inputs
        trajectory = layer.run(presynaptic(activity, activity), layer.initial_state(BATCH, activity))
        fields = {field.name for field in dataclasses.fields(trajectory)}
        assert "start" in fields
        held = held_by(trajectory)
        spikes = 0 if name == "lif" else 1
        assert sum(tensor.shape[0] == STEPS for tensor in held) == layer.cell.kept + spikes
