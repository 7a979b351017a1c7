"""Words moved in one sequence: the parts of the analytic formulas that rules share. Names as in `operations.py`.

What counts as moved stands in `WordCount`: a straightforward digital machine without caches, which runs the recursions
of the equations step by step. Constants of cells are wired in; trained ones are weights. S_l states of a unit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import torch

from workbench.backbones.network import Layer, Network
from workbench.cost.counts import MeanActivity, Operations, Transposed, WordCount, Words
from workbench.cost.memory import trace_numbers
from workbench.cost.operations import Reading, readings, transported
from workbench.rules.eligibility import learned_parameters


def weights_of(layer: Layer) -> int:
    """Return how many weights and trained cell parameters a layer has."""
    return sum(parameter.numel() for parameter in layer.parameters())


def _states(layer: Layer) -> int:
    """Return S_l n_l, 0 for units without memory."""
    return layer.cell.state_size * layer.units if layer.cell.operations.transition else 0


def forward(network: Network, activity: MeanActivity) -> WordCount:
    """Words of a step forward: p_l x_l weights, x_l numbers read, hidden outputs written, S_l n_l states moved."""
    read = readings(network, activity)
    weights = sum(r.fan_out * _active(r) + r.layer.units * r.learned for r in read)
    states = float(sum(map(_states, network.layers)))
    return WordCount(
        weights=Words(reads=weights, held=_all_weights(network)),
        activity=Words(
            reads=_sent_up(read),
            writes=sum(sent.ones + sent.others for sent in activity.hidden),
            held=_sent_at_most(network),
        ),
        state=Words(states, states, states),
    )


def _active(reading: Reading) -> float:
    return reading.signals.ones + reading.signals.others


def _sent_up(read: Sequence[Reading]) -> float:
    """Return how many numbers layers read of one another and of the input at a step; a bias is none of these."""
    return sum(_active(r) - (r.layer.synapse.bias is not None) for r in read)


def _sent_at_most(network: Network) -> int:
    """Return the numbers of a step that units send; recurrent layers still read those of the step before."""
    hidden = sum(layer.width * (1 if layer.recurrent is None else 2) for layer in network.layers[:-1])
    return network.layers[0].inputs + hidden


def _recalled(network: Network, read: Sequence[Reading]) -> WordCount:
    """Activity of a step that learning reads once more."""
    return WordCount(history=Words(reads=_sent_up(read), held=_sent_at_most(network)))


def through_time(network: Network, activity: MeanActivity, steps: float) -> WordCount:
    """Back-propagation through a step: weights as in `operations.through_time`; what the cells keep of a step.

    Activity is read once more, for the gradients, and has to be held for all steps, as are what the cells keep and the
    readout, off which the errors are read. dE/ds is a state that runs backwards. Errors of a recurrent layer are sent
    to the step before. Trained cell parameters carry errors through time.
    """
    layers, read = network.layers, readings(network, activity)
    recurrent = [layer for layer in layers if layer.recurrent is not None]
    kept = float(sum(_kept(layer) for layer in layers) + network.classes)
    numbers = _sent_up(read)
    down = _transported(network)
    again = sum(layer.synapse.out_features for layer in recurrent)
    first = layers[0].synapse.out_features if layers[0] in recurrent else 0
    states = float(sum(map(_states, layers)))
    own = sum(layer.recurrent.weight.numel() for layer in recurrent if layer.recurrent is not None)
    own += sum(r.layer.units * r.learned for r in read)
    in_time = Words(reads=again + states, writes=first + states, held=first + states)
    return WordCount(
        transported=replace(down.transported, reads=down.transported.reads + own),
        errors=summed_words([down.errors, in_time]),
        history=Words(reads=kept + numbers, writes=kept, held=steps * (kept + numbers)),
        gradients=summed_words(_sparse(r) for r in read),
    )


def _kept(layer: Layer) -> int:
    """Return the numbers of a step that a cell's derivatives need besides what other units read."""
    return layer.cell.kept * layer.units


def _transported(network: Network) -> WordCount:
    """Weights that carry errors down at a step, and the errors of all layers but the first, written and read."""
    below = [1] * (len(network.layers) - 2) + [len(network.hidden) if network.reads_all else 1]
    sent = [layer.synapse.out_features for layer in network.layers[1:]]
    total = float(sum(sent))
    reads = float(sum(count * layers for count, layers in zip(sent, below, strict=True)))
    return WordCount(
        transported=Words(reads=transported(network).mac, held=_all_weights(network)),
        errors=Words(reads, total, total),
    )


def _all_weights(network: Network) -> int:
    return sum(map(weights_of, network.layers))


def summed_words(parts: Iterable[Words]) -> Words:
    """Return the sum of words in memories side by side: what these hold adds up too."""
    found = list(parts)
    return Words(
        sum(part.reads for part in found),
        sum(part.writes for part in found),
        sum(part.held for part in found),
    )


def _sparse(reading: Reading) -> Words:
    """Gradients of a step that only the weights behind active numbers get: p_l x_l, and trained cell parameters."""
    changed = reading.fan_out * _active(reading) + reading.layer.units * reading.learned
    return Words(changed, changed, weights_of(reading.layer))


def _dense(reading: Reading) -> Words:
    """Gradients of a step from traces: every weight gets one."""
    every = float(weights_of(reading.layer))
    return Words(every, every, every)


def without_traces(network: Network, activity: MeanActivity) -> WordCount:
    """Learning at a step within space alone: |W_l| but for the first layer; p_l x_l gradients."""
    read = readings(network, activity)
    gradients = summed_words(map(_sparse, read))
    return _transported(network) + _recalled(network, read) + WordCount(gradients=gradients)


@torch.no_grad()
def with_leaks(network: Network, activity: MeanActivity) -> WordCount:
    """As `without_traces`, with presynaptic traces: D m_l numbers moved, and all gradients where there are traces."""
    traces, gradients, read = [], [], readings(network, activity)
    for reading in read:
        leak = reading.layer.cell.leak(reading.layer.cell_parameters())
        if leak is None:
            count, dense = _traces(reading.layer), reading.layer.cell.operations.transition > 0
        else:
            dense = bool((leak > 0).any())
            count = torch.unique(leak).numel() * reading.width if dense else 0
        traces.append(Words(count, count, count))
        gradients.append(_dense(reading) if dense else _sparse(reading))
    own = WordCount(traces=summed_words(traces), gradients=summed_words(gradients))
    return _transported(network) + _recalled(network, read) + own


def with_traces(
    network: Network,
    activity: MeanActivity,
    *,
    spatial: bool = False,
    filtered: Collection[Layer] = (),
    full: bool = False,
) -> WordCount:
    """Learning at a step from eligibility traces; see `operations.with_traces`.

    Every trace is read, moved and written once a step; its gradient takes it on the way. Within the units of a
    recurrent layer traces move through n_l of its weights, in full through all n_l^2.
    """
    traces, gradients, own, read = [], [], 0, readings(network, activity)
    for reading in read:
        layer = reading.layer
        seen_through, exact = layer in filtered, full and layer.recurrent is not None
        count = _traces(layer, filtered=seen_through, full=full)
        traces.append(Words(count, count, count))
        moves = layer.cell.operations.transition > 0 or seen_through or exact
        gradients.append(_dense(reading) if moves else _sparse(reading))
        if layer.recurrent is not None:
            own += layer.recurrent.weight.numel() if exact else layer.units
    found = _recalled(network, read) + WordCount(
        transported=Words(reads=own, held=_all_weights(network)),
        traces=summed_words(traces),
        gradients=summed_words(gradients),
    )
    return found + (_transported(network) if spatial else WordCount())


def _traces(layer: Layer, *, filtered: bool = False, full: bool = False) -> int:
    """Return how many traces a layer has, by the equations."""
    if layer.cell.operations.transition or (full and layer.recurrent is not None):
        return trace_numbers(layer, filtered=filtered, full=full, stepwise=True)
    # Nothing is remembered but by the filter.
    return layer.cell.output_size * layer.units * _columns(layer) if filtered else 0


def _columns(layer: Layer) -> int:
    """Return the presynaptic numbers of a unit, and its trained cell parameters."""
    width = layer.inputs + (layer.synapse.bias is not None)
    return width + (layer.width if layer.recurrent is not None else 0) + len(learned_parameters(layer))


def broadcast(widths: Sequence[int], sent: float, *, held: float) -> WordCount:
    """Words of `sent` numbers that each hidden layer reads, and of its n_l feedback weights on each of them.

    held: weights in the memory of feedback weights.
    """
    return WordCount(
        transported=Words(reads=sum(widths) * sent, held=held),
        errors=Words(reads=len(widths) * sent, writes=sent, held=sent),
    )


def optimiser(writes: float, weights: float, moments: int) -> WordCount:
    """Words of `writes` weights changed: each with its gradient, which is cleared, and `moments` of its own."""
    return WordCount(
        optimiser=Words(writes * (1 + moments), writes * (1 + moments), weights * (1 + moments)),
        updates=Words(writes, writes, weights),
    )


def whole(network: Network, activity: MeanActivity, steps: float, learning: WordCount) -> WordCount:
    """Return the count of a sequence: `steps` times forward and what learning moves at a step."""
    return (forward(network, activity) + learning) * steps


def down_the_layers(network: Network, times: float, *, recurrent: bool = False) -> Transposed:
    """Return the reads of errors that come down through every layer but the first `times` a sequence.

    recurrent: they also go back through recurrent synapses.
    """
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    found = [layer.synapse.weight for layer in network.layers[1:]]
    if recurrent:
        found += [layer.recurrent.weight for layer in network.layers if layer.recurrent is not None]
    products = times * sum(weight.numel() for weight in found)
    reads = {names[id(weight)]: times for weight in found}
    return Transposed(reads, Operations(mac=products), Words(reads=products))
