"""Memory of learning, bytes: the parts of the analytic formulas that rules share.

T steps, batch B, layer l with m_l inputs and n_l units, C classes, w bytes a number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch

from workbench.backbones.network import Layer, Network
from workbench.neurons.events import words_of
from workbench.neurons.native import fast_kernels_apply
from workbench.neurons.presynaptic import FEWEST
from workbench.plugin import MemoryCost
from workbench.rules.eligibility import learned_parameters, presynaptic_groups
from workbench.rules.settings import OnlineConfig
from workbench.rules.signals import readout_leak
from workbench.rules.stepwise import serves_network

SHORTEST = 50
"""Steps of a chunk with traces too small to matter."""
PASSING = 2
"""How often what a chunk holds is counted against the traces: a compromise between its passing buffers, which take
up to four times as much (measured), and the time that moving the traces takes."""


def word(network: Network) -> int:
    """Bytes of one number of the network."""
    return int(network.readout.synapse.weight.element_size())


def trained_cost(network: Network, optimiser: str, momentum: float) -> MemoryCost:
    """Parameters, one gradient each, and the optimiser's moments: two for adam, one for sgd with momentum."""
    size = sum(p.numel() * p.element_size() for p in network.parameters() if p.requires_grad)
    moments = {"adam": 2, "sgd": 1 if momentum > 0 else 0}[optimiser]
    return MemoryCost(parameters=size, gradients=size, optimiser=moments * size)


def bptt_activations(network: Network, steps: int, batch: int, *, loss_per_step: bool) -> int:
    """What autograd keeps: T B (a m_1 + w C [+ w C] + bytes of each hidden layer) + w B sum S_l n_l + w sum p_l n_l.

    The input as data are stored, a bytes a number; the readout, and its log-probabilities if the loss is taken at
    every step; of each hidden layer the k_l numbers that its cell keeps of a unit (its membrane, say) and its outputs,
    as bits if they are spikes; each layer's first state, and p_l numbers a unit of its trained cell parameters. Where
    no kernel serves, or the rows T B are few, spikes are kept as numbers.
    """
    layers = network.layers
    bits = _as_bits(network, steps * batch)
    per_step = _read(layers[0].inputs, network.input_bytes, bits=bits and network.input_bytes == 1)
    for layer, above in pairwise(layers):
        per_step += word(network) * _kept(layer)
        side_by_side = network.reads_all and above is network.readout
        spiking = _all_spike(network, bits) if side_by_side else bits and layer.cell.spikes
        per_step += _read(above.inputs, 0 if spiking else word(network), bits=spiking)
        # What the synapse above keeps as numbers is the very output, unless it is a copy of several layers'.
        if (spiking or side_by_side) and _keeps_outputs(layer):
            per_step += word(network) * layer.width
    per_step += word(network) * network.classes * (2 if loss_per_step else 1)
    starts = sum(layer.cell.state_size * layer.units for layer in layers)
    constrained = sum(layer.cell.constrain_keeps(scan=True) * layer.units for layer in layers)
    return batch * steps * per_step + word(network) * (batch * starts + constrained)


def _kept(layer: Layer) -> int:
    """Numbers of a step and sample that the cell keeps besides its outputs."""
    return layer.cell.kept * layer.units


def _as_bits(network: Network, rows: int) -> bool:
    return rows >= FEWEST and fast_kernels_apply(network.readout.synapse.weight)


def _all_spike(network: Network, bits: bool) -> bool:
    return bits and all(layer.cell.spikes for layer in network.layers[:-1])


def _read(inputs: int, number: int, *, bits: bool) -> int:
    """Bytes of a row that a synapse reads: `number` bytes each, besides a bit each in words of 64, and their count."""
    return inputs * number + (8 * words_of(inputs) + 8 if bits else 0)


def _keeps_outputs(layer: Layer) -> bool:
    """Whether the scan keeps its outputs; a fused layer reads them off the membranes."""
    fused = layer.cell.fuses_layer and fast_kernels_apply(layer.synapse.weight)
    return layer.cell.keeps_outputs or (layer.recurrent is not None and not fused)


def chunk_activations(network: Network, chunk: int, batch: int) -> int:
    """What an online pass holds of K steps: K B (a m_1 + w sum of (k_l + Q_l [+ Q_l]) n_l + 2 w C) + w B sum S_l n_l.

    The chunk's input, a bytes a number, and bits of all spikes; outputs (Q_l a unit; none where a fused layer holds
    them as bits alone) of each hidden layer and the k_l numbers that its cell keeps, its outputs one step earlier for a
    recurrent synapse, all outputs side by side if the readout reads several layers (their widths more), the readout and
    its error, and each layer's state handed over; besides, for one layer at a time, the p_l numbers a unit of its
    trained cell parameters, w max p_l n_l. Does not depend on T.
    """
    layers = network.layers
    bits = _as_bits(network, chunk * batch)
    as_bits = _read(layers[0].inputs, network.input_bytes, bits=bits and network.input_bytes == 1)
    numbers = 2 * network.classes
    for layer, above in pairwise(layers):
        spiking = bits and layer.cell.spikes
        fused = spiking and layer.cell.fuses_layer and layer.recurrent is None
        numbers += _kept(layer) + (0 if fused else layer.width)
        if fused or not (network.reads_all and above is network.readout):
            as_bits += _read(layer.width, 0, bits=spiking)
        if layer.recurrent is not None:
            numbers += layer.width
            as_bits += _read(layer.width, 0, bits=spiking)
    if network.reads_all:
        numbers += network.readout.inputs
        as_bits += _read(network.readout.inputs, 0, bits=_all_spike(network, bits))
    handed_over = sum(layer.cell.state_size * layer.units for layer in layers)
    constrained = max(layer.cell.constrain_keeps(scan=False) * layer.units for layer in layers)
    per_chunk = chunk * (word(network) * numbers + as_bits)
    return batch * (per_chunk + word(network) * handed_over) + word(network) * constrained


def eligibility_traces(
    network: Network,
    batch: int,
    *,
    carried: bool,
    filtered: Sequence[Layer] = (),
    full: bool = False,
    stepwise: bool = False,
) -> int:
    """Traces carried between chunks: w B sum over layers of rows x presynaptic width, none if T fits a chunk.

    The width counts inputs, a bias as one more, and the layer's own units for a recurrent synapse. Rows: D distinct
    constant decays (presynaptic form), S n_l (synaptic form) or, in full, (S + 1) n_l n_l; S is Q more for the
    layers whose traces are filtered by a leaky readout; D + n_l for those with constant decays when every step is an
    update (stepwise). A trained cell parameter counts like one more input.
    """
    if not carried:
        return 0
    seen_through = set(filtered) if readout_leak(network) > 0 else set()
    numbers = sum(
        trace_numbers(layer, filtered=layer in seen_through, full=full, stepwise=stepwise)
        for layer in network.layers
    )
    return word(network) * batch * numbers


def leak_traces(network: Network, batch: int, *, carried: bool) -> int:
    """Presynaptic traces of OTTT: w B sum over layers of D distinct leaks x presynaptic width, none without leak."""
    if not carried:
        return 0
    numbers = 0
    for layer in network.layers:
        with torch.no_grad():
            leak = layer.cell.leak(layer.cell_parameters())
        if leak is None:
            numbers += trace_numbers(layer)
        elif bool((leak > 0).any()):
            numbers += torch.unique(leak).numel() * _width(layer)
    return word(network) * batch * numbers


def online_cost(
    network: Network,
    config: OnlineConfig,
    steps: int,
    batch: int,
    *,
    filtered: Sequence[Layer] = (),
    full: bool = False,
) -> MemoryCost:
    """Cost of a rule with eligibility traces: parameters, optimiser, one chunk's activations, traces carried."""
    stepwise = config.update == "step" and serves_network(network, batch)
    traces = eligibility_traces(network, batch, carried=True, filtered=filtered, full=full, stepwise=stepwise)
    chunk = chunk_length(network, config, steps, batch, None if full else lambda: traces)
    return trained_cost(network, config.optimiser, config.momentum) + MemoryCost(
        activations=chunk_activations(network, chunk, batch), traces=traces if chunk < steps else 0
    )


def chunk_length(
    network: Network,
    config: OnlineConfig,
    steps: int,
    batch: int,
    traces: Callable[[], int] | None = None,
) -> int:
    """Return how many steps a rule handles at once.

    By default as many as take the bytes of the `traces` carried over a chunk, and `SHORTEST` at least: moving the
    traces then costs a bounded share of the time, and all of it at most twice the memory of traces alone. Never more
    than T.
    """
    if config.update == "step":
        return 1
    if config.chunk is not None:
        return min(config.chunk, steps)
    if traces is None or steps <= SHORTEST:
        return min(steps, SHORTEST)
    one = chunk_activations(network, 2 * FEWEST, batch) - chunk_activations(network, FEWEST, batch)
    balanced = traces() * FEWEST // (PASSING * one)
    # Twice as many steps take no more than a chunk and its traces do.
    return steps if steps <= 2 * balanced else min(steps, max(SHORTEST, balanced))


def _width(layer: Layer) -> int:
    """Presynaptic numbers that a unit reads."""
    width = layer.inputs + (1 if layer.synapse.bias is not None else 0)
    return width + (layer.width if layer.recurrent is not None else 0)


def trace_numbers(layer: Layer, *, filtered: bool = False, full: bool = False, stepwise: bool = False) -> int:
    """Return how many numbers the eligibility traces of a layer are; arguments as of `eligibility_traces`."""
    states = layer.cell.state_size + (layer.cell.output_size if filtered else 0)
    learned = len(learned_parameters(layer))
    if full and layer.recurrent is not None:
        return (states + 1) * layer.units**2 * (_width(layer) + learned)
    groups = None if filtered and not stepwise else presynaptic_groups(layer)
    if groups is not None and filtered:
        return (groups[0].numel() + layer.units) * _width(layer)
    blocks = 1 if layer.cell.holomorphic else layer.cell.current_size
    rows = groups[0].numel() if groups is not None else states * blocks * layer.units
    return rows * _width(layer) + states * layer.units * learned
