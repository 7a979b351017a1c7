"""Operations of one sequence: the parts of the analytic formulas that rules share.

T steps; layer l with m_l presynaptic numbers (inputs, a bias, its own outputs if recurrent), n_l units, p_l weights on
each presynaptic number (n_l, or 2 n_l of a complex unit); W_l its feed-forward weights. x_l numbers of what it reads
are 1 or otherwise not zero at a step (`Signals`): they alone cause operations, an AC for a 1 and a MAC for the rest.
Errors, slopes and traces are real numbers and count in full, zeros among them included.

Counted is the algorithm as its equations say, one step after the other: the recursions that a chip would run. What runs
here handles chunks of steps at once with the same result. A recursion takes T steps, the first from a state of zeros.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import torch

from workbench.backbones.network import Layer, Network
from workbench.cost.counts import MeanActivity, OperationCount, Operations, Signals, summed
from workbench.rules.eligibility import learned_parameters, presynaptic_groups


@dataclass(frozen=True)
class Reading:
    """A layer and what its units read: width m_l, and how much of it is active at a step."""

    layer: Layer
    width: int
    signals: Signals

    @property
    def fan_out(self) -> int:
        """Weights p_l on each presynaptic number."""
        return int(self.layer.synapse.weight.shape[0])

    @property
    def learned(self) -> int:
        """Trained cell parameters of a unit."""
        return len(learned_parameters(self.layer))


def readings(network: Network, activity: MeanActivity) -> list[Reading]:
    """Return every layer with what it reads, from the input to the readout.

    Raises ValueError if the activity is not that of as many hidden layers.
    """
    layers, hidden = network.layers, activity.hidden
    if len(hidden) != len(layers) - 1:
        raise ValueError(f"{len(layers) - 1} hidden layers need as many activities, not {len(hidden)}")
    below = [activity.inputs, *hidden[:-1], sum(hidden, Signals()) if network.reads_all else hidden[-1]]
    found = []
    for index, layer in enumerate(layers):
        width, signals = layer.inputs, below[index]
        if layer.synapse.bias is not None:
            width, signals = width + 1, signals + Signals(ones=1.0)
        if layer.recurrent is not None:
            width, signals = width + layer.width, signals + activity.earlier[index]
        found.append(Reading(layer, width, signals))
    return found


def forward(network: Network, activity: MeanActivity) -> OperationCount:
    """Operations of a step forward: sum_l p_l x_l for the synapses; the state update and resets of every unit."""
    synapses = summed(reading.signals.into(reading.fan_out) for reading in readings(network, activity))
    cells = Operations(
        mac=sum(layer.units * layer.cell.operations.step for layer in network.layers),
        ac=sum(
            layer.cell.operations.reset * sent.ones
            for layer, sent in zip(network.layers[:-1], activity.hidden, strict=True)
        ),
    )
    return OperationCount(synapses=synapses, cells=cells)


def transported(network: Network) -> Operations:
    """Errors back through the weights at a step: sum of |W_l| over all layers but the first, MACs."""
    return Operations(mac=sum(layer.synapse.weight.numel() for layer in network.layers[1:]))


def slopes(layers: Collection[Layer]) -> Operations:
    """From dE/dy to dE/dI at a step: a MAC a unit (and more where the cell says so)."""
    return Operations(mac=sum(layer.units * layer.cell.operations.slope for layer in layers))


def through_time(network: Network, activity: MeanActivity) -> OperationCount:
    """Back-propagation through a step: |W_l| but for the first layer, |R_l|, slopes, transitions; p_l x_l gradients.

    A trained cell parameter takes a MAC a unit.
    """
    errors = transported(network) + slopes(network.layers)
    for layer in network.layers:
        cell = layer.cell.operations
        recurrent = 0 if layer.recurrent is None else layer.recurrent.weight.numel()
        errors += Operations(mac=recurrent + layer.units * (cell.transition + cell.derivatives))
    gradients = (instantaneous(reading) for reading in readings(network, activity))
    return sum(gradients, OperationCount(errors=errors))


def instantaneous(reading: Reading) -> OperationCount:
    """Gradients of a step without traces: p_l x_l, and a MAC a unit for each trained cell parameter."""
    direct = Operations(mac=reading.layer.units * reading.learned)
    return OperationCount(gradients=reading.signals.into(reading.fan_out) + direct)


@torch.no_grad()
def leaking(reading: Reading) -> OperationCount:
    """Presynaptic traces with the cell's leak, D distinct values: D m_l MACs to move, p_l m_l for the gradient.

    As `instantaneous` where nothing leaks, as `eligible` where the state does not decay by one real number.
    """
    leak = reading.layer.cell.leak(reading.layer.cell_parameters())
    if leak is None:
        return eligible(reading)
    if not bool((leak > 0).any()):
        return instantaneous(reading)
    moved = torch.unique(leak).numel() * reading.width
    direct = reading.layer.units * reading.learned
    return OperationCount(
        traces=Operations(mac=moved), gradients=Operations(mac=reading.fan_out * reading.width + direct)
    )


def eligible(reading: Reading, *, filtered: bool = False, twice: bool = False) -> OperationCount:
    """Eligibility traces at a step, within each unit: k (D or n_l) m_l MACs to move, g n_l m_l for the gradient.

    k, g: MACs of one trace in its recursion and in the gradient, 1 for a leaky unit; D: distinct constant decays, where
    traces are presynaptic. A trained cell parameter counts like one more input. filtered: a second trace a synapse,
    kappa f + (dy/ds) eps, 2 MACs. twice: a layer under two signals, one on each of these traces. Units without memory
    have no traces.
    """
    layer, cell = reading.layer, reading.layer.cell.operations
    if cell.transition == 0 and not filtered:
        return instantaneous(reading)
    synapses = layer.units * (reading.width + reading.learned)
    groups = presynaptic_groups(layer)
    rows = layer.units * reading.width if groups is None else len(groups[0]) * reading.width
    moving = cell.transition + cell.drive + (cell.output if cell.feeds_back else 0)
    if cell.transition == 0:
        # Nothing is remembered but by the filter.
        moving = 0
    traces = moving * (rows + layer.units * reading.learned)
    if cell.transition:
        # Of a recurrent unit also through its weight on itself.
        traces += layer.units * (cell.derivatives + (1 if layer.recurrent is not None else 0))
    if filtered:
        traces += synapses * layer.cell.output_size * (1 + (0 if cell.feeds_back else cell.output))
    gradients = cell.gradient * synapses * (2 if twice else 1)
    return OperationCount(traces=Operations(mac=traces), gradients=Operations(mac=gradients))


def three_index(reading: Reading, *, filtered: bool = False, twice: bool = False) -> OperationCount:
    """Exact traces of a recurrent layer at a step: n^3 m MACs through the recurrent synapse, k n^2 m to move the rest.

    k: MACs of one trace in its recursion and in its output; n^2 m for the gradient; filtered, twice: as in `eligible`.
    """
    layer, cell = reading.layer, reading.layer.cell.operations
    numbers = layer.units**2 * (reading.width + reading.learned)
    moving = layer.units + cell.transition + cell.drive + cell.output + (1 if filtered else 0)
    return OperationCount(
        traces=Operations(mac=numbers * moving + layer.units * cell.derivatives),
        gradients=Operations(mac=numbers * (2 if twice else 1)),
    )


def with_traces(
    network: Network,
    activity: MeanActivity,
    *,
    spatial: bool = False,
    filtered: Collection[Layer] = (),
    full: bool = False,
) -> OperationCount:
    """Learning at a step from eligibility traces, as the layers of `workbench.rules.credits.eligibility` do.

    spatial: errors come down through the weights, |W_l| MACs but for the first layer; else the rule adds its own.
    A slope turns a unit's signal for the layer below, and where its trace is of the state; where e is formed a synapse,
    it is part of that.
    """
    count = OperationCount(errors=transported(network) if spatial else Operations())
    last = len(network.hidden) - 1
    sloped: list[Layer] = []
    for index, reading in enumerate(readings(network, activity)):
        layer = reading.layer
        seen_through = layer in filtered
        twice = seen_through and spatial and index < last
        exact = full and layer.recurrent is not None
        count += (three_index if exact else eligible)(reading, filtered=seen_through, twice=twice)
        formed = exact or layer.cell.operations.feeds_back or not layer.cell.operations.output
        below, local = spatial and index > 0, not formed and (twice or not seen_through)
        # Two products if the layer below gets more than the trace: the signal through the readout's filter as well.
        sloped += [layer] * (below + local if seen_through else below or local)
    return with_errors(count, slopes(sloped))


def without_traces(network: Network, activity: MeanActivity) -> OperationCount:
    """Learning at a step within space alone: |W_l| but for the first layer, slopes, and gradients p_l x_l."""
    gradients = (instantaneous(reading) for reading in readings(network, activity))
    return sum(gradients, OperationCount(errors=transported(network) + slopes(network.layers)))


def with_leaks(network: Network, activity: MeanActivity) -> OperationCount:
    """As `without_traces`, with presynaptic traces: D m_l MACs to move them and p_l m_l for the gradients."""
    gradients = (leaking(reading) for reading in readings(network, activity))
    return sum(gradients, OperationCount(errors=transported(network) + slopes(network.layers)))


def whole(network: Network, activity: MeanActivity, steps: float, learning: OperationCount) -> OperationCount:
    """Return the count of a sequence: `steps` times forward and what learning takes at a step."""
    return (forward(network, activity) + learning) * steps


def with_errors(count: OperationCount, errors: Operations) -> OperationCount:
    """Return the count with further errors."""
    return replace(count, errors=count.errors + errors)
