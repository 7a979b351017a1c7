"""Eligibility traces against autograd BPTT in float64, in every chunking and every form."""

import itertools

import pytest
import torch
from torch.nn import functional

from workbench.backbones.lif import LIFBackbone, LIFConfig
from workbench.neurons.cell import Cell
from workbench.neurons.lif import LIF
from workbench.neurons.presynaptic import presynaptic
from workbench.neurons.surrogate import SURROGATES
from workbench.rules.eligibility import LayerEligibility
from workbench.rules.full_trace import full_trace_gradients
from workbench.rules.online import stretches

STEPS, BATCH, INPUTS, UNITS, CLASSES = 13, 3, 6, 5, 4
CHUNKS = (1, 2, 5, STEPS, STEPS + 7)


def build(**settings):
    defaults = {"hidden": (UNITS,), "gain": 1.5, "sharpness": 2.0, "decay": (0.7, 0.95), "bias": True}
    config = LIFConfig(**(defaults | settings))
    network = LIFBackbone(config).build(INPUTS, CLASSES, torch.Generator().manual_seed(3)).double()
    inputs = (torch.rand(STEPS, BATCH, INPUTS, generator=torch.Generator().manual_seed(4)) < 0.4).double()
    return network, inputs, torch.tensor([0, 2, 3])


def exact(network, inputs, targets):
    """Return autograd's gradients by parameter, and the true learning signals dE/dy of hidden and readout layers."""
    activity, signals, activities = inputs, [], []
    for layer in network.layers:
        activities.append(activity.detach())
        _, activity = layer(activity)
        activity.retain_grad()
        signals.append(activity)
    loss = functional.cross_entropy(activity.flatten(0, 1), targets.repeat(STEPS))
    parameters = dict(network.named_parameters())
    loss.backward()
    gradients = {name: value.grad.clone() for name, value in parameters.items()}
    network.zero_grad()
    return gradients, [signal.grad for signal in signals], activities


def stream(layer, activity, signal, chunk):
    """Let the layer learn from the given signal in chunks; gradients land in `.grad`."""
    state = layer.initial_state(BATCH, activity)
    eligibility = LayerEligibility(layer)
    for first, last in stretches(STEPS, chunk):
        source = presynaptic(activity[first:last], activity)
        trajectory = layer.run(source, state)
        before = None
        if layer.recurrent is not None:
            earlier = layer.cell.output({}, state)
            before = presynaptic(torch.cat([earlier[None], trajectory.outputs[:-1]]), activity)
        eligibility.accumulate(trajectory, signal[first:last], source, before, last=last == STEPS)
        state = trajectory.state
    eligibility.settle()
    return eligibility


SETTINGS = [
    {"reset": reset, "reset_gradient": gradient, "surrogate": surrogate, "learn_decay": learned}
    for reset, gradient, surrogate, learned in itertools.product(
        ("soft", "hard"), ("cut", "keep"), SURROGATES[:2], (False, True)
    )
]


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: "-".join(map(str, s.values())))
def test_traces_with_the_true_signal_equal_bptt(setting, chunk):
    network, inputs, targets = build(**setting, learn_readout_decay=setting["learn_decay"])
    gradients, signals, activities = exact(network, inputs, targets)
    for layer, signal, activity in zip(network.layers, signals, activities, strict=True):
        stream(layer, activity, signal, chunk)
    assert any(gradient.abs().max() > 1e-3 for gradient in gradients.values())
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(
            parameter.grad, gradients[name], rtol=1e-8, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("values", [1, 2, 3])
def test_presynaptic_and_synaptic_traces_agree(values, monkeypatch):
    """Constant decays in few values take the presynaptic form; hiding their constancy forces the synaptic one."""
    results, sizes = [], []
    for hide in (False, True):
        network, inputs, targets = build(decay_values=values)
        _, signals, activities = exact(network, inputs, targets)
        layer = network.layers[0]
        if hide:
            monkeypatch.setattr(LIF, "constant_decay", lambda *_, **__: None)
        eligibility = stream(layer, activities[0], signals[0], 4)
        results.append(layer.synapse.weight.grad)
        sizes.append(eligibility.bytes())
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)
    assert sizes[0] == values * BATCH * (INPUTS + 1) * 8
    assert sizes[1] == BATCH * UNITS * (INPUTS + 1) * 8


class StepOnly(Cell):
    """A cell that defines `step` alone, as a newcomer would write it."""

    def __init__(self, cell: LIF) -> None:
        object.__setattr__(self, "_cell", cell)

    def initial_parameters(self, size, generator):
        return self._cell.initial_parameters(size, generator)

    def trained(self):
        return self._cell.trained()

    def constrain(self, raw):
        return self._cell.constrain(raw)

    def output(self, parameters, state):
        return self._cell.output(parameters, state)

    def step(self, parameters, state, current):
        return self._cell.step(parameters, state, current)


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("chunk", [1, 4, STEPS])
def test_a_cell_that_defines_step_alone_learns_the_same(chunk, recurrent):
    results = []
    for step_only in (False, True):
        network, inputs, targets = build(
            learn_decay=True, reset="hard", reset_gradient="keep", recurrent=recurrent
        )
        _, signals, activities = exact(network, inputs, targets)
        layer = network.layers[0]
        if step_only:
            layer.cell = StepOnly(layer.cell)
        stream(layer, activities[0], signals[0], chunk)
        results.append([parameter.grad for parameter in layer.parameters()])
    for fused, plain in zip(*results, strict=True):
        torch.testing.assert_close(fused, plain, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("reset_gradient", ["cut", "keep"])
def test_full_trace_of_a_recurrent_layer_equals_bptt(reset_gradient):
    network, inputs, targets = build(recurrent=True, reset="hard", reset_gradient=reset_gradient, bias=False)
    gradients, signals, activities = exact(network, inputs, targets)
    # What reaches y_t from above, without what goes through the layer's own later steps.
    outside = direct_signal(network, signals[1])
    found = full_trace_gradients(network.layers[0], activities[0], outside)
    torch.testing.assert_close(found.synapse, gradients["hidden.0.synapse.weight"], rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(found.recurrent, gradients["hidden.0.recurrent.weight"], rtol=1e-8, atol=1e-8)


def direct_signal(network, error):
    """Return dE/dy of the hidden layer through the readout alone: error scanned back, times the readout weights."""
    readout = network.readout
    decay = readout.cell_parameters()["decay"]
    later = torch.zeros_like(error[0])
    signal = []
    for step in error.flip(0):
        later = step + decay * later
        signal.append(later @ readout.synapse.weight)
    return torch.stack(signal).flip(0).detach()


def test_diagonal_form_of_recurrence_is_an_approximation_of_known_distance():
    """The diagonal form is not exact, and close: cosine to the true gradient above 0.9, below 1."""
    network, inputs, targets = build(recurrent=True, bias=False)
    gradients, signals, activities = exact(network, inputs, targets)
    stream(network.layers[0], activities[0], direct_signal(network, signals[1]), 4)
    for name in ("synapse", "recurrent"):
        true = gradients[f"hidden.0.{name}.weight"].flatten()
        cosine = functional.cosine_similarity(getattr(network.layers[0], name).weight.grad.flatten(), true, 0)
        assert 0.9 < cosine < 0.99999, name


def test_full_trace_refuses_a_layer_without_recurrence():
    network, inputs, _ = build()
    with pytest.raises(ValueError, match="no recurrent synapse"):
        full_trace_gradients(network.layers[0], inputs, torch.zeros(STEPS, BATCH, UNITS))
