"""Memory of learning, bytes: the parts of the analytic formulas that rules share.

T steps, batch B, layer l with m_l inputs and n_l units, C classes, w bytes a number.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from workbench.backbones.network import Layer, Network
from workbench.plugin import MemoryCost
from workbench.rules.eligibility import learned_parameters, presynaptic_groups
from workbench.rules.settings import OnlineConfig
from workbench.rules.signals import readout_leak


def word(network: Network) -> int:
    """Bytes of one number of the network."""
    return int(network.readout.synapse.weight.element_size())


def trained_cost(network: Network, optimiser: str, momentum: float) -> MemoryCost:
    """Parameters, one gradient each, and the optimiser's moments: two for adam, one for sgd with momentum."""
    size = sum(p.numel() * p.element_size() for p in network.parameters() if p.requires_grad)
    moments = {"adam": 2, "sgd": 1 if momentum > 0 else 0}[optimiser]
    return MemoryCost(parameters=size, gradients=size, optimiser=moments * size)


def bptt_activations(network: Network, steps: int, batch: int, *, loss_per_step: bool) -> int:
    """What autograd keeps: w T B (sum m_l + sum of hidden k_l n_l + C [+ C]) + w B sum S_l n_l + w sum p_l n_l.

    What each synapse reads, the k_l numbers that the cell keeps of each hidden unit (its membrane, say), the readout,
    its log-probabilities if the loss is taken at every step, each layer's first state, and p_l numbers a unit of its
    trained cell parameters. If the readout reads several layers side by side, a copy, the last of them keeps its
    outputs besides where its cell or its recurrent synapse needs them.
    """
    layers = network.layers
    last = layers[-2]
    per_step = sum(layer.inputs for layer in layers) + sum(_kept(layer) for layer in layers[:-1])
    per_step += network.classes
    if network.reads_all and (last.recurrent is not None or last.cell.keeps_outputs):
        per_step += last.width
    if loss_per_step:
        per_step += network.classes
    starts = sum(layer.cell.state_size * layer.units for layer in layers)
    constrained = sum(layer.cell.constrain_keeps(scan=True) * layer.units for layer in layers)
    return word(network) * (batch * (steps * per_step + starts) + constrained)


def _kept(layer: Layer) -> int:
    """Numbers of a step and sample that the cell keeps besides its outputs."""
    return layer.cell.kept * layer.units


def chunk_activations(network: Network, chunk: int, batch: int) -> int:
    """What an online pass holds of K steps: w K B (m_1 + sum of (k_l + Q_l [+ Q_l]) n_l + 2 C) + w B sum S_l n_l.

    The chunk's input, outputs (Q_l a unit) of each hidden layer and the k_l numbers that its cell keeps, its outputs
    one step earlier for a recurrent synapse, all outputs side by side if the readout reads several layers (their widths
    more), the readout and its error, and each layer's state handed over; besides, for one layer at a time, the p_l
    numbers a unit of its trained cell parameters, w max p_l n_l. Does not depend on T.
    """
    layers = network.layers
    per_step = layers[0].inputs + 2 * network.classes
    for layer in layers[:-1]:
        per_step += _kept(layer) + (2 if layer.recurrent is not None else 1) * layer.width
    if network.reads_all:
        per_step += network.readout.inputs
    handed_over = sum(layer.cell.state_size * layer.units for layer in layers)
    constrained = max(layer.cell.constrain_keeps(scan=False) * layer.units for layer in layers)
    return word(network) * (batch * (chunk * per_step + handed_over) + constrained)


def eligibility_traces(
    network: Network, batch: int, *, carried: bool, filtered: Sequence[Layer] = (), full: bool = False
) -> int:
    """Traces carried between chunks: w B sum over layers of rows x presynaptic width, none if T fits a chunk.

    The width counts inputs, a bias as one more, and the layer's own units for a recurrent synapse. Rows: D distinct
    constant decays (presynaptic form), S n_l (synaptic form) or, in full, (S + 1) n_l n_l; S is Q more for the
    layers whose traces are filtered by a leaky readout. A trained cell parameter counts like one more input.
    """
    if not carried:
        return 0
    seen_through = set(filtered) if readout_leak(network) > 0 else set()
    numbers = sum(
        _trace_numbers(layer, filtered=layer in seen_through, full=full) for layer in network.layers
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
            numbers += _trace_numbers(layer)
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
    chunk = min(config.steps_at_once, steps)
    return trained_cost(network, config.optimiser, config.momentum) + MemoryCost(
        activations=chunk_activations(network, chunk, batch),
        traces=eligibility_traces(network, batch, carried=chunk < steps, filtered=filtered, full=full),
    )


def _width(layer: Layer) -> int:
    """Presynaptic numbers that a unit reads."""
    width = layer.inputs + (1 if layer.synapse.bias is not None else 0)
    return width + (layer.width if layer.recurrent is not None else 0)


def _trace_numbers(layer: Layer, *, filtered: bool = False, full: bool = False) -> int:
    states = layer.cell.state_size + (layer.cell.output_size if filtered else 0)
    learned = len(learned_parameters(layer))
    if full and layer.recurrent is not None:
        return (states + 1) * layer.units**2 * (_width(layer) + learned)
    groups = None if filtered else presynaptic_groups(layer)
    blocks = 1 if layer.cell.holomorphic else layer.cell.current_size
    rows = groups[0].numel() if groups is not None else states * blocks * layer.units
    return rows * _width(layer) + states * layer.units * learned
