"""A whole layer of leaky integrate-and-fire units, synapse and scan in one: what is large is never written out.

Forward, rows of weights are added up in the membranes themselves (dense products in blocks of steps that stay in a
core's cache). `Backward` turns dE/dy of a block into dE/dI and adds it to the gradients of the weights at once. Kept
for the gradient are the membranes and, of spikes that were read, bits. Same function as product and scan one after the
other, which the tests hold it to; memory and time are saved because a sequence of currents or errors never exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from workbench.neurons import lif_scan
from workbench.neurons.events import room_for_bits
from workbench.neurons.native import blocks, buffer
from workbench.neurons.presynaptic import (
    Gradient,
    Presynaptic,
    Product,
    back_to_activity,
    keep,
    kept,
    presynaptic,
    weight_gradient,
)

if TYPE_CHECKING:
    from workbench.neurons.lif import LIF


@dataclass(frozen=True)
class Units:
    """Units of one cell, where they begin, and the synapses that drive them.

    decay `[N]`; start `[B, N]` membrane before the first step; weight `[N, in]`; bias `[N]`; recurrent `[N, N]` (to,
    from).
    """

    cell: LIF
    decay: Tensor
    start: Tensor
    weight: Tensor
    bias: Tensor | None
    recurrent: Tensor | None

    def tensors(self) -> tuple[Tensor | None, ...]:
        """Return its tensors in order."""
        return self.decay, self.start, self.weight, self.bias, self.recurrent


def forward(units: Units, source: Presynaptic, *, as_bits: bool = False) -> tuple[Tensor, Presynaptic]:
    """Return membranes `[T, B, N]` and spikes, as numbers or as bits alone, without a graph."""
    shape = torch.Size((source.shape[0], *units.start.shape))
    membrane = buffer(units.weight, *shape)
    spikes = None if as_bits else buffer(units.weight, *shape)
    bits = room_for_bits(shape[0] * shape[1], shape[2]) if as_bits else None
    product = Product(source, units.weight, units.bias)
    head, before = (units.cell, units.decay), units.start
    if source.sparse and source.bits is not None and source.bits.binary:
        # Rows of weights are added up in the membranes themselves: no currents, hence no blocks.
        lif_scan.write(*head, before, product, units.recurrent, membrane, spikes, bits)
    else:
        for first, last in blocks(shape[0], shape[1] * shape[2]):
            here = membrane[first:last]
            product.write(first, last, here)
            numbers = None if spikes is None else spikes[first:last]
            packed = None if bits is None else bits.view(first * shape[1], last * shape[1])
            lif_scan.write(*head, before, None, units.recurrent, here, numbers, packed)
            before = here[-1]
    if bits is not None:
        bits.offsets.cumsum_(0)
    return membrane, Presynaptic(shape, spikes, bits, source.like)


class Backward:
    """The way back, block by block from the last, summing up the gradients of everything in `units`.

    final: dE/du `[B, N]` after the last step; then, at any moment, before the steps taken so far.
    """

    def __init__(
        self,
        units: Units,
        source: Presynaptic,
        membrane: Tensor,
        final: Tensor,
        *,
        by_decay: bool,
        by_weight: bool,
    ) -> None:
        self.units, self.membrane, self.final = units, membrane, final
        self.source, self.synapse = source, Gradient() if by_weight else None
        self.recurrent = None if units.recurrent is None else torch.zeros_like(units.recurrent)
        self.decay = torch.zeros_like(units.decay) if by_decay else None
        self.bias = None if units.bias is None else torch.zeros_like(units.bias)
        self.errors = units.weight.new_empty(0)

    def retreat(self, first: int, last: int, signal: Tensor) -> Tensor:
        """Take steps first..last back: return dE/dI for dE/dy = `signal`, both `[K, B, N]`.

        What is returned is overwritten by the next call.
        """
        units, membrane = self.units, self.membrane[first:last]
        if self.errors.numel() < membrane.numel():
            self.errors = buffer(self.errors, *membrane.shape)
        before = self.membrane[first - 1] if first else units.start
        out = self.errors[: last - first]
        head = (units.cell, units.decay, before, membrane, signal)
        if units.recurrent is None:
            found = lif_scan.adjoint(*head, None, self.final, out, by_decay=self.decay is not None)
        else:
            found = lif_scan.recurrent_adjoint(*head, units.recurrent, self.final, out)
        gradient, self.final, decays = found
        if self.decay is not None:
            self.decay += decays.sum(0)
        if self.recurrent is not None:
            earlier = torch.cat([before[None], membrane[:-1]])
            fired = presynaptic((earlier >= units.cell.threshold).to(torch.uint8), gradient)
            self.recurrent += weight_gradient(fired, gradient)
        if self.synapse is not None:
            self.synapse.add(self.source, gradient, first, last)
        if self.bias is not None:
            self.bias += gradient.sum((0, 1))
        return gradient

    def gradients(self) -> tuple[Tensor | None, ...]:
        """Return what belongs to `Units.tensors`."""
        synapse = None if self.synapse is None else self.synapse.take()
        return self.decay, self.final, synapse, self.bias, self.recurrent


class _LIFLayer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, cell: LIF, activity: Tensor, *tensors: Any) -> tuple[Tensor, Tensor]:
        units = Units(cell, *tensors)
        source = presynaptic(activity, units.weight)
        membrane, fired = forward(units, source)
        spikes = fired.activity
        assert spikes is not None
        ctx.cell = cell
        source = source.spikes_as_bits() if ctx.needs_input_grad[1] else source
        keep(ctx, [source], membrane, *tensors)
        # A copy, so that handing the last membrane over does not keep the whole stretch alive.
        return membrane[-1].clone(), spikes

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, final: Tensor, signal: Tensor) -> tuple[Tensor | None, ...]:
        (source,), (membrane, *tensors) = kept(ctx)
        units = Units(ctx.cell, *tensors)
        _, by_input, by_decay, _, by_weight, *_ = ctx.needs_input_grad
        layer = Backward(units, source, membrane, final, by_decay=by_decay, by_weight=by_weight)
        by_activity = buffer(units.weight, *source.shape) if by_input else None
        signal = signal.contiguous()
        for first, last in reversed(blocks(len(membrane), units.start.numel())):
            gradient = layer.retreat(first, last, signal[first:last])
            if by_activity is not None:
                back_to_activity(gradient, units.weight, by_activity[first:last])
        return None, by_activity, *layer.gradients()


def scan(units: Units, activity: Tensor) -> tuple[Tensor, Tensor]:
    """Return the last membrane `[B, N]` and the spikes `[T, B, N]` of activity `[T, B, in]`; differentiable once."""
    last, spikes = _LIFLayer.apply(units.cell, activity, *units.tensors())
    return last, spikes
