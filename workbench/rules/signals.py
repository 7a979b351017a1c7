"""Learning signals that are carried through the layers at the same time step.

    L_t^l = dE_t/dy_t^l = V_l^T e_t + W_{l+1}^T ( dy_t^{l+1}/dI_t^{l+1} L_t^{l+1} )

e_t = dE_t/do_t the error at the readout, V_l the readout's weights on layer l (0 if it does not read it), W_{l+1} the
synapse into the layer above. The signal of OSTL (Bohnstingl et al. 2022), SLTT (Meng et al. 2023) and OTTT (Xiao et
al. 2022): back-propagation in space, never in time. On hardware the products are reads of the transposed matrices.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.backbones.network import Network
from workbench.neurons.presynaptic import back_to_activity
from workbench.rules.online import Chunk, Signal


def readout_weights(network: Network, weight: Tensor | None = None) -> list[Tensor | None]:
    """Return the readout's weights `[C, N]` on each hidden layer's outputs, None for a layer that it does not read.

    weight: another matrix of the readout's shape to be cut in the same way.
    """
    if weight is None:
        weight = network.readout.synapse.weight
    if network.reads_all:
        return list(torch.split(weight, [layer.width for layer in network.layers[:-1]], dim=1))
    return [*[None] * (len(network.layers) - 2), weight]


def spatial_signals(chunk: Chunk) -> list[Signal]:
    """Return the signals `[K, B, N]` of all hidden layers by back-propagation within each time step."""
    layers = chunk.network.layers
    signals: list[Signal] = []
    from_above: Tensor | None = None
    for index, direct in reversed(list(enumerate(through_readout(chunk.network, chunk.error)))):
        signals.append(Signal(now=from_above, through_readout=direct))
        if index > 0:
            parts = [part for part in (from_above, direct) if part is not None]
            total = parts[0] if len(parts) == 1 else torch.add(*parts)
            currents = chunk.trajectories[index].instantaneous(total)
            from_above = layers[index].carry_back(currents)
    return signals[::-1]


def through_readout(network: Network, error: Tensor) -> list[Tensor | None]:
    """Return V_l^T e `[K, B, N]` of each hidden layer for errors e `[K, B, C]`, None for a layer that is not read."""
    readout = network.readout
    if readout.carries_back_plainly:
        weights = readout_weights(network)
        return [None if weight is None else back_to_activity(error, weight) for weight in weights]
    # Hardware reads the whole matrix at once.
    whole, hidden = readout.carry_back(error), network.layers[:-1]
    if network.reads_all:
        return list(torch.split(whole, [layer.width for layer in hidden], dim=-1))
    return [*[None] * (len(hidden) - 1), whole]


def through_all_weights(network: Network, error: Tensor) -> list[Tensor]:
    """Return errors e `[K, B, C]` carried to each hidden layer, `[K, B, N]`: by the readout, or by all layers above.

    Products of weights alone, without the slopes of units: W_{l+1}^T ... V_L^T e.
    """
    found: list[Tensor] = []
    for index, direct in reversed(list(enumerate(through_readout(network, error)))):
        found.append(network.layers[index + 1].carry_back(found[-1]) if direct is None else direct)
    return found[::-1]


def readout_leak(network: Network) -> float:
    """Return the decay of the readout by which traces are filtered; the mean if units differ, 0 if it has none."""
    with torch.no_grad():
        leak = network.readout.cell.leak(network.readout.cell_parameters())
    return 0.0 if leak is None else float(leak.mean())
