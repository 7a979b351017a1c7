"""Credit through traces of presynaptic activity alone: OTTT, and SLTT as the limit in which nothing is remembered.

    delta_t = L_t dy_t/dI_t                          instantaneous, at the synapse's own step
    a_t     = leak a_{t-1} + x_t                     presynaptic trace, one number per input (and distinct leak)
    dE/dW   = sum_t delta_t a_t^T                    with leak = 0: sum_t delta_t x_t^T

Sources: Xiao et al. 2022 (OTTT, arXiv 2210.04195), Meng et al. 2023 (SLTT, arXiv 2302.14311). The leak is the linear
decay of the postsynaptic cell, its reset left out. Inside a chunk the sum is a matrix product, as in `eligibility.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workbench.backbones.network import Layer
from workbench.neurons import lif_scan
from workbench.neurons.presynaptic import Gradient, Presynaptic
from workbench.neurons.trajectory import Trajectory
from workbench.rules.eligibility import (
    LayerEligibility,
    accumulate_cell_parameters,
    sources_of,
)
from workbench.rules.sums import Sums, settle
from workbench.rules.traces import PresynapticTrace, distinct

if TYPE_CHECKING:
    from workbench.rules.online import Credit


class PresynapticCredit:
    """Gradients of one layer from instantaneous signals and presynaptic traces of `decay` `[N]`, None without."""

    def __init__(self, layer: Layer, decay: Tensor | None) -> None:
        self.layer = layer
        self.traces: dict[str, PresynapticTrace] = {}
        self.sums: Sums = {}
        self.decay: Tensor | None = None
        if decay is not None and bool((decay > 0).any()):
            # One decay for each of the currents of a unit.
            self.decay = decay.repeat(layer.synapse.out_features // len(decay))

    def accumulate(
        self,
        trajectory: Trajectory,
        signal: Tensor,
        activity: Presynaptic,
        before: Presynaptic | None,
        *,
        last: bool,
    ) -> None:
        """Add the chunk's gradients; see `LayerEligibility.accumulate`."""
        gradient = trajectory.instantaneous(signal)
        if self.decay is not None:
            gradient = lif_scan.leaky_owed(self.decay, gradient)
        for name, (parameter, source) in sources_of(self.layer, activity, before).items():
            total = self.sums.setdefault(parameter, Gradient())
            total.add(source, gradient)
            if self.decay is not None:
                if name in self.traces:
                    self.traces[name].credit((self.decay * gradient[0])[None], total)
                elif not last:
                    self.traces[name] = PresynapticTrace.zero(distinct(self.decay), source)
                if not last:
                    self.traces[name].advance(source)
        if self.layer.cell.trained():
            direct = trajectory.linearised().parameter_direct
            accumulate_cell_parameters(
                self.layer, {name: self._by_unit(signal * value) for name, value in direct.items()}
            )

    def _by_unit(self, products: Tensor) -> Tensor:
        """Return `[N]`: `[K, B, Q N]` summed over steps, samples and the outputs of a unit."""
        return products.sum((0, 1)).reshape(-1, self.layer.units).sum(0)

    def settle(self) -> None:
        """Add the gradients of the synapses, summed over the chunks since, to `.grad`."""
        settle(self.sums)

    def bytes(self) -> int:
        """Bytes that the carried traces occupy now."""
        return sum(trace.trace.numel() * trace.trace.element_size() for trace in self.traces.values())


@torch.no_grad()
def with_leak(layer: Layer) -> Credit:
    """Return the credit of OTTT: traces with the leak of the cell, or exact ones if that is not one real number."""
    leak = layer.cell.leak(layer.cell_parameters())
    return LayerEligibility(layer) if leak is None else PresynapticCredit(layer, leak)


@torch.no_grad()
def without_memory(layer: Layer) -> PresynapticCredit:
    """Return the credit of SLTT: the temporal path is cut."""
    return PresynapticCredit(layer, None)
