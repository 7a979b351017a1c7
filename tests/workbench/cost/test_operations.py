"""Formulas of operations against learning done number by number, which must also come to the rule's own gradients."""

from __future__ import annotations

import pytest
import torch
from fixtures import scalar_learning as scalar
from fixtures.small import batch, gradients, network, rule

from workbench.cost.counts import MeanActivity, OperationCount, Signals
from workbench.plugin import SequenceBatch
from workbench.rules.loss import goals
from workbench.rules.signals import readout_leak, readout_weights

STEPS, SIZE, INPUTS, CLASSES = 5, 2, 4, 3
SETTINGS = {
    "one layer": {"hidden": (5,), "decay": 0.9},
    "two decays": {"hidden": (5,), "decay": (0.7, 0.95), "decay_values": 2},
    "as many decays as units": {"hidden": (3,), "decay": (0.7, 0.95), "decay_values": 8},
    "side by side": {"hidden": (4, 3), "readout_reads": "all", "decay": 0.9},
    "three layers": {"hidden": (3, 4, 3), "readout_reads": "last", "decay": 0.9, "bias": True},
    "no memory in the readout": {"hidden": (4, 3), "readout_decay": 0.0},
    "recurrent": {"hidden": (4, 3), "recurrent": (True, False), "bias": True},
    "kept reset": {"hidden": (4,), "reset_gradient": "keep", "recurrent": True},
    "hard reset": {"hidden": (4, 3), "reset": "hard", "reset_gradient": "keep"},
    "hard reset, cut": {"hidden": (4,), "reset": "hard"},
    "learned": {"hidden": (4, 3), "learn_decay": True, "learn_readout_decay": True, "bias": True},
}
LEARNERS = {
    "bptt": ("bptt", {"loss": "step"}),
    "sltt": ("sltt", {}),
    "ottt": ("ottt", {}),
    "ostl": ("ostl", {}),
    "ostl unfiltered": ("ostl", {"readout_filter": False}),
    "ostl full": ("ostl", {"traces": "full"}),
    "ostl full, unfiltered": ("ostl", {"traces": "full", "readout_filter": False}),
    "eprop": ("eprop", {}),
    "eprop random": ("eprop", {"feedback": "random"}),
    "eprop unfiltered": ("eprop", {"feedback": "random", "readout_filter": False}),
    "osttp": ("osttp", {}),
}


def small(**settings):
    return network(INPUTS, CLASSES, **settings)


def data(counts: bool = False) -> SequenceBatch:
    made = batch(STEPS, SIZE, INPUTS, CLASSES)
    if not counts:
        return made
    generator = torch.Generator().manual_seed(5)
    return SequenceBatch(
        torch.randint(0, 3, made.inputs.shape, generator=generator).to(torch.uint8), made.targets
    )


def signals_of(outputs) -> Signals:
    """Return the numbers a step and sequence of `[T, B, N]` outputs, counted one by one."""
    numbers = outputs.double().flatten().tolist()
    rows = outputs.shape[0] * outputs.shape[1]
    return Signals(sum(n == 1 for n in numbers) / rows, sum(n not in (0, 1) for n in numbers) / rows)


def activity_of(net, given) -> MeanActivity:
    with torch.no_grad():
        spikes = net.run(given.inputs).spikes
    earlier = [torch.cat([torch.zeros_like(outputs[:1]), outputs[:-1]]) for outputs in spikes]
    hidden, before = (tuple(signals_of(outputs) for outputs in each) for each in (spikes, earlier))
    return MeanActivity(signals_of(given.inputs), hidden, before)


def learn(name, settings, bound, net, given, meter):
    """Let every sequence be learned from number by number; returns the units of each, with their gradients."""
    found = []
    for sample in range(given.size):
        layers = scalar.run(net, given.inputs[:, sample].double().tolist(), meter)
        outputs = torch.tensor(layers[-1].out, dtype=torch.float64)
        goal = goals(given, net.classes, torch.float64)[0, sample]
        scale = 1.0 / (len(outputs) * given.size)
        errors = ((torch.softmax(outputs, 1) - goal) * scale).tolist()
        if name == "bptt":
            scalar.back_propagate(net, layers, errors, meter)
        elif name in ("sltt", "ottt"):
            scalar.in_space(net, layers, errors, meter, leak=name == "ottt")
        else:
            eligible(name, settings, bound, net, layers, errors, (goal * scale).tolist(), meter)
        found.append(layers)
    return found


def eligible(name, settings, bound, net, layers, errors, goal, meter):
    kappa = readout_leak(net) if name != "osttp" and settings.get("readout_filter", True) else 0.0
    read = [weight is not None for weight in readout_weights(net)] + [False]
    traces = []
    for index, units in enumerate(layers):
        filtered = kappa > 0 and units is not layers[-1] and (read[index] or name == "eprop")
        full = settings.get("traces") == "full" and units.recurrent
        kind = scalar.ThreeIndexTraces if full else scalar.Traces
        traces.append(kind(units, kappa if filtered else None, meter))
    projected = [[0.0] * units.n for units in layers[:-1]]
    if name == "osttp":
        meter.purpose = "errors"
        for index, matrix in enumerate(bound.feedback):
            for i, row in enumerate(matrix.tolist()):
                for k, wanted in enumerate(goal):
                    # One-hot: the target's column is added, scaled with the loss.
                    if wanted:
                        projected[index][i] = meter.ac(projected[index][i], row[k] * wanted)
    for t, error in enumerate(errors):
        sloped: set[int] = set()
        if name == "ostl":
            signals, sloped = scalar.signals_in_space(net, layers, t, error, meter)
        else:
            signals = [scalar.Signal(now=values) for values in projected] + [scalar.Signal(now=error)]
        if name == "eprop":
            meter.purpose = "errors"
            for index, matrix in enumerate(bound.matrices()):
                part = [0.0] * layers[index].n
                for i, row in enumerate(matrix.tolist()):
                    for k, value in enumerate(error):
                        part[i] = meter.mac(part[i], row[k], value)
                signals[index] = scalar.Signal(through=part)
        for index, trace in enumerate(traces):
            trace.advance(t)
            trace.learn(t, signals[index], sloped=index in sloped and trace.kappa is None)


def assert_gradients(net, found, expected):
    """Hold gradients that were found number by number to the rule's."""
    for index, layer in enumerate(net.layers):
        total = torch.tensor([layers[index].gradient for layers in found], dtype=torch.float64).sum(0)
        names = {"synapse.weight": total[:, : layer.inputs]}
        column = layer.inputs
        if layer.synapse.bias is not None:
            names["synapse.bias"], column = total[:, column], column + 1
        if layer.recurrent is not None:
            names["recurrent.weight"] = total[:, column : column + layer.units]
        if layer.cell.trained():
            decay = layer.cell_parameters()["decay"].detach()
            names["decay_logit"] = total[:, -1] * decay * (1.0 - decay)
        place = f"hidden.{index}" if index < len(net.layers) - 1 else "readout"
        for name, value in names.items():
            torch.testing.assert_close(value, expected[f"{place}.{name}"], rtol=1e-6, atol=1e-9)


def rounded(count: OperationCount) -> dict[str, tuple[float, float]]:
    parts = {name: (round(part.mac, 6), round(part.ac, 6)) for name, part in count.by_purpose().items()}
    return {name: part for name, part in parts.items() if any(part)}


def measured(meter) -> dict[str, tuple[float, float]]:
    purposes = {purpose for purpose, _ in meter.counts}
    return {
        purpose: tuple(round(meter.counts[purpose, kind] / SIZE, 6) for kind in ("mac", "ac"))
        for purpose in purposes
    }


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("learner", LEARNERS)
def test_formula_equals_learning_number_by_number_and_that_is_the_rule(learner, setting):
    name, settings = LEARNERS[learner]
    net, given = small(**SETTINGS[setting]), data(counts=setting == "side by side")
    bound = rule(name, net, **settings)
    meter = scalar.Meter()
    found = learn(name, settings, bound, net, given, meter)
    count = bound.operations(STEPS, SIZE, activity_of(net, given))
    assert sum(sum(map(sum, layers[0].out)) for layers in found) > 0
    expected = rounded(count)
    if learner == "eprop" and setting == "three layers":
        # B of the lower layers, made once a batch.
        made = (4 * 3 + 3 * 4) * CLASSES / SIZE
        expected["errors"] = (round(expected["errors"][0] - made, 6), expected["errors"][1])
    assert measured(meter) == expected
    bound.train_step(given)
    assert_gradients(net, found, gradients(net))
