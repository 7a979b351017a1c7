"""Which credit each layer of a network gets from rules with eligibility traces."""

from __future__ import annotations

from collections.abc import Callable

from workbench.backbones.network import Layer, Network
from workbench.rules.eligibility import LayerEligibility
from workbench.rules.full_trace import FullCredit
from workbench.rules.online import Credit


def eligibility(network: Network, *, filtered: bool, full: bool = False) -> Callable[[Layer], Credit]:
    """Return what makes the credit of a layer.

    filtered: hidden layers that the readout reads see their outputs through its leak. full: recurrent layers get exact
    three-index traces.
    """
    read = set(network.layers[:-1] if network.reads_all else network.layers[-2:-1]) if filtered else set()

    def credit(layer: Layer) -> Credit:
        if full and layer.recurrent is not None:
            return FullCredit(layer)
        return LayerEligibility(layer, presynaptic=layer not in read)

    return credit
