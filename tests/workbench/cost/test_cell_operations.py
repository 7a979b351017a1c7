"""What cells other than LIF take: their equations worked through number by number, held to the rules' gradients.

One hidden layer (of `lru` one block) below a readout without memory; the targets of OSTTP as learning signal, or BPTT.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from fixtures import scalar_learning as scalar
from fixtures.backbones import build
from fixtures.small import batch, gradients, rule
from test_operations import activity_of, data, rounded, signals_of, small

from workbench.backbones.network import Layer
from workbench.cost.counts import MeanActivity, OperationCount, Operations, Signals
from workbench.cost.operations import forward, readings
from workbench.neurons.cell import Cell
from workbench.neurons.surrogate import slope

STEPS, SIZE, INPUTS, CLASSES, UNITS = 4, 2, 3, 3, 4
SNUS = {
    "spiking": {"name": "snu"},
    "spiking, no rectifier": {"name": "snu", "state_function": "identity"},
    "reset cut": {"name": "snu", "reset_gradient": "cut"},
    "soft": {"name": "ssnu"},
    "soft rectified": {"name": "ssnu", "state_function": "leaky-relu"},
    "feed-forward": {"name": "snu", "recurrent": False},
}


def activity(net, given, *, spiking: bool) -> MeanActivity:
    """Return what was active; outputs that are no spikes count in full."""
    if spiking:
        return activity_of(net, given)
    full = [Signals(others=float(layer.width)) for layer in net.layers[:-1]]
    return MeanActivity.steady(signals_of(given.inputs), full, STEPS)


def signals(bound, given, sample, outputs):
    """Return OSTTP's target signal `[n]` of the hidden units and the readout's errors `[T][C]`, on the loss's scale."""
    scale = 1.0 / (STEPS * SIZE)
    goal = torch.nn.functional.one_hot(given.targets[sample], CLASSES).double()
    errors = (torch.softmax(torch.tensor(outputs, dtype=torch.float64), 1) - goal) * scale
    projected = (
        [] if not hasattr(bound, "feedback") else [(m @ goal * scale).tolist() for m in bound.feedback]
    )
    return projected, errors.tolist()


class SNULayer:
    """A layer of spiking or soft units in plain numbers."""

    def __init__(self, layer: Layer, meter: scalar.Meter) -> None:
        self.cell, self.meter = layer.cell, meter
        self.own = None if layer.recurrent is None else layer.recurrent.weight.tolist()
        columns = [layer.synapse.weight] + ([] if self.own is None else [layer.recurrent.weight])
        self.weight = torch.cat(columns, 1).tolist()
        self.decay = layer.cell_parameters()["decay"].tolist()
        self.threshold = layer.cell_parameters()["threshold"].tolist()
        self.read, self.value, self.out, self.p, self.q = ([] for _ in range(5))
        self.gradient = [[0.0] * len(self.weight[0]) for _ in range(UNITS)]

    def run(self, numbers: list[float]) -> list[float]:
        meter, cell = self.meter, self.cell
        before = self.out[-1] if self.out else [0.0] * UNITS
        value = self.value[-1] if self.value else [0.0] * UNITS
        read = numbers + ([] if self.own is None else before)
        current = [0.0] * UNITS
        meter.purpose = "synapses"
        for i in range(UNITS):
            for j, number in enumerate(read):
                current[i] = meter.driven(current[i], self.weight[i][j], number)
        meter.purpose = "cells"
        below, values, outputs, p, q = cell.below_zero, [], [], [], []
        for i in range(UNITS):
            kept = value[i] if before[i] == 0 else 0.0
            if not cell.spikes:
                kept = meter.mac(0.0, value[i], 1.0 - before[i])
            total = meter.mac(current[i], self.decay[i], kept)
            q.append(1.0 if total > 0 else below)
            values.append(total * q[-1])
            above = torch.tensor(values[-1] - self.threshold[i], dtype=torch.float64)
            outputs.append(float(above >= 0) if cell.spikes else float(torch.sigmoid(above)))
            soft = outputs[-1] * (1 - outputs[-1])
            p.append(float(slope(cell.surrogate, above, cell.sharpness)) if cell.spikes else soft)
        for kept_list, new in zip(
            (self.read, self.value, self.out, self.p, self.q), (read, values, outputs, p, q), strict=True
        ):
            kept_list.append(new)
        return outputs

    def couplings(self, t: int, i: int) -> tuple[float, float]:
        """Return ds_{t+1} by s_t and, if the reset's gradient is kept, by y_t, both over q_{t+1}."""
        meter, cell = self.meter, self.cell
        y = self.out[t][i] if t >= 0 else 0.0
        s = self.value[t][i] if t >= 0 else 0.0
        by_value = self.decay[i] * (1.0 - y) if cell.spikes else meter.mac(0.0, self.decay[i], 1.0 - y)
        by_output = meter.mac(0.0, -self.decay[i], s) if cell.reset_gradient == "keep" else 0.0
        return by_value, by_output

    def traces(self, signal: list[float]) -> None:
        """Learn from eligibility traces under the same dE/dy at every step."""
        meter, width = self.meter, len(self.weight[0])
        eps, e = ([[0.0] * width for _ in range(UNITS)] for _ in range(2))
        keep, rectified = self.cell.reset_gradient == "keep", self.cell.below_zero != 1.0
        for t in range(STEPS):
            for i in range(UNITS):
                meter.purpose = "traces"
                by_value, by_output = self.couplings(t - 1, i)
                if self.own is not None:
                    by_output = meter.mac(by_output, self.own[i][i], 1.0)
                    if not keep:
                        # e is p eps: the way through the unit's own synapse joins the other.
                        by_value += by_output * (self.p[t - 1][i] if t else 0.0)
                # q is 1 or the rectifier's slope: a factor that is chosen, not computed.
                q = self.q[t][i]
                for j, number in enumerate(self.read[t]):
                    total = meter.mac(0.0, q, number) if rectified else number
                    total = meter.mac(total, q * by_value, eps[i][j])
                    if keep:
                        total = meter.mac(total, q * by_output, e[i][j])
                        e[i][j] = meter.mac(0.0, self.p[t][i], total)
                    eps[i][j] = total
                local = signal[i]
                if not keep:
                    meter.purpose = "errors"
                    local = meter.mac(0.0, signal[i], self.p[t][i])
                    if rectified:
                        meter.mac(0.0, 0.0, 0.0)
                meter.purpose = "gradients"
                for j in range(width):
                    self.gradient[i][j] = meter.mac(self.gradient[i][j], local, (e if keep else eps)[i][j])

    def back(self, signals: list[list[float]]) -> None:
        """Back-propagate through time from dE/dy by the layers above, `[T][n]`."""
        meter, later = self.meter, [0.0] * UNITS
        keep, rectified = self.cell.reset_gradient == "keep", self.cell.below_zero != 1.0
        for t in reversed(range(STEPS)):
            now = []
            for i in range(UNITS):
                meter.purpose = "errors"
                by_y = signals[t][i]
                if self.own is not None:
                    for k in range(UNITS):
                        by_y = meter.mac(by_y, self.own[k][i], later[k])
                by_value, by_output = self.couplings(t, i)
                if keep:
                    by_y = meter.mac(by_y, by_output, later[i])
                by_s = meter.mac(0.0, self.p[t][i], by_y)
                by_s = meter.mac(by_s, by_value, later[i])
                now.append(meter.mac(0.0, self.q[t][i], by_s) if rectified else by_s)
                meter.purpose = "gradients"
                for j, number in enumerate(self.read[t]):
                    self.gradient[i][j] = meter.driven(self.gradient[i][j], now[i], number)
            later = now


def readout(net, numbers, meter):
    """Return the outputs `[C]` of a dense readout with biases."""
    meter.purpose = "synapses"
    outputs = [0.0] * CLASSES
    for i, row in enumerate(net.readout.synapse.weight.tolist()):
        for j, number in enumerate(numbers):
            add = meter.driven if net.hidden[-1].cell.spikes else meter.mac
            outputs[i] = add(outputs[i], row[j], number)
        if net.readout.synapse.bias is not None:
            outputs[i] = meter.ac(outputs[i], net.readout.synapse.bias.tolist()[i])
    return outputs


def learn_readout(net, hidden, errors, meter):
    """Count the readout's gradient at a step."""
    meter.purpose = "gradients"
    for _ in errors:
        for number in hidden:
            (meter.driven if net.hidden[-1].cell.spikes else meter.mac)(0.0, 0.0, number)
        if net.readout.synapse.bias is not None:
            meter.ac(0.0, 0.0)


def project(bound, projected, meter):
    """Count the projection of a one-hot target."""
    meter.purpose = "errors"
    for numbers in projected if hasattr(bound, "feedback") else []:
        for number in numbers:
            meter.ac(0.0, number)


def down(net, errors, meter):
    """Return dE/dy of the layer below the readout by its errors at a step."""
    meter.purpose = "errors"
    weight = net.readout.synapse.weight.tolist()
    found = [0.0] * len(weight[0])
    for i in range(len(found)):
        for k, error in enumerate(errors):
            found[i] = meter.mac(found[i], weight[k][i], error)
    return found


def per_sequence(meter):
    counts = {purpose: [0.0, 0.0] for purpose, _ in meter.counts}
    for (purpose, kind), count in meter.counts.items():
        counts[purpose][kind == "ac"] = round(count / SIZE, 6)
    return {purpose: tuple(pair) for purpose, pair in counts.items()}


@pytest.mark.parametrize("name", ["osttp", "bptt"])
@pytest.mark.parametrize("setting", SNUS)
def test_spiking_neural_units(setting, name):
    settings = {"learn_threshold": False} | SNUS[setting]
    net = build(inputs=INPUTS, outputs=CLASSES, **({"hidden": (UNITS,)} | settings))
    given = batch(STEPS, SIZE, INPUTS, CLASSES)
    bound = rule(name, net, **({"loss": "step"} if name == "bptt" else {}))
    meter, total = scalar.Meter(), 0.0
    for sample in range(SIZE):
        layer = SNULayer(net.hidden[0], meter)
        outputs = [readout(net, layer.run(row), meter) for row in given.inputs[:, sample].double().tolist()]
        projected, errors = signals(bound, given, sample, outputs)
        for t, error in enumerate(errors):
            learn_readout(net, layer.out[t], error, meter)
        if name == "bptt":
            layer.back([down(net, error, meter) for error in errors])
        else:
            project(bound, projected, meter)
            layer.traces(projected[0])
        total = total + torch.tensor(layer.gradient, dtype=torch.float64)
    count = bound.operations(STEPS, SIZE, activity(net, given, spiking=net.hidden[0].cell.spikes))
    assert per_sequence(meter) == rounded(count)
    bound.train_step(given)
    found = gradients(net)
    expected = [found["hidden.0.synapse.weight"]]
    if net.hidden[0].recurrent is not None:
        expected.append(found["hidden.0.recurrent.weight"])
    torch.testing.assert_close(total, torch.cat(expected, 1), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["osttp", "bptt"])
def test_linear_recurrent_units(name):
    net = build("lru", INPUTS, CLASSES, hidden=(UNITS,), nonlinearity="tanh", bias=False)
    for raw in ("nu_log", "theta_log", "gamma_log"):
        net.hidden[0]._parameters[raw].requires_grad_(False)
    given = batch(STEPS, SIZE, INPUTS, CLASSES)
    bound = rule(name, net, **({"loss": "step"} if name == "bptt" else {}))
    meter = scalar.Meter()
    values = net.hidden[0].cell_parameters()
    turn = torch.complex(values["eigenvalue_re"], values["eigenvalue_im"]).tolist()
    gamma = values["scale"].tolist()
    into, mixing = net.hidden[0].synapse.weight.tolist(), net.hidden[1].synapse.weight.tolist()
    total, mixed = (torch.zeros_like(net.hidden[index].synapse.weight) for index in (0, 1))

    def times(left, right):
        """Return a complex product, four MACs."""
        re = meter.mac(meter.mac(0.0, left.real, right.real), -left.imag, right.imag)
        im = meter.mac(meter.mac(0.0, left.real, right.imag), left.imag, right.real)
        return complex(re, im)

    for sample in range(SIZE):
        rows = given.inputs[:, sample].double().tolist()
        z, states, features, outputs = [0j] * UNITS, [], [], []
        for row in rows:
            currents = [0.0] * (2 * UNITS)
            meter.purpose = "synapses"
            for i in range(2 * UNITS):
                for j, number in enumerate(row):
                    currents[i] = meter.driven(currents[i], into[i][j], number)
            meter.purpose = "cells"
            for i in range(UNITS):
                scaled = complex(
                    meter.mac(0.0, gamma[i], currents[i]), meter.mac(0.0, gamma[i], currents[UNITS + i])
                )
                z[i] = times(turn[i], z[i]) + scaled
            states.append([value.real for value in z] + [value.imag for value in z])
            meter.purpose = "synapses"
            mix = [0.0] * UNITS
            for i in range(UNITS):
                for j, number in enumerate(states[-1]):
                    mix[i] = meter.mac(mix[i], mixing[i][j], number)
            features.append(torch.tensor(mix, dtype=torch.float64).tanh().tolist())
            outputs.append(readout(net, features[-1], meter))
        projected, errors = signals(bound, given, sample, outputs)
        project(bound, projected, meter)
        eps, later = [[0j] * INPUTS for _ in range(UNITS)], [0j] * UNITS
        for t in range(STEPS) if name == "osttp" else reversed(range(STEPS)):
            learn_readout(net, features[t], errors[t], meter)
            signal = projected[1] if name == "osttp" else down(net, errors[t], meter)
            meter.purpose = "errors"
            local = [meter.mac(0.0, signal[i], 1 - features[t][i] ** 2) for i in range(UNITS)]
            meter.purpose = "gradients"
            for i in range(UNITS):
                for j, number in enumerate(states[t]):
                    mixed[i, j] += meter.mac(0.0, local[i], number)
            meter.purpose = "errors"
            if name == "osttp":
                on_state = projected[0]
            else:
                on_state = [0.0] * (2 * UNITS)
                for j in range(2 * UNITS):
                    for i in range(UNITS):
                        on_state[j] = meter.mac(on_state[j], mixing[i][j], local[i])
            for i in range(UNITS):
                meter.purpose = "errors"
                owed = complex(on_state[i], on_state[UNITS + i])
                if name == "bptt":
                    later[i] = owed + times(turn[i].conjugate(), later[i])
                    local_re = meter.mac(0.0, gamma[i], later[i].real)
                    local_im = meter.mac(0.0, gamma[i], later[i].imag)
                    meter.purpose = "gradients"
                    for j, number in enumerate(rows[t]):
                        total[i, j] += meter.driven(0.0, local_re, number)
                        total[UNITS + i, j] += meter.driven(0.0, local_im, number)
                    continue
                for j, number in enumerate(rows[t]):
                    meter.purpose = "traces"
                    eps[i][j] = times(turn[i], eps[i][j]) + meter.mac(0.0, gamma[i], number)
                    meter.purpose = "gradients"
                    product = times(eps[i][j].conjugate(), owed)
                    total[i, j] += product.real
                    total[UNITS + i, j] += product.imag
    count = bound.operations(STEPS, SIZE, activity(net, given, spiking=False))
    assert per_sequence(meter) == rounded(count)
    bound.train_step(given)
    torch.testing.assert_close(total, net.hidden[0].synapse.weight.grad, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(mixed, net.hidden[1].synapse.weight.grad, rtol=1e-6, atol=1e-9)


def test_sltt_k_learns_in_k_steps_alone():
    net = small()
    given = data()
    active = activity_of(net, given)
    whole, some = (rule("sltt", net, **chosen).operations(5, 2, active) for chosen in ({}, {"steps": 2}))
    assert some.forward == whole.forward
    for purpose in ("errors", "gradients"):
        assert getattr(some, purpose).mac == pytest.approx(0.4 * getattr(whole, purpose).mac)
        assert getattr(some, purpose).ac == pytest.approx(0.4 * getattr(whole, purpose).ac)
    assert rule("sltt", net, steps=9).operations(5, 2, active) == whole


def test_eprop_makes_its_feedback_once_a_batch_or_at_every_update():
    net = small(hidden=(3, 4), readout_reads="last")
    active = activity_of(net, data())
    errors = {}
    for update in ("sequence", "step"):
        made = rule("eprop", net, update=update).operations(5, 10, active)
        errors[update] = made.errors.mac
    product = 4 * 3 * 3
    assert errors["step"] - errors["sequence"] == pytest.approx(product * (5 - 1) / 10)
    adaptive, fixed = (
        rule("eprop", net, feedback=kind).operations(5, 10, active).errors.mac
        for kind in ("adaptive", "random")
    )
    assert adaptive - fixed == pytest.approx(4 * 3 / 10)


def test_targets_of_every_step_are_projected_as_often_as_they_are_one():
    net = small(hidden=(3, 4))
    active = activity_of(net, data())
    many = MeanActivity(active.inputs, active.hidden, active.earlier, Signals(ones=7.5))
    made = rule("osttp", net)
    assert made.operations(5, 1, active).errors.ac == 7
    assert made.operations(5, 1, many).errors.ac == 7 * 7.5


@dataclass(frozen=True)
class Oscillator(Cell):
    """A cell of somebody else's, which says nothing of its operations: two states, one current."""

    state_size: ClassVar[int] = 2

    def initial_parameters(self, size, generator):
        return {"turn": torch.full((size,), 0.1)}


def test_a_cell_that_does_not_say_is_taken_for_one_whose_states_all_act_on_one_another():
    found = Oscillator().operations
    assert (found.step, found.transition, found.drive, found.gradient, found.slope) == (4, 4, 2, 2, 1)


def test_activity_of_another_network_is_refused():
    net = small()
    with pytest.raises(ValueError, match="1 hidden layers need as many activities, not 0"):
        readings(net, MeanActivity(Signals(), (), ()))


def test_counts_add_up_and_scale():
    one = OperationCount(synapses=Operations(1, 2), errors=Operations(3))
    twice = one + one
    assert twice == one * 2
    assert (twice.forward, twice.learning) == (Operations(2, 4), Operations(6))
    assert twice.forward.total == 6


def test_silence_costs_no_more_than_the_units_own_updates():
    net = small(hidden=(3, 4))
    silent = MeanActivity(Signals(), (Signals(), Signals()), (Signals(), Signals()))
    assert forward(net, silent) == OperationCount(cells=Operations(mac=3 + 4 + 3))
