"""What rules need beyond a synapse's two ends: the facts that follow from the learning signal and from the traces.

L_t^l is the signal of hidden layer l, V_l the readout's weights on it, W_{l+1} the synapse into the layer above, e_t
the error at the readout, B_l feedback weights of their own. Traces are one number a presynaptic input (and distinct
decay) where they are the same for all units, else one a synapse.
"""

from __future__ import annotations

from collections.abc import Collection

import torch

from workbench.backbones.network import Layer, Network
from workbench.plugin import Locality
from workbench.rules.eligibility import presynaptic_groups

ONLINE = "the error of a step is used at that step: nothing waits for a later one"
PRESYNAPTIC = "all units of a layer decay alike: traces are one number an input (and distinct decay)"


def in_space(network: Network, *, synaptic: str | None, memory: str) -> Locality:
    """Return the facts of a rule whose errors come down through the layers at the same step, online.

    synaptic: why numbers a synapse are kept, None if they are not; `memory` then says what there is instead.
    """
    stacked = len(network.hidden) > 1
    above = (
        "W_{l+1}^T delta^{l+1}: a layer waits for the errors that the layer above works out at the same step"
    )
    alone = "one hidden layer: it gets the readout's error, and nothing else is worked out above it"
    between = " and of those in between" if stacked else ""
    return Locality(
        weight_transport=True,
        future=False,
        other_layers=stacked,
        per_synapse_memory=synaptic is not None,
        why={
            "weight_transport": f"errors are multiplied by the transpose of the readout's weights{between}",
            "future": ONLINE,
            "other_layers": above if stacked else alone,
            "per_synapse_memory": synaptic or memory,
        },
    )


def by_broadcast(*, transported: bool, weights: str, signal: str, synaptic: str | None) -> Locality:
    """Return the facts of a rule that sends one signal of the readout straight to all hidden layers.

    transported: whether through forward weights; `weights` says through which. signal: what is sent. synaptic: as of
    `synaptic_traces`.
    """
    return Locality(
        weight_transport=transported,
        future=False,
        other_layers=False,
        per_synapse_memory=synaptic is not None,
        why={
            "weight_transport": weights,
            "future": ONLINE,
            "other_layers": f"{signal} goes straight to every layer: no signal passes through another one",
            "per_synapse_memory": synaptic or PRESYNAPTIC,
        },
    )


@torch.no_grad()
def synaptic_traces(network: Network, *, filtered: Collection[Layer] = (), full: bool = False) -> str | None:
    """Return why some layer's eligibility traces are numbers a synapse; None if there are none.

    filtered: layers whose traces are filtered by a leaky readout. full: recurrent layers have three-index traces.
    """
    reasons = []
    for index, layer in enumerate(network.layers):
        name = "the readout" if layer is network.readout else f"hidden layer {index + 1}"
        if full and layer.recurrent is not None:
            reasons.append(f"{name}: a trace for every synapse and unit of the layer")
        elif layer in filtered:
            reasons.append(f"{name}: traces filtered by the readout's leak")
        elif layer.cell.state_size and layer.cell.operations.transition and presynaptic_groups(layer) is None:
            reasons.append(f"{name}: traces of each unit's own decay and reset")
    return "; ".join(reasons) or None


@torch.no_grad()
def leak_traces(network: Network) -> str | None:
    """Return why some layer's presynaptic traces (OTTT) are after all numbers a synapse; None if none are."""
    for layer in network.layers:
        leak = layer.cell.leak(layer.cell_parameters())
        if leak is None and presynaptic_groups(layer) is None:
            return "units whose state does not decay by one real number have a trace a synapse"
        if leak is not None and bool((leak > 0).any()) and torch.unique(leak).numel() >= layer.units:
            return "every unit has a leak of its own, and traces of all inputs with it"
    return None
