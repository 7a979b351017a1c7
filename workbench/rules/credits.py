"""Which credit each layer of a network gets from rules with eligibility traces."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from workbench.backbones.network import Layer, Network
from workbench.rules.eligibility import LayerEligibility
from workbench.rules.full_trace import FullCredit
from workbench.rules.online import Credit


def read_by_readout(network: Network) -> list[Layer]:
    """Return the hidden layers that the readout reads."""
    hidden = network.layers[:-1]
    return hidden if network.reads_all else hidden[-1:]


def eligibility(
    network: Network, *, filtered: Sequence[Layer], full: bool = False
) -> Callable[[Layer], Credit]:
    """Return what makes the credit of a layer.

    filtered: the layers whose outputs are seen through the leak of the readout. full: recurrent layers get exact
    three-index traces.
    """
    seen_through = set(filtered)

    def credit(layer: Layer) -> Credit:
        if full and layer.recurrent is not None:
            return FullCredit(layer)
        return LayerEligibility(layer, presynaptic=layer not in seen_through)

    return credit
